"""Speakers who say utterances of random syllables with the intonation of sentences."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vocalremix.corpus.demo.synthesis import CONTROL_RATE, Samples, Track
from vocalremix.corpus.demo.voice import CONSONANTS, ONSETS, VOWELS_HZ, Syllable, Voice, n_frames, utter

SPEECH_RATE = 16000  # Hz, as LibriSpeech
UTTERANCE_S = (3.0, 6.0)
PEAK = 0.7


def speaker(seed: int, index: int) -> tuple[Voice, float]:
    """Speaker number `index` and the speed in syllables per second; men and women take turns.

    The voice's range is where the intonation moves, two thirds of an octave.
    """
    rng = np.random.default_rng((seed, index))
    woman = index % 2 == 1
    low_hz = rng.uniform(145, 190) if woman else rng.uniform(75, 115)
    voice = Voice(
        low_hz=low_hz,
        high_hz=low_hz * 2 ** (2 / 3),
        formant_scale=rng.uniform(1.1, 1.22) if woman else rng.uniform(0.94, 1.06),
        tilt_hz=rng.uniform(2000, 6000),
        breathiness=rng.uniform(0.1, 0.8),
    )
    return voice, rng.uniform(3.8, 5.8)


def utterance(voice: Voice, syllables_per_s: float, rng: np.random.Generator) -> Samples:
    """One utterance `(samples,)` of 3 to 6 s at SPEECH_RATE: clauses with pauses, the last one falling or rising."""
    duration_s = rng.uniform(*UTTERANCE_S)
    n_samples = round(duration_s * SPEECH_RATE)
    clauses = _clauses(duration_s, syllables_per_s, rng)
    pitch_hz = _intonation(voice, clauses, n_frames(n_samples, SPEECH_RATE), rng)
    spoken = [syllable for clause in clauses for syllable in clause]
    waveform = utter(voice, spoken, pitch_hz, n_samples, SPEECH_RATE, rng)
    return waveform * np.float32(PEAK * rng.uniform(0.5, 1.0) / np.abs(waveform).max())


def _clauses(duration_s: float, syllables_per_s: float, rng: np.random.Generator) -> list[list[Syllable]]:
    """Clauses of 4 to 9 syllables, 0.15 to 0.45 s of pause between them; the last syllable of each is drawn out."""
    vowels = tuple(VOWELS_HZ)
    clauses: list[list[Syllable]] = []
    now_s = rng.uniform(0.1, 0.3)
    while now_s < duration_s - 1.0:
        clause: list[Syllable] = []
        length = int(rng.integers(4, 10))
        for place in range(length):
            consonant = str(rng.choice(ONSETS))
            stressed = rng.random() < 0.4
            start_s = now_s + CONSONANTS[consonant].duration_s
            spoken_s = (1.25 if stressed else 0.85) * rng.uniform(0.8, 1.2) / syllables_per_s
            vowel_s = max(0.05, spoken_s - CONSONANTS[consonant].duration_s) * (1.6 if place == length - 1 else 1)
            if start_s + vowel_s > duration_s - 0.1:
                break
            vowel, glide_to = (str(name) for name in rng.choice(vowels, 2))
            loudness = 1.0 if stressed else rng.uniform(0.5, 0.75)
            clause.append(
                Syllable(start_s, vowel_s, consonant, vowel, glide_to if rng.random() < 0.5 else vowel, loudness)
            )
            now_s = start_s + vowel_s
        if clause:
            clauses.append([*clause[:-1], replace(clause[-1], loudness=0.7)])
        now_s += rng.uniform(0.15, 0.45)
    return clauses


def _intonation(voice: Voice, clauses: list[list[Syllable]], frames: int, rng: np.random.Generator) -> Track:
    """Pitch in Hz `(frames,)`: declination through each clause, accents on stressed syllables, an end that turns."""
    height = np.full(frames, 0.4)  # 0 is the bottom of the voice's range, 1 its top
    for clause in clauses:
        start = round(clause[0].start_s * CONTROL_RATE)
        end = min(frames, round((clause[-1].start_s + clause[-1].duration_s) * CONTROL_RATE))
        height[start:end] = np.linspace(rng.uniform(0.5, 0.75), rng.uniform(0.1, 0.25), end - start)
        for syllable in clause:
            if syllable.loudness == 1.0:
                first = round((syllable.start_s - 0.03) * CONTROL_RATE)
                height[first : first + round(0.14 * CONTROL_RATE)] += rng.uniform(0.15, 0.4)
        rises = rng.random() < (0.5 if clause is not clauses[-1] else 0.25)
        turn = min(end - start, round(0.25 * CONTROL_RATE))
        height[end - turn : end] += np.linspace(0, rng.uniform(0.35, 0.6) if rises else -0.2, turn)
    height = np.clip(gaussian_filter1d(height, 0.05 * CONTROL_RATE), 0, 1)
    return voice.low_hz * (voice.high_hz / voice.low_hz) ** height
