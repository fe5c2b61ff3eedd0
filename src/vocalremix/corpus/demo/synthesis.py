"""Building blocks of sound: oscillators, plucked and struck notes, filters, space.

Mono waveforms are `(samples,)`, stereo ones `(2, samples)`, float32 unless said otherwise.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

Samples = npt.NDArray[np.float32]
Track = npt.NDArray[np.float64]

CONTROL_RATE = 100  # frames per second of everything that moves slowly: pitch, formants, loudness


def midi_to_hz(midi: npt.ArrayLike) -> Track:
    """Frequency in Hz of MIDI note numbers, A4 = 69 = 440 Hz, equal temperament."""
    semitones = np.asarray(midi, dtype=np.float64) - 69
    return np.asarray(440.0 * np.exp2(semitones / 12), dtype=np.float64)


def to_samples(track: Track, n_samples: int, sample_rate: int) -> Track:
    """Interpolate a track `(frames,)` at CONTROL_RATE to `(samples,)`."""
    frames = np.arange(n_samples) * (CONTROL_RATE / sample_rate)
    return np.asarray(np.interp(frames, np.arange(len(track)), track), dtype=np.float64)


def held(track: Track) -> Track:
    """Fill the gaps (NaN) of a track along its first axis with the value before them, leading ones with the first."""
    known = ~np.isnan(track).reshape(len(track), -1).any(axis=1)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(track)), np.argmax(known)))
    return track[latest]


def sawtooth(f0_hz: Track, sample_rate: int, phase: float = 0.0) -> Samples:
    """A sawtooth of time-varying pitch `(samples,)`, -1..1, spectrum falling by 6 dB per octave.

    Differentiated parabolic wave, which aliases far less than the naive ramp (Välimäki, "Discrete-time
    synthesis of the sawtooth waveform with reduced aliasing", IEEE Signal Processing Letters 12, 2005).
    """
    ramp = (2 * ((np.cumsum(f0_hz / sample_rate) + phase) % 1.0) - 1).astype(np.float32)
    parabola = ramp**2
    return np.diff(parabola, prepend=parabola[0]) * (sample_rate / 4 / f0_hz).astype(np.float32)


def plucked(f0_hz: float, duration_s: float, decay_s: float, position: float, sample_rate: int) -> Samples:
    """A plucked string: harmonic k starts at sin(pi k position) / k**1.5 and dies k times faster than the first.

    `decay_s` is the first harmonic's time constant, `position` where the string is plucked (0..1 of its length).
    """
    times_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    first = np.exp((2j * np.pi * f0_hz - 1 / decay_s) * times_s).astype(np.complex64)
    harmonics = np.arange(1, min(30, int(0.45 * sample_rate / f0_hz)) + 1)
    amplitudes = np.sin(np.pi * harmonics * position) / harmonics**1.5
    # The k-th harmonic with its decay is the first to the power k, so the sum is a polynomial in it.
    note = np.polyval(np.append(amplitudes[::-1], 0).astype(np.complex64), first).imag
    return faded(note / np.abs(note).max(), sample_rate)


def struck(f0_hz: float, duration_s: float, decay_s: float, ratio: float, index: float, sample_rate: int) -> Samples:
    """An electric piano or bell by frequency modulation whose index falls with the loudness.

    Chowning, "The synthesis of complex audio spectra by means of frequency modulation", JAES 21, 1973.
    """
    times_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    envelope = np.exp(-times_s / decay_s)
    angle = 2 * np.pi * f0_hz * times_s
    return faded(envelope * np.sin(angle + index * envelope**2 * np.sin(ratio * angle)), sample_rate)


def swept(start_hz: float, end_hz: float, sweep_s: float, decay_s: float, sample_rate: int) -> Samples:
    """A drum's membrane: a sine falling from `start_hz` to `end_hz`, dying with time constant `decay_s`."""
    times_s = np.arange(round(6 * decay_s * sample_rate)) / sample_rate
    cycles = end_hz * times_s + (start_hz - end_hz) * sweep_s * (1 - np.exp(-times_s / sweep_s))
    return faded(np.sin(2 * np.pi * cycles) * np.exp(-times_s / decay_s), sample_rate)


def noise(rng: np.random.Generator, n_samples: int) -> Samples:
    """White noise `(samples,)` of variance 1."""
    return rng.standard_normal(n_samples, dtype=np.float32)


def faded(note: npt.NDArray[np.floating], sample_rate: int, fade_s: float = 0.008) -> Samples:
    """The note with its end faded out, so that cutting it makes no click."""
    n_fade = min(len(note), round(fade_s * sample_rate))
    result = note.astype(np.float32)
    result[len(note) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    return result


def filtered(
    waveform: Samples, kind: Literal["lowpass", "highpass"], cutoff_hz: float, sample_rate: int, order: int = 2
) -> Samples:
    """Butterworth filter along the last axis."""
    sections = signal.butter(order, cutoff_hz, btype=kind, fs=sample_rate, output="sos")
    return np.asarray(signal.sosfilt(sections.astype(np.float32), waveform), dtype=np.float32)


def one_pole(track: npt.NDArray[np.floating], time_constant_s: float, sample_rate: int) -> Track:
    """Let a per-sample track approach its target exponentially, starting on it: glides, attacks."""
    pole = np.exp(-1 / (time_constant_s * sample_rate))
    smooth, _ = signal.lfilter([1 - pole], [1, -pole], track, zi=[pole * track[0]])
    return np.asarray(smooth, dtype=np.float64)


def time_varying_filter(waveform: Samples, responses: npt.NDArray[np.complex64], hop_samples: int) -> Samples:
    """Filter `(samples,)` by one frequency response per hop, `(frames, 2 * hop_samples + 1)`, cross-faded.

    Each frame of two hops is windowed by a Hann window (which sums to 1 at this overlap), filtered as a whole in
    the frequency domain with as much zero padding again, and added back. Constant responses no longer than two
    hops therefore filter exactly. Needs samples // hop_samples + 1 frames.
    """
    n_frames = len(waveform) // hop_samples + 1
    padded = np.zeros((n_frames + 1) * hop_samples, dtype=np.float32)
    padded[hop_samples : hop_samples + len(waveform)] = waveform
    window = signal.get_window("hann", 2 * hop_samples).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop_samples)[::hop_samples] * window
    spectra = fft.rfft(frames, 4 * hop_samples) * responses
    pieces = fft.irfft(spectra, 4 * hop_samples).reshape(n_frames, 4, hop_samples)
    result = np.zeros((n_frames + 3, hop_samples), dtype=np.float32)
    for part in range(4):
        result[part : part + n_frames] += pieces[:, part]
    return result.reshape(-1)[hop_samples : hop_samples + len(waveform)]


def bin_frequencies_hz(sample_rate: int) -> Track:
    """The frequencies `(2 * hop + 1,)` at which `time_varying_filter` wants responses, at CONTROL_RATE hops."""
    return np.asarray(np.fft.rfftfreq(4 * (sample_rate // CONTROL_RATE), 1 / sample_rate), dtype=np.float64)


def placed(notes: Iterable[tuple[float, Samples, float]], n_samples: int, sample_rate: int) -> Samples:
    """Add mono notes, each `(start_s, waveform, gain)`, into one `(samples,)`; what runs over the end is cut."""
    result = np.zeros(n_samples, dtype=np.float32)
    for start_s, waveform, gain in notes:
        start = round(start_s * sample_rate)
        heard = waveform[: max(0, n_samples - start)]
        result[start : start + len(heard)] += np.float32(gain) * heard
    return result


def panned(waveform: Samples, pan: float) -> Samples:
    """Place mono between left (-1) and right (+1) at constant power; returns `(2, samples)`."""
    angle = (pan + 1) * np.pi / 4
    return np.stack([waveform * np.float32(np.cos(angle)), waveform * np.float32(np.sin(angle))])


def reverberated(waveform: Samples, rng: np.random.Generator, decay_s: float, wet: float, sample_rate: int) -> Samples:
    """Add a room to stereo: exponentially dying noise, different left and right; -60 dB after `decay_s`."""
    n_tail = round(decay_s * sample_rate)
    tail = rng.standard_normal((2, n_tail)) * 10 ** (-3 * np.arange(n_tail) / n_tail)
    tail = (tail / np.linalg.norm(tail, axis=1, keepdims=True)).astype(np.float32)
    room = signal.oaconvolve(waveform, filtered(tail, "lowpass", 5000, sample_rate), axes=1)[:, : waveform.shape[1]]
    return np.asarray(waveform + wet * room, dtype=np.float32)
