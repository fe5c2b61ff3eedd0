"""Building blocks of sound: oscillators, filters, space, and a voice of a source and moving formants.

Mono waveforms are `(samples,)`, stereo ones `(2, samples)`, float32. What moves slowly is a track `(frames,)` at
CONTROL_RATE.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, signal
from scipy.ndimage import gaussian_filter1d

Samples = npt.NDArray[np.float32]
Track = npt.NDArray[np.float64]

CONTROL_RATE = 100
# First three formants in Hz, means over 33 men: Peterson and Barney 1952, table II
VOWELS_HZ = (
    (270, 2290, 3010),
    (530, 1840, 2480),
    (660, 1720, 2410),
    (730, 1090, 2440),
    (570, 840, 2410),
    (300, 870, 2240),
)
BANDWIDTHS_HZ = (70.0, 90.0, 130.0)
# Above them a uniform tube: a formant every 1000 Hz. Without these a cascade has no treble.
UPPER_FORMANTS_HZ = tuple(range(3500, 21000, 1000))


class Consonant(NamedTuple):
    """How a syllable begins: so long, with so much voice, and noise in a band."""

    duration_s: float
    voicing: float
    noise: float
    low_hz: float
    high_hz: float


CONSONANTS = (
    Consonant(0.11, 0.0, 0.35, 4800, 9500),
    Consonant(0.11, 0.0, 0.35, 2300, 6000),
    Consonant(0.03, 0.0, 0.6, 3000, 8000),
    Consonant(0.03, 0.0, 0.5, 1300, 3000),
    Consonant(0.08, 0.4, 0.0, 1000, 8000),
    Consonant(0.09, 0.3, 0.2, 4800, 9500),
)


class Syllable(NamedTuple):
    """A consonant that ends at `start_s`, then a vowel."""

    start_s: float
    duration_s: float
    consonant: Consonant
    vowel_hz: tuple[float, float, float]
    loudness: float = 1.0


def syllable(start_s: float, duration_s: float, rng: np.random.Generator, loudness: float = 1.0) -> Syllable:
    """One of random sounds."""
    consonant, vowel = CONSONANTS[rng.integers(len(CONSONANTS))], VOWELS_HZ[rng.integers(len(VOWELS_HZ))]
    return Syllable(start_s, duration_s, consonant, vowel, loudness)


def utter(
    syllables: Sequence[Syllable],
    f0_hz: Track,
    tract: float,
    n_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Samples:
    """Sing or speak on a pitch contour; `tract` scales the formants. Returns `(samples,)`, at no particular level."""
    frames = len(f0_hz)
    voicing, hiss, band_hz = np.zeros(frames), np.zeros(frames), np.tile([1000.0, 8000.0], (frames, 1))
    formants_hz = np.tile(np.asarray(VOWELS_HZ[0], np.float64), (frames, 1))
    for start_s, duration_s, consonant, vowel_hz, loudness in syllables:
        first, start, end = (
            max(0, round(at_s * CONTROL_RATE))
            for at_s in (start_s - consonant.duration_s, start_s, start_s + duration_s)
        )
        voicing[first:start], hiss[first:start] = consonant.voicing * loudness, consonant.noise * loudness
        voicing[start:end], band_hz[first:start] = loudness, (consonant.low_hz, consonant.high_hz)
        formants_hz[first:] = vowel_hz
    formants_hz = gaussian_filter1d(formants_hz, 2.5, axis=0) * tract
    # singers raise the first formant to the pitch (Sundberg 1977)
    formants_hz[:, 0] = np.maximum(formants_hz[:, 0], f0_hz)
    noise = rng.standard_normal(n_samples, dtype=np.float32)
    sounding = to_samples(gaussian_filter1d(voicing, 1.2), n_samples, sample_rate)
    jitter = 1 + 0.004 * gaussian_filter1d(rng.standard_normal(frames), 1.0)
    glottis = filtered(
        sawtooth(to_samples(f0_hz * jitter, n_samples, sample_rate), sample_rate), "lowpass", 4500, sample_rate, 1
    )
    breathed = (glottis + 0.1 * filtered(noise, "highpass", 1000, sample_rate)) * sounding.astype(np.float32)
    bins_hz = np.fft.rfftfreq(4 * (sample_rate // CONTROL_RATE), 1 / sample_rate)
    response = np.prod(
        [resonance(bins_hz, hz * tract, 0.06 * hz) for hz in UPPER_FORMANTS_HZ if hz * tract < sample_rate / 2], axis=0
    )
    for formant, bandwidth_hz in enumerate(BANDWIDTHS_HZ):
        response = response * resonance(bins_hz, formants_hz[:, formant, None], bandwidth_hz)
    low_hz, high_hz = np.hsplit(band_hz, 2)
    band = 1 / (1 + (low_hz / np.maximum(bins_hz, 1)) ** 4) / (1 + (bins_hz / high_hz) ** 4)
    hissed = noise * to_samples(gaussian_filter1d(hiss, 0.5), n_samples, sample_rate).astype(np.float32)
    voiced = time_varying_filter(breathed, response)
    voiced /= np.float32(np.sqrt(np.mean(voiced[np.abs(voiced) > 0] ** 2)) if voiced.any() else 1)
    return voiced + np.float32(1.5) * time_varying_filter(hissed, band)


def resonance(
    bins_hz: npt.NDArray[np.floating], formant_hz: npt.ArrayLike, bandwidth_hz: float
) -> npt.NDArray[np.complex64]:
    """Frequency response of one formant, a pair of poles, 1 at 0 Hz (Fant, Acoustic Theory of Speech Production)."""
    squared = np.asarray(formant_hz, np.float32) ** 2 + np.float32(bandwidth_hz / 2) ** 2
    hz = bins_hz.astype(np.float32)
    return np.asarray(squared / (squared - hz**2 + np.complex64(1j * bandwidth_hz) * hz), np.complex64)


def time_varying_filter(waveform: Samples, responses: npt.NDArray[np.number]) -> Samples:
    """Filter `(samples,)` by one frequency response per frame, `(frames, 2 * hop + 1)`, cross-faded.

    Each frame of two hops is windowed (Hann, which sums to 1), filtered with as much zero padding again, and added
    back: responses that stay the same, no longer than two hops, filter exactly.
    """
    n_frames, hop = len(responses), responses.shape[1] // 2
    padded = np.zeros((n_frames + 1) * hop, np.float32)
    padded[hop : hop + len(waveform)] = waveform
    window = signal.get_window("hann", 2 * hop).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop] * window
    pieces = fft.irfft(fft.rfft(frames, 4 * hop) * responses, 4 * hop).reshape(n_frames, 4, hop)
    result = np.zeros((n_frames + 3, hop), np.float32)
    for part in range(4):
        result[part : part + n_frames] += pieces[:, part]
    return result.reshape(-1)[hop : hop + len(waveform)]


def n_frames(n_samples: int, sample_rate: int) -> int:
    """Frames of a track that covers a waveform."""
    return n_samples // (sample_rate // CONTROL_RATE) + 1


def to_samples(track: Track, n_samples: int, sample_rate: int) -> Track:
    """A track between its frames, `(samples,)`."""
    frames = np.arange(n_samples) * (CONTROL_RATE / sample_rate)
    return np.asarray(np.interp(frames, np.arange(len(track)), track), np.float64)


def sawtooth(f0_hz: Track, sample_rate: int, phase: float = 0.0) -> Samples:
    """A sawtooth of moving pitch, -1..1; a differentiated parabola aliases less than a ramp (Välimäki 2005)."""
    ramp = (2 * ((np.cumsum(f0_hz / sample_rate) + phase) % 1.0) - 1).astype(np.float32)
    parabola = ramp**2
    return np.diff(parabola, prepend=parabola[0]) * (sample_rate / 4 / f0_hz).astype(np.float32)


def filtered(
    waveform: Samples, kind: Literal["lowpass", "highpass"], cutoff_hz: float, sample_rate: int, order: int = 2
) -> Samples:
    """Butterworth filter along the last axis."""
    sections = signal.butter(order, cutoff_hz, btype=kind, fs=sample_rate, output="sos")
    return np.asarray(signal.sosfilt(sections.astype(np.float32), waveform), np.float32)


def placed(notes: Iterable[tuple[float, Samples, float]], n_samples: int, sample_rate: int) -> Samples:
    """Notes, each `(start_s, waveform, gain)`, added up; what runs over the end is cut."""
    result = np.zeros(n_samples, np.float32)
    for start_s, waveform, gain in notes:
        start = round(start_s * sample_rate)
        heard = waveform[: max(0, n_samples - start)]
        result[start : start + len(heard)] += np.float32(gain) * heard
    return result


def panned(waveform: Samples, place: float) -> Samples:
    """Mono between left (-1) and right (1) at constant power, `(2, samples)`."""
    angle = (place + 1) * np.pi / 4
    return np.stack([waveform * np.float32(np.cos(angle)), waveform * np.float32(np.sin(angle))])


def in_room(waveform: Samples, rng: np.random.Generator, decay_s: float, wet: float, sample_rate: int) -> Samples:
    """Stereo with a room: noise that falls by 60 dB in `decay_s`, another left and right."""
    n_tail = round(decay_s * sample_rate)
    noise = rng.standard_normal((2, n_tail)) * 10 ** (-3 * np.arange(n_tail) / n_tail)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    tail = filtered(noise.astype(np.float32), "lowpass", 5000, sample_rate)
    return np.asarray(waveform + wet * signal.oaconvolve(waveform, tail, axes=1)[:, : waveform.shape[1]], np.float32)
