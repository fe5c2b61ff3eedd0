"""Classic and speech remixing as pure functions on waveforms, `(channels, samples)` float32."""

import math
from collections.abc import Sequence
from typing import get_args

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from vocalremix.util.values import SAMPLE_RATE, TargetScaling


def peak(waveform: Tensor) -> float:
    """The largest absolute value of a waveform of any shape but an empty one."""
    # NumPy, because torch first copies what is not laid out channel by channel
    samples = waveform.numpy(force=True)
    return max(-float(samples.min()), float(samples.max()))


def mix(stems: Sequence[Tensor]) -> Tensor:
    """The sum of one or more stems of equal shape."""
    mixture = stems[0].clone()
    for stem in stems[1:]:
        mixture += stem
    return mixture


def mix_at_snr(signal: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Add noise to a signal at a signal-to-noise ratio.

    The signal keeps its level; the noise is scaled so that `10 log10(sum signal^2 / sum noise^2) = snr_db`, the
    sums going over all channels and samples (torchaudio.functional.add_noise has one ratio per channel instead).
    Where either is silent there is no such ratio, and the noise is added as it is.

    Args:
        signal: `(channels, samples)`.
        noise: `(channels, samples)`, same shape.
        snr_db: signal over noise in dB.

    Returns:
        The mixture, `(channels, samples)`.

    Raises:
        ValueError: the shapes differ.
    """
    if signal.shape != noise.shape:
        raise ValueError(f"signal {tuple(signal.shape)} and noise {tuple(noise.shape)} differ in shape")
    return torch.add(signal, noise, alpha=noise_gain(signal, noise, snr_db))


def noise_gain(signal: Tensor, noise: Tensor, snr_db: float) -> float:
    """The factor for the noise in `mix_at_snr`; 1 where signal or noise is silent."""
    signal_norm, noise_norm = (float(torch.linalg.vector_norm(waveform)) for waveform in (signal, noise))
    if signal_norm == 0 or noise_norm == 0:
        return 1.0
    return signal_norm / noise_norm * float(10 ** (-snr_db / 20))


def join(parts: Sequence[Tensor], n_samples: int, peaks: Sequence[float] | None = None) -> Tensor:
    """Utterances `(samples,)` or `(channels, samples)`, each divided by its peak, end to end and cut to `n_samples`.

    `peaks`: of the whole utterances where `parts` holds parts of them. Returns `(channels, n_samples)`. Raises
    ValueError where they are shorter.
    """
    divisors = [peak(part) for part in parts] if peaks is None else peaks
    normalised = [
        part.reshape(-1, part.shape[-1]) / (divisor or 1) for part, divisor in zip(parts, divisors, strict=True)
    ]
    speech = torch.cat(normalised, dim=-1)[:, :n_samples]
    if speech.shape[-1] < n_samples:
        raise ValueError(f"{speech.shape[-1]} samples of speech for {n_samples} of accompaniment")
    return speech


def pan(voice: Tensor, place: float) -> Tensor:
    """A voice `(1, samples)` between left, -1, and right, 1, at constant power: `(2, samples)`.

    In the middle both channels are the voice as it is; what has two channels already is only made louder and quieter.
    """
    if place == 0:
        return voice
    angle = (place + 1) * math.pi / 4
    return voice * voice.new_tensor([[math.cos(angle)], [math.sin(angle)]]) * math.sqrt(2)


def low_pass(waveform: Tensor, hz: float, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """`(..., samples)` without anything from `hz` on: zeros in its Fourier transform."""
    n_samples = next_fast_len(waveform.shape[-1], real=True)
    spectrum = torch.fft.rfft(waveform, n=n_samples)
    spectrum[..., round(hz * n_samples / sample_rate) :] = 0
    passed: Tensor = torch.fft.irfft(spectrum, n=n_samples)[..., : waveform.shape[-1]]
    return passed


def fill_upper_band(speech: Tensor, hz: float = 8000, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Speech `(..., samples)` that ends at `hz`, with 8 to 16 kHz made of what is below.

    The upper half of the band is translated upwards twice, each time 6 dB quieter: high-frequency regeneration by
    spectral translation (Makhoul and Berouti 1979), in the Fourier transform of the whole.
    """
    n_samples = next_fast_len(speech.shape[-1], real=True)
    spectrum = torch.fft.rfft(speech, n=n_samples)
    half = round(hz / 2 * n_samples / sample_rate)
    for times in (1, 2):
        first = (1 + times) * half
        spectrum[..., first : first + half] = spectrum[..., half : 2 * half] * 0.5**times
    filled: Tensor = torch.fft.irfft(spectrum, n=n_samples)[..., : speech.shape[-1]]
    return filled


def reverberate(voice: Tensor, reverb_s: float, seed: int, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """A voice `(2, samples)` in a room, of the same length.

    The room's response is the direct sound and noise that falls by 60 dB in `reverb_s` seconds, another for each
    channel (Moorer 1979); the noise has a quarter of the direct sound's energy, the noise of `seed`.
    """
    n_tail = round(reverb_s * sample_rate)
    noise = torch.randn(2, n_tail, generator=torch.Generator().manual_seed(seed))
    tail = noise * 10 ** (-3 * torch.arange(n_tail) / n_tail)
    tail *= 0.5 / torch.linalg.vector_norm(tail, dim=-1, keepdim=True)
    n_samples = next_fast_len(voice.shape[-1] + n_tail, real=True)
    product = torch.fft.rfft(voice, n=n_samples) * torch.fft.rfft(tail, n=n_samples)
    reverberation: Tensor = torch.fft.irfft(product, n=n_samples)[..., : voice.shape[-1]]
    return voice + reverberation


def classic_remix(target: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mix a target with the other stems of any songs: all three of them, not a random number (thesis 4.4.1).

    Args:
        target: `(channels, samples)`.
        others: stems of the same shape.

    Returns:
        Mixture and target, `(channels, samples)` each.
    """
    return mix([target, *others]), target


def speech_remix(
    accompaniment: Tensor,
    utterances: Tensor | Sequence[Tensor],
    snr_db: float,
    target_scaling: TargetScaling = "matched",
    peaks: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Put speech in the place of the target (thesis 4.4.2, Algorithm 1).

    Each utterance is peak-normalised, they are joined end to end, cut to the accompaniment's length, and mixed with
    it; the mixture is peak-normalised. Mono speech goes to every channel alike.

    Args:
        accompaniment: `(channels, samples)`.
        utterances: one or more of `(samples,)`, `(1, samples)` or `(channels, samples)`, together at least as long
            as the accompaniment.
        snr_db: speech over accompaniment in dB.
        target_scaling: `matched` scales the speech like the mixture, so that mixture - target is the accompaniment
            as it is heard; `published` leaves the speech as it was before the mixture was normalised, which is what
            Algorithm 1 returns: target and mixture disagree by a gain.
        peaks: the peaks of the whole utterances where `utterances` holds parts of them.

    Returns:
        Mixture and target (the speech), `(channels, samples)` each.

    Raises:
        ValueError: the speech is shorter than the accompaniment, or the scaling is none of the two.
    """
    if target_scaling not in get_args(TargetScaling):
        raise ValueError(f"target_scaling is {target_scaling!r}, expected one of {get_args(TargetScaling)}")
    parts = [utterances] if isinstance(utterances, Tensor) else utterances
    speech = join(parts, accompaniment.shape[-1], peaks)
    target = torch.empty_like(accompaniment).copy_(speech)
    mixture = mix_at_snr(target, accompaniment, snr_db)
    gain = 1 / (peak(mixture) or 1)
    mixture *= gain
    if target_scaling == "matched":
        target *= gain
    return mixture, target
