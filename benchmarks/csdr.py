"""How long does cSDR take? `metrics.csdr_frames` beside museval."""

from collections.abc import Iterator
from pathlib import Path

import museval
import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from benchmarks.floor import copy_rate
from benchmarks.race import Row, duration, race
from vocalremix.audio.reading import read
from vocalremix.audio.waveform import Waveform
from vocalremix.scoring.evaluation import score_song
from vocalremix.scoring.metrics import THESIS_FRAMES_S, csdr_frames
from vocalremix.util.values import SAMPLE_RATE, STEMS

REAL_SONG = Path(__file__).resolve().parents[2] / "shared/data/everything_is_remixed/test/Francium"
TOLERANCE_DB = 1e-6
WINDOW_SAMPLES = 6 * SAMPLE_RATE


def song(seconds: int) -> tuple[str, Waveform, Waveform, Waveform]:
    """What it is, a flawed estimate, the reference, a tenth of it silent, and the mixture, `(channels, samples)`."""
    if REAL_SONG.is_dir():
        name = "real audio"
        stems = {stem: read(REAL_SONG / f"{stem}.flac")[0][:, : seconds * SAMPLE_RATE] for stem in STEMS}
    else:
        name = "noise"
        rng = np.random.default_rng(0)
        stems = {stem: rng.normal(0, 0.1, (2, seconds * SAMPLE_RATE)).astype(np.float32) for stem in STEMS}
    vocals = stems.pop("vocals")
    estimate: Waveform = uniform_filter1d(vocals, 15) + 0.1 * sum(stems.values())
    middle = vocals.shape[1] // 2
    vocals[:, middle : middle + vocals.shape[1] // 10] = 0
    return name, estimate, vocals, sum(stems.values(), vocals)


def textbook(estimate: Waveform, reference: Waveform) -> npt.NDArray[np.float64]:
    """museval's SDR, `(sources, frames)`."""
    window, hop = (int(seconds * SAMPLE_RATE) for seconds in THESIS_FRAMES_S)
    sdr_db: npt.NDArray[np.float64] = museval.evaluate(reference.T[None], estimate.T[None], win=window, hop=hop)[0]
    return sdr_db


def check(estimate: Waveform, reference: Waveform) -> str:
    """Assert that both give the same frames, undefined ones included; says how close."""
    theirs, ours = textbook(estimate, reference), csdr_frames(estimate, reference, *THESIS_FRAMES_S)
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE_DB, rtol=0)
    undefined = np.isnan(ours)
    assert undefined.any() and not undefined.all()
    return f"{np.nanmax(np.abs(ours - theirs)):.0e} dB in {ours.size} frames, NaN in the same {undefined.sum()}"


def rows() -> Iterator[Row]:
    """cSDR, and all that the study computes of a song."""
    seconds = 60
    name, estimate, reference, mixture = song(seconds)
    agreement = check(estimate, reference)
    times = race(lambda: textbook(estimate, reference), lambda: csdr_frames(estimate, reference, *THESIS_FRAMES_S))
    read_once = duration((estimate.nbytes + reference.nbytes) / copy_rate())
    yield Row(f"cSDR of {seconds} s of stereo ({name})", *times.medians(duration), read_once, times.speedup, agreement)
    starts = range(0, reference.shape[1] - WINDOW_SAMPLES + 1, WINDOW_SAMPLES // 2)
    times = race(
        lambda: textbook(estimate, reference),
        lambda: score_song(estimate, reference, mixture, starts, WINDOW_SAMPLES),
    )
    question = f"All scores of {seconds} s, by song and by window, beside museval's cSDR alone"
    yield Row(question, *times.medians(duration), read_once, times.speedup, "tests/scoring/test_metrics.py")
