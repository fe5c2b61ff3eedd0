"""SDR three ways: cSDR (framewise, museval's), uSDR and siSDR, and the ways to average them over songs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE

if TYPE_CHECKING:
    import pandas as pd

Float64 = npt.NDArray[np.float64]

USDR_FLOOR = 1e-7
THESIS_FRAMES_S = (2.0, 1.5)
SISEC_FRAMES_S = (1.0, 1.0)


class Protocol(NamedTuple):
    """What a figure is an average of. Figures of different protocols cannot be compared."""

    name: str
    metric: str
    description: str
    average: Callable[[Float64], np.float64]


THESIS_CSDR = "2 s frames every 1.5 s, median over frames"
WINDOW_PROTOCOLS = {
    "csdr_db": Protocol("windows", "cSDR", f"salient windows: {THESIS_CSDR}, mean over windows", np.mean),
    "usdr_db": Protocol("windows", "uSDR", "salient windows, mean over windows", np.mean),
    "sisdr_db": Protocol("windows", "siSDR", "salient windows: mean over channels, mean over windows", np.mean),
}
SONG_PROTOCOLS = {
    "csdr_thesis_db": Protocol("thesis", "cSDR", f"whole songs: {THESIS_CSDR}, mean over songs", np.mean),
    "csdr_sisec_db": Protocol(
        "sisec",
        "cSDR",
        "whole songs: 1 s frames in which target and accompaniment sound, median over frames, median over songs",
        np.median,
    ),
    "usdr_db": Protocol("mdx", "uSDR", "whole songs, mean over songs", np.mean),
    "sisdr_db": Protocol("sisdr", "siSDR", "whole songs: mean over channels, mean over songs", np.mean),
}
AVERAGES = {score: protocol.average for score, protocol in SONG_PROTOCOLS.items()}


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


def song_scores(
    estimate: npt.ArrayLike, reference: npt.ArrayLike, mixture: npt.ArrayLike, sample_rate: int = SAMPLE_RATE
) -> dict[str, float]:
    """One song's scores in dB; estimate, reference and mixture `(channels, samples)` of the whole song.

    Keys: those of SONG_PROTOCOLS. Only SiSEC's cSDR needs the mixture, see `sisec_frames`; the thesis scores its target
    alone, and so does its cSDR here. A score that is undefined is NaN: of a silent reference all of them, of a silent
    estimate all but uSDR, without accompaniment SiSEC's. Of a perfect estimate all are +inf but uSDR, which its floor
    keeps finite.
    """
    return {
        "csdr_thesis_db": _median(csdr_frames(estimate, reference, *THESIS_FRAMES_S, sample_rate)),
        "csdr_sisec_db": _median(sisec_frames(estimate, reference, mixture, sample_rate)),
        "usdr_db": _defined_usdr(estimate, reference),
        "sisdr_db": float(sisdr(estimate, reference)),
    }


def window_scores(
    estimate: npt.ArrayLike, reference: npt.ArrayLike, sample_rate: int = SAMPLE_RATE
) -> dict[str, float]:
    """The scores in dB of one salient window, `(channels, samples)`; cSDR with the thesis's frames.

    Keys: those of WINDOW_PROTOCOLS; NaN and +inf as in song_scores.
    """
    return {
        "csdr_db": _median(csdr_frames(estimate, reference, *THESIS_FRAMES_S, sample_rate)),
        "usdr_db": _defined_usdr(estimate, reference),
        "sisdr_db": float(sisdr(estimate, reference)),
    }


def aggregate(songs: "pd.DataFrame") -> dict[str, float]:
    """A test set's scores from its songs' (a row per song, the columns of song_scores), each by its own protocol.

    The averages are those of SONG_PROTOCOLS. Songs whose score is NaN are left out and counted in `<score>_skipped`;
    infinite ones (a perfect estimate) stay, so that a mean over them is infinite too and cannot pass for a finite
    one. Numbers of different protocols are not comparable: published 10.01 dB for BSRNN is SiSEC's, 7.94 dB is the
    thesis's.
    """
    totals: dict[str, float] = {}
    for name, average in AVERAGES.items():
        scores = songs[name].to_numpy(np.float64)
        defined = scores[~np.isnan(scores)]
        with np.errstate(invalid="ignore"):  # +inf and -inf have no mean
            totals[name] = float(average(defined)) if len(defined) else float("nan")
        totals[name.removesuffix("_db") + "_skipped"] = len(scores) - len(defined)
    return totals


def _defined_usdr(estimate: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """uSDR, or NaN for a reference that is silent throughout, of which the formula measures the estimate's level."""
    _, references = _sources(estimate, reference, dtype=None)
    return float(usdr(estimate, reference)) if references.any() else float("nan")


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
