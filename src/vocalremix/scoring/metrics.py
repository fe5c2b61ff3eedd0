"""What is scored: cSDR (framewise, museval's), uSDR, siSDR, logWMSE, bleed and fullness, and how songs are averaged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Float64 = npt.NDArray[np.float64]

UNDEFINED = float("nan")
FLOAT32_DIGITS = 4
USDR_FLOOR = 1e-7
THESIS_FRAMES_S = (2.0, 1.5)
SISEC_FRAMES_S = (1.0, 1.0)
MEL_FFT, MEL_HOP, MEL_BANDS, MEL_RANGE_DB = 4096, 1024, 512, 80


@dataclass(frozen=True)
class Case:
    """One estimate to score, of a song or of a window: all `(channels, samples)`."""

    estimate: npt.ArrayLike
    reference: npt.ArrayLike
    mixture: npt.ArrayLike
    sample_rate: int = SAMPLE_RATE

    @cached_property
    def is_silent(self) -> bool:
        """Whether the reference is, throughout."""
        return not _sources(self.estimate, self.reference, dtype=None)[1].any()

    @cached_property
    def mel_differences_db(self) -> "Tensor":
        """How much louder the estimate is, `(channels, mel bands, frames)` in dB (`bleedless`)."""
        return _mel_db(self.estimate, self.sample_rate) - _mel_db(self.reference, self.sample_rate)


class Protocol(NamedTuple):
    """What a figure is and what it is an average of. Figures of different protocols cannot be compared."""

    name: str
    metric: str
    description: str
    average: Callable[[Float64], np.float64]
    score: Callable[[Case], float]
    """NaN where it is undefined."""
    unit: str = "dB"

    @property
    def label(self) -> str:
        """Metric and protocol, where they differ, and the unit."""
        protocol = "" if self.name in (self.metric.lower(), "") else f", {LABELS.get(self.name, self.name)}"
        return f"{self.metric}{protocol}" + (f" ({self.unit})" if self.unit else "")


def usdr(estimate: npt.ArrayLike, reference: npt.ArrayLike) -> float | Float64:
    """Utterance-level SDR: `10 log10((sum s^2 + 1e-7) / (sum (s - s_hat)^2 + 1e-7))` over samples and channels.

    Takes `(channels, samples)` and returns one float in dB, or `(sources, channels, samples)` and returns
    `(sources,)`; arrays or tensors. A silent reference gives a finite number that says nothing but how loud the
    estimate is. Raises InputError when the shapes differ.

    References: Mitsufuji et al. 2021, Music Demixing Challenge 2021; thesis 4.5.2.
    """
    estimates, references = _sources(estimate, reference)
    signal, error = _energy(references), _energy(references - estimates)
    return _like(estimate, 10 * np.log10((signal + USDR_FLOOR) / (error + USDR_FLOOR)))


def sisdr(estimate: npt.ArrayLike, reference: npt.ArrayLike) -> float | Float64:
    """Scale-invariant SDR, mean over channels: `10 log10(|a s|^2 / |a s - s_hat|^2)`, `a = <s_hat, s> / |s|^2`.

    Takes `(channels, samples)` and returns one float in dB, or `(sources, channels, samples)` and returns
    `(sources,)`; arrays or tensors. A channel where reference or estimate is silent has no siSDR, so the result is
    NaN. Raises InputError when the shapes differ.

    Reference: Le Roux et al. 2019, SDR - half-baked or well done? (arXiv 1811.02508); thesis 4.5.2.
    """
    estimates, references = _sources(estimate, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.einsum("sct,sct->sc", estimates, references) / np.einsum("sct,sct->sc", references, references)
        projected = scale[..., None] * references
        error = projected - estimates
        ratio = np.einsum("sct,sct->sc", projected, projected) / np.einsum("sct,sct->sc", error, error)
        return _like(estimate, np.mean(10 * np.log10(ratio), axis=-1))


def csdr_frames(
    estimates: npt.ArrayLike,
    references: npt.ArrayLike,
    window_s: float = 1.0,
    hop_s: float = 1.0,
    sample_rate: int = SAMPLE_RATE,
) -> Float64:
    """SDR in dB per source and frame, `(sources, frames)`: that of museval's BSS Eval v4 for images.

    Takes `(sources, channels, samples)`, or `(channels, samples)` for one source; arrays or tensors. With filters
    that span the song, museval's decomposition divides the error among ISR, SIR and SAR and leaves SDR the plain
    signal-to-error ratio of the frame, so no filter is computed here. Frames are museval's: a tail shorter than the
    window is dropped, a signal no longer than the window is one frame. As in museval a frame is NaN for *all*
    sources as soon as one reference or estimate is silent in it, where silent means that its channels add up to zero
    at every sample. A frame without error is +inf. A source that is silent throughout is NaN in all frames, where
    museval refuses. Raises InputError when the shapes differ or the hop is not positive.

    Reference: Stöter, Liutkus and Ito 2018, The 2018 Signal Separation Evaluation Campaign (arXiv 1804.06267).
    """
    estimates, references = _sources(estimates, references, dtype=None)
    n_sources, _, n_samples = references.shape
    window_samples, hop_samples = int(window_s * sample_rate), int(hop_s * sample_rate)
    if window_samples < 1 or hop_samples < 1:
        raise InputError(f"window_s {window_s:g} and hop_s {hop_s:g} must be at least one sample at {sample_rate} Hz")
    n_frames = max(n_samples - window_samples, 0) // hop_samples + 1
    sdr_db = np.full((n_sources, n_frames), np.nan)
    # One frame at a time: exact sums of positive numbers (a cumulative sum over the song would cancel), and the
    # float64 copies stay in the cache.
    for frame in range(n_frames):
        span = slice(frame * hop_samples, frame * hop_samples + window_samples)
        reference = references[..., span].astype(np.float64)
        estimate = estimates[..., span].astype(np.float64)
        if not (_any_silent(reference) or _any_silent(estimate)):
            signal, error = _energy(reference), _energy(reference - estimate)
            with np.errstate(divide="ignore"):
                sdr_db[:, frame] = 10 * np.log10(signal / error)
    return sdr_db


def sisec_frames(
    estimate: npt.ArrayLike, reference: npt.ArrayLike, mixture: npt.ArrayLike, sample_rate: int = SAMPLE_RATE
) -> Float64:
    """SDR in dB of the target in SiSEC's frames, `(frames,)`: what museval gives for target and accompaniment.

    All are `(channels, samples)`. SiSEC scores both sources at once, so that a frame is NaN as soon as one of target
    and accompaniment is silent in it, as reference or as estimate (`csdr_frames`). The accompaniment is the mixture
    minus the target; the estimated one, the mixture minus the estimate. Where the estimate is the untouched mixture,
    that difference would be silent throughout: there the mixture stands for both sources, as in museval's own
    example. Raises InputError when the shapes differ.
    """
    estimated, target = _sources(estimate, reference, dtype=None)
    whole, _ = _sources(mixture, reference, dtype=None)
    rest = whole if np.array_equal(estimated, whole) else whole - estimated
    estimates, references = np.concatenate([estimated, rest]), np.concatenate([target, whole - target])
    frames: Float64 = csdr_frames(estimates, references, *SISEC_FRAMES_S, sample_rate)[0]
    return frames


def log_wmse(case: Case) -> float:
    """logWMSE: the energy of the error, weighted as the ear hears it, over the mixture's, on a scale like SDR's.

    It is defined for a silent reference too (torch-log-wmse; Nomono, log-wmse-audio-quality).
    """
    import torch
    from torch_log_wmse import LogWMSE

    mixture, estimate, reference = (
        torch.as_tensor(np.asarray(waveform, np.float32))[None]
        for waveform in (case.mixture, case.estimate, case.reference)
    )
    score = LogWMSE(sample_rate=case.sample_rate)(mixture, estimate[:, :, None], reference[:, :, None])
    return round(float(score), FLOAT32_DIGITS)


def bleedless(case: Case) -> float:
    """100 / (1 + b): b dB is how much louder than the reference the estimate is, in the mel bands where it is louder.

    As in Music-Source-Separation-Training (utils/metrics.py): 512 mel bands, 80 dB below the loudest at most.
    """
    return UNDEFINED if case.is_silent else _share(case.mel_differences_db.clamp(min=0))


def fullness(case: Case) -> float:
    """100 / (1 + m): m dB is how much quieter the estimate is, in the mel bands where it is quieter (`bleedless`)."""
    return UNDEFINED if case.is_silent else _share(-case.mel_differences_db.clamp(max=0))


def _share(excess_db: "Tensor") -> float:
    counted = excess_db[excess_db > 0]
    return round(100 / (1 + (float(counted.mean()) if len(counted) else 0.0)), FLOAT32_DIGITS)


def _mel_db(waveform: npt.ArrayLike, sample_rate: int) -> "Tensor":
    import torch
    from torchaudio.functional import amplitude_to_DB, melscale_fbanks

    samples = torch.as_tensor(np.asarray(waveform, np.float32))
    window = torch.hann_window(MEL_FFT)
    spectrum = torch.stft(samples, MEL_FFT, MEL_HOP, window=window, pad_mode="constant", return_complex=True).abs()
    scale: dict[str, Any] = {"norm": "slaney", "mel_scale": "slaney"}
    bands = melscale_fbanks(MEL_FFT // 2 + 1, 0.0, sample_rate / 2, MEL_BANDS, sample_rate, **scale)
    mel = bands.T @ spectrum
    level: Tensor = amplitude_to_DB(mel, 20.0, 1e-10, 0.0, top_db=MEL_RANGE_DB)
    return level


def _usdr(case: Case) -> float:
    # of a silent reference, the formula measures how loud the estimate is
    return UNDEFINED if case.is_silent else float(usdr(case.estimate, case.reference))


def _sisdr(case: Case) -> float:
    return float(sisdr(case.estimate, case.reference))


def _csdr_thesis(case: Case) -> float:
    return _median(csdr_frames(case.estimate, case.reference, *THESIS_FRAMES_S, case.sample_rate))


def _csdr_sisec(case: Case) -> float:
    return _median(sisec_frames(case.estimate, case.reference, case.mixture, case.sample_rate))


LABELS = {"mdx": "MDX", "sisec": "SiSEC"}
THESIS_CSDR = "2 s frames every 1.5 s, median over frames"
WINDOW_PROTOCOLS = {
    "csdr_db": Protocol("windows", "cSDR", f"salient windows: {THESIS_CSDR}, mean over windows", np.mean, _csdr_thesis),
    "usdr_db": Protocol("windows", "uSDR", "salient windows, mean over windows", np.mean, _usdr),
    "sisdr_db": Protocol("windows", "siSDR", "salient windows: mean over channels, mean over windows", np.mean, _sisdr),
}
"""All that is scored of windows, by column: one entry is all that a metric takes."""
SONG_PROTOCOLS = {
    "csdr_thesis_db": Protocol("thesis", "cSDR", f"whole songs: {THESIS_CSDR}, mean over songs", np.mean, _csdr_thesis),
    "csdr_sisec_db": Protocol(
        "sisec",
        "cSDR",
        "whole songs: 1 s frames in which target and accompaniment sound, median over frames, median over songs",
        np.median,
        _csdr_sisec,
    ),
    "usdr_db": Protocol("mdx", "uSDR", "whole songs, mean over songs", np.mean, _usdr),
    "sisdr_db": Protocol("sisdr", "siSDR", "whole songs: mean over channels, mean over songs", np.mean, _sisdr),
    "logwmse": Protocol(
        "logwmse", "logWMSE", "whole songs, error weighted as it is heard, mean over songs", np.mean, log_wmse, ""
    ),
    "bleedless": Protocol(
        "bleedless", "bleedless", "whole songs, 100 without bleed, mean over songs", np.mean, bleedless, ""
    ),
    "fullness": Protocol(
        "fullness", "fullness", "whole songs, 100 where nothing is missing, mean over songs", np.mean, fullness, ""
    ),
}
"""All that is scored of whole songs, by column: one entry is all that a metric takes."""


def song_scores(
    estimate: npt.ArrayLike, reference: npt.ArrayLike, mixture: npt.ArrayLike, sample_rate: int = SAMPLE_RATE
) -> dict[str, float]:
    """One song's scores by column of SONG_PROTOCOLS; estimate, reference and mixture `(channels, samples)`.

    SiSEC's cSDR needs the mixture, see `sisec_frames`; the thesis scores its target alone, and so does its cSDR here. A
    score that is undefined is NaN: of a silent reference all SDRs, of a silent estimate all but uSDR, without
    accompaniment SiSEC's. Of a perfect estimate all SDRs are +inf but uSDR, which its floor keeps finite.
    """
    case = Case(estimate, reference, mixture, sample_rate)
    return {column: protocol.score(case) for column, protocol in SONG_PROTOCOLS.items()}


def window_scores(
    estimate: npt.ArrayLike, reference: npt.ArrayLike, mixture: npt.ArrayLike, sample_rate: int = SAMPLE_RATE
) -> dict[str, float]:
    """The scores of one salient window by column of WINDOW_PROTOCOLS, as `song_scores`; cSDR in the thesis's frames."""
    case = Case(estimate, reference, mixture, sample_rate)
    return {column: protocol.score(case) for column, protocol in WINDOW_PROTOCOLS.items()}


def aggregate(songs: "pd.DataFrame") -> dict[str, float]:
    """A test set's scores from its songs' (a row per song, the columns of song_scores), each by its own protocol.

    The averages are those of SONG_PROTOCOLS. Songs whose score is NaN are left out and counted in `<score>_skipped`;
    infinite ones (a perfect estimate) stay, so that a mean over them is infinite too and cannot pass for a finite
    one. Numbers of different protocols are not comparable: published 10.01 dB for BSRNN is SiSEC's, 7.94 dB is the
    thesis's.
    """
    totals: dict[str, float] = {}
    for name, protocol in SONG_PROTOCOLS.items():
        scores = songs[name].to_numpy(np.float64)
        defined = scores[~np.isnan(scores)]
        with np.errstate(invalid="ignore"):  # +inf and -inf have no mean
            totals[name] = float(protocol.average(defined)) if len(defined) else float("nan")
        totals[name.removesuffix("_db") + "_skipped"] = len(scores) - len(defined)
    return totals


def _sources(
    estimate: Any, reference: Any, dtype: type[np.float64] | None = np.float64
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both as `(sources, channels, samples)` arrays."""
    arrays = [np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype) for x in (estimate, reference)]
    if arrays[0].shape != arrays[1].shape:
        raise InputError(f"estimate has shape {arrays[0].shape}, reference {arrays[1].shape}; they must be equal")
    if arrays[0].ndim not in (2, 3) or arrays[0].size == 0:
        raise InputError(
            f"expected (channels, samples) or (sources, channels, samples) with samples, got {arrays[0].shape}"
        )
    first, second = (array if array.ndim == 3 else array[None] for array in arrays)
    return first, second


def _like(given: Any, scores_db: Float64) -> float | Float64:
    """A float where one source was given as `(channels, samples)`, else `(sources,)`."""
    return float(scores_db[0]) if np.ndim(given) == 2 else scores_db


def _energy(sources: Float64) -> Float64:
    """Per source, over channels and samples."""
    energy: Float64 = np.einsum("sct,sct->s", sources, sources)
    return energy


def _any_silent(frame: Float64) -> bool:
    # a few samples are enough to hear that a source sounds
    return any(not source[:, ::100].sum(axis=0).any() and not source.sum(axis=0).any() for source in frame)


def _median(frames_db: Float64) -> float:
    defined = frames_db[~np.isnan(frames_db)]
    return float(np.median(defined)) if len(defined) else float("nan")
