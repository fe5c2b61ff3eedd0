"""cSDR against museval on real audio, uSDR and siSDR against closed forms, and the averaging protocols."""

from collections.abc import Callable
from pathlib import Path

import librosa
import museval
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from scipy.signal import butter, sosfilt

from vocalremix.audio.reading import read
from vocalremix.scoring.metrics import (
    SONG_PROTOCOLS,
    WINDOW_PROTOCOLS,
    Protocol,
    aggregate,
    csdr_frames,
    sisdr,
    sisec_frames,
    song_scores,
    usdr,
    window_scores,
)
from vocalremix.util.errors import InputError

SECONDS = 6
Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def song(real_data: Path) -> tuple[Array, Array]:
    """Vocals and accompaniment of a real song, `(channels, samples)`, with a silent second in the vocals."""
    folder = real_data / "everything_is_remixed" / "test" / "Francium"
    excerpt = slice(30 * 44100, 30 * 44100 + SECONDS * 44100 + 12345)
    stems = {stem: read(folder / f"{stem}.flac")[0][:, excerpt] for stem in ("vocals", "drums", "bass", "other")}
    vocals = stems["vocals"].copy()
    vocals[:, 2 * 44100 : 3 * 44100] = 0
    return vocals, stems["drums"] + stems["bass"] + stems["other"]


def museval_sdr(estimates: Array, references: Array, window: int, hop: int) -> npt.NDArray[np.float64]:
    sdr: npt.NDArray[np.float64] = museval.evaluate(
        references.swapaxes(1, 2), estimates.swapaxes(1, 2), win=window, hop=hop
    )[0]
    return sdr


def low_passed(waveform: Array) -> Array:
    filtered: Array = sosfilt(butter(4, 3000, fs=44100, output="sos"), waveform).astype(np.float32)
    return filtered


@pytest.mark.parametrize(("window_s", "hop_s"), [(1.0, 1.0), (2.0, 1.5)])
def test_csdr_of_two_sources_is_musevals(song: tuple[Array, Array], window_s: float, hop_s: float) -> None:
    vocals, accompaniment = song
    estimates = np.stack([low_passed(vocals) + 0.1 * accompaniment, 0.9 * accompaniment])
    references = np.stack([vocals, accompaniment])
    ours = csdr_frames(estimates, references, window_s, hop_s)
    theirs = museval_sdr(estimates, references, int(window_s * 44100), int(hop_s * 44100))
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    if window_s == 1:
        assert np.isnan(ours[:, 2]).all() and np.isfinite(np.delete(ours, 2, axis=1)).all()


def test_csdr_of_one_source_is_musevals(song: tuple[Array, Array]) -> None:
    vocals, accompaniment = song
    mixture = vocals + accompaniment
    for estimate in (mixture, low_passed(vocals), vocals + np.float32(1e-6) * accompaniment):
        theirs = museval_sdr(estimate[None], vocals[None], 44100, 44100)
        np.testing.assert_allclose(csdr_frames(estimate, vocals), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("window_s", "hop_s", "channels"), [(1.0, 1.0, 2), (2.0, 1.5, 2), (0.7, 0.3, 1)])
@pytest.mark.parametrize(
    ("name", "stems", "start_s", "some_nan"),
    [
        ("train/Rubidium", ["vocals"], 16, False),
        ("train/Lithium", ["bass"], 7, True),  # it ends at 10 s
        ("test/Francium", ["vocals", "drums", "other"], 7, True),  # the drums begin at 9 s
        ("test/Potassium", ["vocals", "other"], 60, False),
    ],
)
def test_csdr_of_real_songs_is_musevals(
    name: str,
    stems: list[str],
    start_s: int,
    some_nan: bool,
    window_s: float,
    hop_s: float,
    channels: int,
    real_data: Path,
) -> None:
    folder = real_data / "everything_is_remixed" / name
    excerpt = slice(start_s * 44100, (start_s + 5) * 44100)
    all_stems = ("vocals", "drums", "bass", "other")
    waveforms = {stem: read(folder / f"{stem}.flac")[0][:channels, excerpt] for stem in all_stems}
    references = np.stack([waveforms[stem] for stem in stems])
    leakage = np.float32(0.1) * sum(waveforms.values())
    estimates = np.stack([low_passed(reference) + leakage for reference in references])
    ours = csdr_frames(estimates, references, window_s, hop_s)
    theirs = museval_sdr(estimates, references, int(window_s * 44100), int(hop_s * 44100))
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    assert np.isnan(ours).any() == some_nan and np.isfinite(ours).any()


@pytest.mark.parametrize("n_samples", [500, 1000, 1001, 1749, 1750, 2500])
def test_frames_of_short_signals_are_musevals(n_samples: int) -> None:
    reference, noise = np.random.default_rng(n_samples).normal(size=(2, 2, 2, n_samples))
    estimate = reference + 0.3 * noise
    if n_samples > 1000:
        estimate[1, :, :1000] = [[1.0], [-1.0]]  # silent to museval: the channels cancel
    ours = csdr_frames(estimate, reference, 1.0, 0.75, sample_rate=1000)
    np.testing.assert_allclose(ours, museval_sdr(estimate, reference, 1000, 750), atol=1e-6, rtol=0)
    assert np.isnan(ours[:, 0]).all() == (n_samples > 1000)


@pytest.mark.parametrize("silent", ["target", "accompaniment", "estimated target", "estimated accompaniment"])
def test_sisec_drops_the_frames_that_museval_drops_with_both_sources(silent: str) -> None:
    target, accompaniment, noise = np.random.default_rng(0).normal(size=(3, 2, 5000)).astype(np.float32)
    second = slice(2000, 3000)
    if silent in ("target", "accompaniment"):
        (target if silent == "target" else accompaniment)[:, second] = 0
    mixture = target + accompaniment
    estimate = target + np.float32(0.3) * noise
    if silent == "estimated target":
        estimate[:, second] = 0
    if silent == "estimated accompaniment":
        estimate[:, second] = mixture[:, second]
    theirs = museval_sdr(np.stack([estimate, mixture - estimate]), np.stack([target, accompaniment]), 1000, 1000)
    frames = sisec_frames(estimate, target, mixture, 1000)
    np.testing.assert_allclose(frames, theirs[0], atol=1e-5, rtol=0)
    assert np.isnan(frames).tolist() == [False, False, True, False, False]
    scores = song_scores(estimate, target, mixture, 1000)
    assert scores["csdr_sisec_db"] == pytest.approx(np.nanmedian(theirs[0]), abs=1e-5)
    alone = museval_sdr(estimate[None], target[None], 2000, 1500)
    assert scores["csdr_thesis_db"] == pytest.approx(np.nanmedian(alone), abs=1e-5), "the thesis scores one source"


def test_the_untouched_mixture_stands_for_both_sources() -> None:
    target, accompaniment = np.random.default_rng(0).normal(size=(2, 2, 4000))
    target[:, :1000] = accompaniment[:, 2000:3000] = 0
    mixture = target + accompaniment
    theirs = museval_sdr(np.stack([mixture, mixture]), np.stack([target, accompaniment]), 1000, 1000)
    np.testing.assert_allclose(sisec_frames(mixture, target, mixture, 1000), theirs[0], atol=1e-6, rtol=0)
    assert np.isnan(theirs[0]).tolist() == [True, False, True, False]
    assert np.isnan(sisec_frames(target, target, target, 1000)).all(), "nothing but the target: museval refuses"
    with pytest.raises(InputError, match="shape"):
        sisec_frames(mixture, target, mixture[:, 1:], 1000)


def test_a_source_that_is_silent_throughout_has_no_csdr() -> None:
    assert np.isnan(csdr_frames(np.ones((2, 3000)), np.zeros((2, 3000)), sample_rate=1000)).all()


def test_csdr_takes_tensors_and_keeps_precision_far_from_the_start() -> None:
    reference = torch.ones(1, 2, 4000)
    reference[..., :1000] = 1000
    estimate = reference.clone()
    estimate[..., 3000:] += 2.0**-20
    frames = csdr_frames(estimate, reference, sample_rate=1000)
    assert np.isposinf(frames[0, :3]).all()
    assert frames[0, 3] == pytest.approx(20 * 20 * np.log10(2), abs=1e-9)


def test_usdr_is_the_energy_ratio_with_its_floor() -> None:
    reference = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    assert usdr(0.9 * reference.astype(np.float64), reference) == pytest.approx(20, abs=1e-6)
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    assert usdr(reference, reference) == pytest.approx(10 * np.log10((signal + 1e-7) / 1e-7))
    assert usdr(np.zeros((2, 10)), np.zeros((2, 10))) == 0
    both = usdr(torch.from_numpy(np.stack([reference, 0 * reference])), np.stack([reference, reference]))
    np.testing.assert_allclose(both, [usdr(reference, reference), 0], atol=1e-12)


def test_sisdr_ignores_gain_and_follows_the_angle() -> None:
    time = np.arange(1000) / 1000
    sine, cosine = np.sin(2 * np.pi * 5 * time), np.cos(2 * np.pi * 5 * time)
    reference = np.stack([sine, cosine])
    # orthogonal errors at -20 and -40 dB, so the mean over channels is 30 dB whatever the gain
    estimate = np.stack([sine + 0.1 * cosine, -5 * (cosine + 0.01 * sine)])
    assert sisdr(estimate, reference) == pytest.approx(30, abs=1e-9)
    assert sisdr(123 * estimate, reference) == pytest.approx(30, abs=1e-9)
    np.testing.assert_allclose(sisdr(np.stack([estimate] * 2), np.stack([reference] * 2)), [30, 30], atol=1e-9)
    assert np.isnan(sisdr(estimate, 0 * reference))
    assert np.isnan(sisdr(0 * estimate, reference))


def test_shapes_that_differ_are_named() -> None:
    for metric in (usdr, sisdr, csdr_frames):
        with pytest.raises(InputError, match=r"\(2, 9\), reference \(2, 10\)"):
            metric(np.ones((2, 9)), np.ones((2, 10)))
        with pytest.raises(InputError, match="expected"):
            metric(np.ones(10), np.ones(10))
    with pytest.raises(InputError, match="hop_s 0"):
        csdr_frames(np.ones((1, 9)), np.ones((1, 9)), 1, 0, 4)


def test_protocols_by_name(song: tuple[Array, Array]) -> None:
    vocals, accompaniment = song
    mixture = vocals + accompaniment
    scores = song_scores(mixture, vocals, mixture)
    sisec = museval_sdr(np.stack([mixture, mixture]), np.stack([vocals, accompaniment]), 44100, 44100)[0]
    thesis = museval_sdr(mixture[None], vocals[None], 88200, 66150)
    assert scores["csdr_sisec_db"] == pytest.approx(np.nanmedian(sisec), abs=1e-6)
    assert scores["csdr_thesis_db"] == pytest.approx(np.nanmedian(thesis), abs=1e-6)
    assert scores["usdr_db"] == usdr(mixture, vocals) and scores["sisdr_db"] == sisdr(mixture, vocals)
    window = window_scores(mixture, vocals, mixture)
    assert window == {
        "csdr_db": scores["csdr_thesis_db"],
        "usdr_db": scores["usdr_db"],
        "sisdr_db": scores["sisdr_db"],
    }


def test_each_figure_has_its_protocol() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 2, 3000))
    assert song_scores(*noise, sample_rate=1000).keys() == SONG_PROTOCOLS.keys()
    assert window_scores(*noise, sample_rate=1000).keys() == WINDOW_PROTOCOLS.keys()
    protocols = [protocol.name for protocol in (*SONG_PROTOCOLS.values(), *WINDOW_PROTOCOLS.values())]
    assert {"mdx", "sisdr", "sisec", "thesis", "windows"} < set(protocols)


def sdrs_of_a_song(estimate: Array, reference: Array, sample_rate: int) -> dict[str, float]:
    accompaniment = np.random.default_rng(1).normal(size=reference.shape)
    scores = song_scores(estimate, reference, reference + accompaniment, sample_rate)
    return {column: score for column, score in scores.items() if SONG_PROTOCOLS[column].unit == "dB"}


def sdrs_of_a_window(estimate: Array, reference: Array, sample_rate: int) -> dict[str, float]:
    return window_scores(estimate, reference, reference, sample_rate)


@pytest.mark.parametrize("scores", [sdrs_of_a_song, sdrs_of_a_window])
def test_a_silent_reference_has_no_score(scores: Callable[..., dict[str, float]]) -> None:
    sounding, silent = np.random.default_rng(0).normal(size=(2, 3000)), np.zeros((2, 3000))
    assert np.isnan(list(scores(sounding, silent, 1000).values())).all()
    assert np.isnan(list(scores(silent, silent, 1000).values())).all()
    of_silent_estimate = scores(silent, sounding, 1000)
    assert of_silent_estimate.pop("usdr_db") == pytest.approx(0, abs=1e-9)
    assert np.isnan(list(of_silent_estimate.values())).all()
    cancelling = np.stack([sounding[0], -sounding[0]])  # silence to museval, but not to uSDR
    assert scores(0.9 * cancelling, cancelling, 1000)["usdr_db"] == pytest.approx(20, abs=1e-6)


@pytest.mark.parametrize("scores", [sdrs_of_a_song, sdrs_of_a_window])
def test_a_perfect_estimate_is_infinite(scores: Callable[..., dict[str, float]]) -> None:
    reference = np.random.default_rng(0).normal(size=(2, 3000))
    of_perfect = scores(reference, reference, 1000)
    assert of_perfect.pop("usdr_db") == pytest.approx(10 * np.log10((reference**2).sum() / 1e-7), abs=1e-6)
    assert np.isposinf(list(of_perfect.values())).all()


def test_aggregate_uses_each_protocols_average_and_counts_nan() -> None:
    values = [1.0, 2.0, 9.0, np.nan]
    columns = ["csdr_thesis_db", "csdr_sisec_db", "usdr_db", "sisdr_db"]
    totals = aggregate(pd.DataFrame({name: values for name in SONG_PROTOCOLS}))
    assert [totals[name] for name in columns] == [4, 2, 4, 4]
    assert totals["csdr_thesis_skipped"] == totals["usdr_skipped"] == 1
    assert np.isnan(aggregate(pd.DataFrame({name: [np.nan] for name in SONG_PROTOCOLS}))["csdr_sisec_db"])


@pytest.mark.filterwarnings("error")
def test_an_infinite_score_shows_in_the_average_of_its_protocol() -> None:
    columns = ["csdr_thesis_db", "csdr_sisec_db", "usdr_db", "sisdr_db"]
    totals = aggregate(pd.DataFrame({name: [1.0, 2.0, np.inf, np.nan] for name in SONG_PROTOCOLS}))
    assert [totals[name] for name in columns] == [np.inf, 2, np.inf, np.inf]
    assert totals["sisdr_skipped"] == 1
    totals = aggregate(pd.DataFrame({name: [1.0, -np.inf, np.inf] for name in SONG_PROTOCOLS}))
    np.testing.assert_array_equal([totals[name] for name in columns], [np.nan, 1, np.nan, np.nan])


def test_bleed_and_fullness_are_those_of_librosas_mel_bands() -> None:
    """Music-Source-Separation-Training's definition, computed with librosa alone."""
    rng = np.random.default_rng(0)
    reference = (rng.normal(size=(2, 44100)) * np.linspace(0.01, 0.3, 44100)).astype(np.float32)
    estimate = (0.7 * reference + 0.02 * rng.normal(size=(2, 44100))).astype(np.float32)

    def mel_db(waveform: Array) -> Array:
        spectrum = np.abs(librosa.stft(waveform, n_fft=4096, hop_length=1024, pad_mode="constant"))
        mel = librosa.filters.mel(sr=44100, n_fft=4096, n_mels=512) @ spectrum
        return librosa.amplitude_to_db(mel, amin=1e-10, top_db=80)

    difference = mel_db(estimate) - mel_db(reference)
    scores = song_scores(estimate, reference, estimate)
    assert scores["bleedless"] == pytest.approx(100 / (1 + difference[difference > 0].mean()), rel=1e-4)
    assert scores["fullness"] == pytest.approx(100 / (1 - difference[difference < 0].mean()), rel=1e-4)
    perfect = song_scores(reference, reference, estimate)
    assert perfect["bleedless"] == perfect["fullness"] == 100
    louder = song_scores(2 * reference, reference, estimate)
    assert louder["fullness"] == 100 and louder["bleedless"] == pytest.approx(100 / (1 + 20 * np.log10(2)), rel=1e-3)
    silent = song_scores(0 * reference, reference, estimate)
    assert silent["bleedless"] == 100 and silent["fullness"] < 2
    assert np.isnan(song_scores(reference, 0 * reference, estimate)["fullness"])


def test_log_wmse_falls_by_four_for_each_factor_e_of_the_error() -> None:
    """Its scale: -4 ln of the weighted error's energy over the mixture's."""
    rng = np.random.default_rng(0)
    mixture, reference, error = rng.normal(0, 0.1, (3, 2, 44100))
    scores = [song_scores(reference + gain * error, reference, mixture)["logwmse"] for gain in (0.1, 0.1 * np.e)]
    assert scores[0] - scores[1] == pytest.approx(8, abs=0.01)
    assert song_scores(10 * (reference + 0.1 * error), 10 * reference, 10 * mixture)["logwmse"] == pytest.approx(
        scores[0], abs=1e-3
    )


def test_a_metric_of_ones_own_takes_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/results.md tells; it is then in scores, averages and every table."""
    entry = Protocol("peak", "peak", "largest sample", np.median, lambda case: float(np.max(case.estimate)), "")
    monkeypatch.setitem(SONG_PROTOCOLS, "peak", entry)
    noise = np.random.default_rng(0).normal(size=(2, 44100))
    scores = song_scores(noise, noise, noise)
    assert scores["peak"] == noise.max()
    songs = pd.DataFrame([scores, scores | {"peak": np.nan}])
    assert aggregate(songs)["peak"] == noise.max() and aggregate(songs)["peak_skipped"] == 1
    assert entry.label == "peak" and SONG_PROTOCOLS["csdr_sisec_db"].label == "cSDR, SiSEC (dB)"
