"""Copies of a recording under another name: found by their envelopes, believed by their waveforms.

An envelope is small enough to compare every recording with every other. Where two are alike, as steady beats of one
tempo also are, their fingerprints are compared, for which each is read once more; and where those are alike, excerpts
are read and correlated sample by sample: there a copy is close, whatever its container, bit depth, gain, polarity or
shift, and other music is not. A copy at another pitch or tempo is not found.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import correlate, resample_poly

from vocalremix.audio.reading import read_blocks
from vocalremix.check.levels import BLOCK_HOPS, ENVELOPE_HOP_S, hop_samples

ALIKE = 0.7
# frames that a shift by half a hop hardly changes
SMOOTHING_HOPS = 9
# what changes more slowly, such as a long note's level, many recordings have in common
TREND_HOPS = 41
# relative to its mean; a tone's envelope has no shape to compare
STEADY = 1e-3
# a copy half a hop beside has 0.8 and more, other music or noise 0.3 and less
MAYBE = 0.5
FINGERPRINT_HZ = 2800
# long enough that half a hop beside, where a copy may be, noise is still like itself
FINGERPRINT_HOPS = 4
FINGERPRINT_SIZE = 16
SAME = 0.9
PROBES = 3
PROBE_S = 5.0
PROBE_RATE = 44100
# a low-pass that ends at 2.8 kHz: a lossy codec changes more of what lies above
PROBE_WINDOW = np.hanning(34)[1:-1]
MARGIN_S = 0.5
LAG_TOLERANCE_S = 2e-3
# of the shorter recording
OVERLAP = 0.5
# of the loudest probe's energy: what a lossy codec leaves of a quiet place is not the same twice
AUDIBLE = 1e-3


@dataclass(frozen=True)
class Recording:
    """A file, its rate in Hz and the mean square of every 0.05 s (`Levels.envelope`)."""

    path: Path
    sample_rate: int
    envelope: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Copy:
    """How a recording is in another: `lag_s` later, and how alike their waveforms are there, 0..1."""

    lag_s: float
    correlation: float


def find_copies(recordings: Sequence[Recording], jobs: int = 1) -> dict[tuple[int, int], Copy]:
    """Every pair of `recordings` (by index) that is one recording; none of them may be silent.

    Memory grows by an envelope a recording, and by 1.3 kB a second of those whose envelopes are like another's. Raises
    InputError for a file that cannot be read any more.
    """
    alike = _alike([recording.envelope for recording in recordings])
    suspects = sorted({index for first, second, _ in alike for index in (first, second)})
    with Parallel(n_jobs=jobs) as parallel:
        fingerprints = parallel(delayed(fingerprint)(recordings[index]) for index in suspects)
        of = dict(zip(suspects, fingerprints, strict=True))
        pairs = [pair for pair in alike if likeness(of[pair[0]], of[pair[1]], pair[2]) > MAYBE]
        tasks = [delayed(compare)(recordings[first], recordings[second], lag_s) for first, second, lag_s in pairs]
        copies = parallel(tasks)
    return {(first, second): copy for (first, second, _), copy in zip(pairs, copies, strict=True) if copy}


def compare(a: Recording, b: Recording, lag_s: float) -> Copy | None:
    """How `a` is in `b` about `lag_s` later, if it is."""
    correlations, lags = [], []
    for start_s, length_s in _probes(a, b, lag_s):
        correlation, lag = _correlate(a, b, start_s, length_s, lag_s)
        if correlation < SAME:
            return None
        correlations.append(correlation)
        lags.append(lag)
    if not lags or max(lags) - min(lags) > LAG_TOLERANCE_S:
        return None
    return Copy(float(np.median(lags)), min(correlations))


def _alike(envelopes: Sequence[npt.NDArray[np.float32]]) -> list[tuple[int, int, float]]:
    """Pairs whose envelopes correlate at any lag, and that lag in seconds."""
    found: list[tuple[int, int, float]] = []
    if not envelopes:
        return found
    shapes = [_shape(envelope) for envelope in envelopes]
    size = next_fast_len(2 * max(map(len, shapes)), real=True)
    spectra = np.stack([rfft(shape, size) for shape in shapes])
    steady = np.array([not shape.any() for shape in shapes])
    for first in range(len(shapes) - 1):
        rest = slice(first + 1, None)
        correlations = irfft(np.conj(spectra[first]) * spectra[rest], size)
        lags = correlations.argmax(axis=1)
        alike = (correlations.max(axis=1) > ALIKE) | (steady[first] & steady[rest])
        for offset in np.flatnonzero(alike):
            lag = int(lags[offset])
            found.append((first, first + 1 + int(offset), ENVELOPE_HOP_S * (lag if lag < size // 2 else lag - size)))
    return found


def fingerprint(recording: Recording) -> npt.NDArray[np.float32]:
    """Which frequencies below 2.8 kHz are louder than others in each 0.2 s, every 0.05 s: `(hops, 16)`.

    The inner product of two rows is about 16 times that of the 560 amplitudes, less their means, from which they were
    made: a random projection keeps it (Johnson and Lindenstrauss 1984).
    """
    hop = ENVELOPE_HOP_S * recording.sample_rate
    size = FINGERPRINT_HOPS * hop_samples(recording.sample_rate)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    n_bins = 1 + round(FINGERPRINT_HZ * FINGERPRINT_HOPS * ENVELOPE_HOP_S)
    projection = np.random.default_rng(0).standard_normal((n_bins, FINGERPRINT_SIZE), dtype=np.float32)
    rows = []
    before = np.zeros(size, dtype=np.float32)
    for block in read_blocks(recording.path, round(BLOCK_HOPS * hop)):
        samples = np.concatenate([before, np.nan_to_num(block.mean(axis=0), posinf=0, neginf=0)])
        # from the true time of each hop, so that a rate in which a hop is no whole number of samples does not drift
        starts = np.round(np.arange(1, 1 + int(block.shape[1] / hop + 1e-6)) * hop).astype(int)
        frames = np.lib.stride_tricks.sliding_window_view(samples, size)[starts]
        amplitudes = np.abs(rfft(frames * window))[:, 1:n_bins]
        amplitudes -= amplitudes.mean(axis=1, keepdims=True)
        rows.append(amplitudes @ projection[: amplitudes.shape[1]])
        before = samples[-size:]
    return np.concatenate(rows)


def likeness(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], lag_s: float) -> float:
    """The largest normalised correlation of two fingerprints at about `lag_s`; 0 where one of them is all zeros."""
    about, margin = round(lag_s / ENVELOPE_HOP_S), round(MARGIN_S / ENVELOPE_HOP_S)
    best = 0.0
    for lag in range(about - margin, about + margin + 1):
        begin, end = max(0, -lag), min(len(a), len(b) - lag)
        here, there = a[begin:end].ravel(), b[begin + lag : end + lag].ravel()
        norms = math.sqrt((here @ here) * (there @ there))
        best = max(best, float(here @ there) / norms if norms else 0.0)
    return best


def _shape(envelope: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What comes and goes in an envelope within a second, of norm 1; zeros where it is steady."""
    level = np.sqrt(envelope)
    deviation = _smooth(level, SMOOTHING_HOPS) - _smooth(level, TREND_HOPS)
    if deviation.std() <= STEADY * level.mean():
        return np.zeros(len(level), dtype=np.float32)
    shape: npt.NDArray[np.float32] = (deviation / np.linalg.norm(deviation)).astype(np.float32)
    return shape


def _smooth(level: npt.NDArray[np.float32], n_hops: int) -> npt.NDArray[np.float64]:
    window = np.hanning(n_hops + 2)[1:-1]
    padded = np.pad(level, n_hops // 2, mode="edge")
    smooth: npt.NDArray[np.float64] = np.convolve(padded, window / window.sum(), mode="valid")
    return smooth


def _probes(a: Recording, b: Recording, lag_s: float) -> list[tuple[float, float]]:
    """Where in `a` to look, in seconds, and how far: the loudest place of each third that both recordings have."""
    lag = round(lag_s / ENVELOPE_HOP_S)
    begin, end = max(0, -lag), min(len(a.envelope), len(b.envelope) - lag)
    if end - begin < OVERLAP * min(len(a.envelope), len(b.envelope)):
        return []
    n_probes, length = PROBES, round(PROBE_S / ENVELOPE_HOP_S)
    if end - begin < n_probes * length:
        n_probes, length = 1, end - begin
    edges = np.linspace(begin, end, n_probes + 1).astype(int)
    loudness = np.convolve(a.envelope, np.ones(length), mode="valid")
    probes = [low + int(loudness[low : high - length + 1].argmax()) for low, high in itertools.pairwise(edges)]
    loudest = max(loudness[probe] for probe in probes)
    return [
        (ENVELOPE_HOP_S * probe, ENVELOPE_HOP_S * length) for probe in probes if loudness[probe] > AUDIBLE * loudest
    ]


def _correlate(a: Recording, b: Recording, start_s: float, length_s: float, lag_s: float) -> tuple[float, float]:
    """The largest normalised correlation near `lag_s`, of either sign, and the lag in seconds where it is."""
    probe = _excerpt(a, start_s, length_s)
    begin_s = start_s + lag_s - MARGIN_S
    around = _excerpt(b, max(0.0, begin_s), length_s + 2 * MARGIN_S + min(0.0, begin_s))
    around = np.pad(around, (round(max(0.0, -begin_s) * PROBE_RATE), len(probe)))
    power = np.concatenate([[0.0], np.cumsum(np.square(around))])
    norms = np.sqrt(np.maximum(power[len(probe) :] - power[: -len(probe)], 0) * np.square(probe).sum())
    products = np.abs(correlate(around, probe, mode="valid", method="fft"))
    # where `around` is silent, rounding would be divided by rounding
    ratios = np.where(norms > 1e-3 * norms.max(), products / np.maximum(norms, 1e-12), 0)
    best = int(ratios.argmax())
    return float(ratios[best]), begin_s + best / PROBE_RATE - start_s


def _excerpt(recording: Recording, start_s: float, length_s: float) -> npt.NDArray[np.float64]:
    """Mono at PROBE_RATE, without its heights; zeros for what is not finite."""
    rate = recording.sample_rate
    waveform = next(read_blocks(recording.path, max(1, round(length_s * rate)), round(start_s * rate)))
    mono = np.nan_to_num(waveform.mean(axis=0, dtype=np.float64), posinf=0, neginf=0)
    ratio = Fraction(PROBE_RATE, rate)
    at_rate = resample_poly(mono, ratio.numerator, ratio.denominator)
    low: npt.NDArray[np.float64] = np.convolve(at_rate, PROBE_WINDOW, mode="same")
    return low
