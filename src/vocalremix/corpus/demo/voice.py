"""A voice by source and filter: a glottal sawtooth and noise, shaped by moving formants; sings and speaks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from vocalremix.corpus.demo.synthesis import (
    CONTROL_RATE,
    Samples,
    Track,
    bin_frequencies_hz,
    filtered,
    held,
    noise,
    sawtooth,
    time_varying_filter,
    to_samples,
)

# First three formants in Hz, means over 33 men: Peterson and Barney, "Control methods used in a study of the
# vowels", JASA 24, 1952, table II. Voice.formant_scale carries them over to other vocal tracts.
VOWELS_HZ: dict[str, tuple[float, float, float]] = {
    "heed": (270, 2290, 3010),
    "hid": (390, 1990, 2550),
    "head": (530, 1840, 2480),
    "had": (660, 1720, 2410),
    "hod": (730, 1090, 2440),
    "hawed": (570, 840, 2410),
    "hood": (440, 1020, 2240),
    "whod": (300, 870, 2240),
    "hud": (640, 1190, 2390),
    "heard": (490, 1350, 1690),
}

# Bandwidths in Hz of the first three formants: typical values of Klatt, "Software for a cascade/parallel formant
# synthesizer", JASA 67, 1980, table I (rounded up a little: 60 Hz rings for less than two control frames).
BANDWIDTHS_HZ = (70.0, 90.0, 130.0)
# Above them a uniform tube of 17.5 cm: a formant every 1000 Hz. Without these a cascade has no treble.
UPPER_FORMANTS_HZ = tuple(range(3500, 21000, 1000))

GLIDE_S = 0.025  # how fast the articulators move: standard deviation of the smoothing of the formants
ONSET_S = 0.012  # the same of the voicing
FRICATION_GAIN = 0.6  # brings /s/ to about 15 dB below the vowels
LEVELLING = 0.5  # compression of the voiced part: 0 none, 1 all syllables equally loud


@dataclass(frozen=True)
class Consonant:
    """How a syllable begins. `burst_s` is how much of its end carries the noise; before it lies the closure."""

    duration_s: float
    voicing: float = 0.0
    frication: float = 0.0
    band_hz: tuple[float, float] = (1000.0, 8000.0)
    burst_s: float = 1.0
    aspiration: float = 0.0
    formants_hz: tuple[float, float, float] | None = None


# Formants of the sonorants: Klatt 1980, tables II and III, nasals without their zero. Noise bands follow the
# spectra shown there for fricatives and bursts; levels and durations are set by measurement.
CONSONANTS: dict[str, Consonant] = {
    "": Consonant(0.0),
    "breath": Consonant(0.28, aspiration=0.12),
    "h": Consonant(0.08, aspiration=0.35),
    "s": Consonant(0.11, frication=0.35, band_hz=(4800, 9500)),
    "sh": Consonant(0.11, frication=0.35, band_hz=(2300, 6000)),
    "f": Consonant(0.10, frication=0.12, band_hz=(1500, 10000)),
    "z": Consonant(0.09, voicing=0.3, frication=0.2, band_hz=(4800, 9500)),
    "v": Consonant(0.07, voicing=0.35, frication=0.06, band_hz=(1500, 9000)),
    "p": Consonant(0.08, frication=0.35, band_hz=(400, 1500), burst_s=0.02),
    "t": Consonant(0.08, frication=0.6, band_hz=(3000, 8000), burst_s=0.03),
    "k": Consonant(0.08, frication=0.5, band_hz=(1300, 3000), burst_s=0.03),
    "b": Consonant(0.06, voicing=0.12, frication=0.2, band_hz=(300, 1200), burst_s=0.01),
    "d": Consonant(0.06, voicing=0.12, frication=0.3, band_hz=(2500, 6000), burst_s=0.01),
    "g": Consonant(0.06, voicing=0.12, frication=0.3, band_hz=(1300, 2800), burst_s=0.02),
    "w": Consonant(0.08, voicing=0.6, formants_hz=(290, 610, 2150)),
    "y": Consonant(0.08, voicing=0.6, formants_hz=(260, 2070, 3020)),
    "r": Consonant(0.08, voicing=0.6, formants_hz=(310, 1060, 1380)),
    "l": Consonant(0.08, voicing=0.6, formants_hz=(310, 1050, 2880)),
    "m": Consonant(0.08, voicing=0.4, formants_hz=(480, 1270, 2130)),
    "n": Consonant(0.08, voicing=0.4, formants_hz=(480, 1340, 2470)),
}
ONSETS = tuple(name for name in CONSONANTS if name not in ("", "breath"))


@dataclass(frozen=True)
class Voice:
    """Whose voice it is: the range of its pitch, the size of its vocal tract, how it is used."""

    low_hz: float
    high_hz: float
    formant_scale: float
    tilt_hz: float
    breathiness: float
    vibrato_hz: float = 0.0
    vibrato_cents: float = 0.0


@dataclass(frozen=True)
class Syllable:
    """A consonant that ends at `start_s`, then a vowel for `duration_s` that turns into `glide_to` towards its end."""

    start_s: float
    duration_s: float
    consonant: str
    vowel: str
    glide_to: str
    loudness: float = 1.0


@dataclass(frozen=True)
class Articulation:
    """Tracks `(frames,)` at CONTROL_RATE of what the articulators do; formants `(frames, 3)`, bands `(frames, 2)`."""

    voicing: Track
    aspiration: Track
    frication: Track
    formants_hz: Track
    band_hz: Track


def n_frames(n_samples: int, sample_rate: int) -> int:
    """Control frames that cover a waveform."""
    return n_samples // (sample_rate // CONTROL_RATE) + 1


def utter(
    voice: Voice,
    syllables: Sequence[Syllable],
    f0_hz: Track,
    n_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Samples:
    """Sing or speak syllables on a pitch contour `(frames,)`; returns `(samples,)`, at no particular level.

    Hops are sample_rate // CONTROL_RATE samples, so the sample rate must be a multiple of CONTROL_RATE.
    """
    hop_samples = sample_rate // CONTROL_RATE
    plan = articulate(syllables, len(f0_hz))
    jitter = 1 + 0.004 * gaussian_filter1d(rng.standard_normal(len(f0_hz)), 1.0)
    pitch_hz = to_samples(f0_hz * jitter, n_samples, sample_rate)
    voicing = to_samples(plan.voicing, n_samples, sample_rate).astype(np.float32)
    hiss = noise(rng, n_samples)
    glottis = filtered(sawtooth(pitch_hz, sample_rate), "lowpass", voice.tilt_hz, sample_rate, order=1)
    aspiration = 0.3 * voice.breathiness * voicing + to_samples(0.15 * plan.aspiration, n_samples, sample_rate)
    breath = filtered(hiss, "highpass", 1000, sample_rate) * aspiration.astype(np.float32)
    response = tract_response(plan.formants_hz * voice.formant_scale, f0_hz, voice.formant_scale, sample_rate)
    voiced = time_varying_filter(glottis * voicing + breath, response, hop_samples)
    frication = to_samples(plan.frication, n_samples, sample_rate).astype(np.float32)
    fricative = time_varying_filter(hiss * frication, band_response(plan.band_hz, sample_rate), hop_samples)
    return levelled(voiced, sample_rate) + np.float32(FRICATION_GAIN) * fricative


def articulate(syllables: Sequence[Syllable], frames: int) -> Articulation:
    """Lay syllables out as tracks and smooth them, which makes the formants glide from sound to sound."""
    voicing, aspiration, frication = np.zeros(frames), np.zeros(frames), np.zeros(frames)
    formants_hz, band_hz = np.full((frames, 3), np.nan), np.tile([1000.0, 8000.0], (frames, 1))

    def span(start_s: float, end_s: float) -> slice:
        return slice(max(0, round(start_s * CONTROL_RATE)), max(0, round(end_s * CONTROL_RATE)))

    for syllable in syllables:
        consonant, start_s = CONSONANTS[syllable.consonant], syllable.start_s
        onset = span(start_s - consonant.duration_s, start_s)
        burst = span(start_s - min(consonant.burst_s, consonant.duration_s), start_s)
        vowel = span(start_s, start_s + syllable.duration_s)
        offglide = span(start_s + 0.6 * syllable.duration_s, start_s + syllable.duration_s)
        voicing[onset], voicing[vowel] = consonant.voicing * syllable.loudness, syllable.loudness
        aspiration[onset], frication[burst] = consonant.aspiration, consonant.frication * syllable.loudness
        band_hz[onset] = consonant.band_hz
        formants_hz[onset] = consonant.formants_hz or VOWELS_HZ[syllable.vowel]
        formants_hz[vowel], formants_hz[offglide] = VOWELS_HZ[syllable.vowel], VOWELS_HZ[syllable.glide_to]
    return Articulation(
        voicing=gaussian_filter1d(voicing, ONSET_S * CONTROL_RATE),
        aspiration=gaussian_filter1d(aspiration, 2.5 * ONSET_S * CONTROL_RATE),
        frication=gaussian_filter1d(frication, 0.5),
        formants_hz=gaussian_filter1d(held(formants_hz), GLIDE_S * CONTROL_RATE, axis=0),
        band_hz=band_hz,
    )


def tract_response(
    formants_hz: Track, f0_hz: Track, formant_scale: float, sample_rate: int
) -> npt.NDArray[np.complex64]:
    """Responses `(frames, bins)` of formants `(frames, 3)` and the fixed ones above them in cascade, 1 at 0 Hz.

    The first formant is never below the pitch: singers raise it (Sundberg, "The acoustics of the singing
    voice", Scientific American 236, 1977).
    """
    frequencies_hz = bin_frequencies_hz(sample_rate)
    upper_hz = [hz * formant_scale for hz in UPPER_FORMANTS_HZ if hz * formant_scale < sample_rate / 2]
    response = np.prod([resonance(frequencies_hz, hz, 0.06 * hz) for hz in upper_hz], axis=0)
    tuned_hz = np.column_stack([np.maximum(formants_hz[:, 0], f0_hz), formants_hz[:, 1:]])
    responses = np.tile(response, (len(formants_hz), 1))
    for formant, bandwidth_hz in enumerate(BANDWIDTHS_HZ):
        responses *= resonance(frequencies_hz, tuned_hz[:, formant, None], bandwidth_hz)
    return responses


def resonance(frequencies_hz: Track, formant_hz: npt.ArrayLike, bandwidth_hz: float) -> npt.NDArray[np.complex64]:
    """Frequency response of one formant, a pair of poles, 1 at 0 Hz (Fant, Acoustic Theory of Speech Production)."""
    squared = np.asarray(formant_hz, dtype=np.float32) ** 2 + np.float32(bandwidth_hz / 2) ** 2
    bins_hz = frequencies_hz.astype(np.float32)
    return np.asarray(squared / (squared - bins_hz**2 + np.complex64(1j * bandwidth_hz) * bins_hz), dtype=np.complex64)


def band_response(band_hz: Track, sample_rate: int) -> npt.NDArray[np.complex64]:
    """Responses `(frames, bins)` of noise bands `(frames, 2)` from low to high in Hz, 24 dB per octave outside."""
    frequencies_hz = np.maximum(bin_frequencies_hz(sample_rate), 1.0).astype(np.float32)
    low_hz, high_hz = np.hsplit(band_hz.astype(np.float32), 2)
    return (1 / (1 + (low_hz / frequencies_hz) ** 4) / (1 + (frequencies_hz / high_hz) ** 4)).astype(np.complex64)


def levelled(waveform: Samples, sample_rate: int) -> Samples:
    """Divide by a power of the momentary level, so that vowels and pitches come out similarly loud."""
    hop_samples = sample_rate // CONTROL_RATE
    frames = waveform[: len(waveform) // hop_samples * hop_samples].reshape(-1, hop_samples)
    level = np.sqrt(gaussian_filter1d(np.mean(frames.astype(np.float64) ** 2, axis=1), 0.08 * CONTROL_RATE))
    # The floor keeps silence silent instead of raising the tails of the smoothing.
    gain = np.maximum(level, 0.1 * level.max()) ** -LEVELLING
    return waveform * to_samples(gain, len(waveform), sample_rate).astype(np.float32)
