"""Speakers who say utterances of random syllables with the intonation of sentences."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vocalremix.corpus.demo.sound import CONTROL_RATE, Samples, Syllable, n_frames, syllable, utter

SPEECH_RATE = 16000  # Hz, as LibriSpeech
UTTERANCE_S = (3.0, 6.0)
PEAK = 0.7


class Speaker(NamedTuple):
    """Whose voice it is: the bottom of its pitch, which moves by two thirds of an octave, its size, its speed."""

    low_hz: float
    tract: float
    syllables_per_s: float


def speaker(seed: int, index: int) -> Speaker:
    """Speaker number `index`; men and women take turns."""
    rng = np.random.default_rng((seed, index))
    if index % 2:
        return Speaker(rng.uniform(145, 190), rng.uniform(1.1, 1.22), rng.uniform(3.8, 5.8))
    return Speaker(rng.uniform(75, 115), rng.uniform(0.94, 1.06), rng.uniform(3.8, 5.8))


def utterance(voice: Speaker, rng: np.random.Generator) -> Samples:
    """One utterance `(samples,)` of 3 to 6 s at SPEECH_RATE: clauses of 4 to 9 syllables that fall, pauses between."""
    duration_s = rng.uniform(*UTTERANCE_S)
    n_samples = round(duration_s * SPEECH_RATE)
    height = np.full(n_frames(n_samples, SPEECH_RATE), 0.4)  # 0 is the bottom of the voice's range, 1 its top
    spoken: list[Syllable] = []
    now_s = rng.uniform(0.1, 0.3)
    while now_s < duration_s - 1.0:
        first_s = now_s
        for _ in range(rng.integers(4, 10)):
            length_s = rng.uniform(0.7, 1.5) / voice.syllables_per_s
            if now_s + length_s > duration_s - 0.1:
                break
            spoken.append(syllable(now_s + 0.3 * length_s, 0.7 * length_s, rng, rng.uniform(0.5, 1)))
            now_s += length_s
        fall = height[round(first_s * CONTROL_RATE) : round(now_s * CONTROL_RATE)]
        fall[:] = np.linspace(rng.uniform(0.6, 0.9), rng.uniform(0, 0.2), len(fall)) + rng.uniform(0, 0.2)
        now_s += rng.uniform(0.15, 0.45)
    f0_hz = voice.low_hz * 2 ** (2 / 3 * np.clip(gaussian_filter1d(height, 5), 0, 1))
    waveform = utter(spoken, f0_hz, voice.tract, n_samples, SPEECH_RATE, rng)
    return waveform * np.float32(PEAK * rng.uniform(0.5, 1.0) / np.abs(waveform).max())
