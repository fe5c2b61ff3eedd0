"""Songs: what makes one song this song, the notes that follow from it, and its four stems."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vocalremix.audio.waveform import Waveform
from vocalremix.corpus.demo.sound import (
    CONTROL_RATE,
    Samples,
    Track,
    filtered,
    in_room,
    n_frames,
    panned,
    placed,
    resonance,
    sawtooth,
    syllable,
    to_samples,
    utter,
)
from vocalremix.util.values import SAMPLE_RATE, STEMS

PEAK = 0.9
TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# roots of one chord per bar, as degrees of the scale
PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 4, 3), (0, 6, 3, 0), (3, 4, 2, 5))
# a phrase lasts two bars: note lengths in beats; what is missing to 8 is the rest after it
PHRASES = (
    (1, 0.5, 0.5, 1, 1, 2),
    (0.5, 0.5, 1, 0.5, 0.5, 1, 3),
    (1.5, 0.5, 2, 1.5, 1),
    (2, 1, 1, 2.5),
    (1, 1, 1, 0.5, 1.5, 1),
)
STEPS = (-3, -2, -1, -1, 0, 1, 1, 2, 3)
# steps of sixteen per bar for kick and snare, and the hi-hat's spacing
GROOVES = (
    ((0, 7, 8, 10), (4, 12), 2),
    ((0, 4, 8, 12), (4, 12), 4),
    ((0, 3, 10, 11), (4, 7, 12, 15), 1),
    ((0, 6, 14), (8,), 2),
)
# steps of sixteen per bar, the length in steps, and the semitones above the root
BASS_LINES = (
    ((0, 6, 0), (6, 2, 0), (8, 6, 0), (14, 2, 7)),
    tuple((step, 2, 0) for step in range(0, 16, 2)),
    ((0, 3, 0), (3, 3, 12), (6, 2, 0), (8, 3, 0), (11, 3, 7), (14, 2, 12)),
)
BODY_HZ = (290.0, 470.0, 1100.0, 2600.0)
TEMPO_BPM = (80.0, 140.0)
# the lowest note of the deepest and of the highest singer: E2 and G#3
LOWEST_MIDI = (40.0, 56.0)
RANGE_SEMITONES = 15
SHORT_S = 15.0


@dataclass(frozen=True)
class Note:
    """One note of a melody."""

    start_s: float
    duration_s: float
    midi: int


@dataclass(frozen=True)
class SongPlan:
    """What tells one song from another, apart from its random details."""

    name: str
    duration_s: float
    bpm: float
    tonic: int
    mode: str
    progression: tuple[int, ...]
    lowest_midi: float
    """Of the singer, who reaches RANGE_SEMITONES higher."""
    tract: float
    groove: int
    bass_line: int
    vocals_db: float
    """Of the vocals over all instruments together."""
    break_at: float

    @property
    def bar_s(self) -> float:
        """Length of a bar of four beats."""
        return 240 / self.bpm

    @property
    def n_bars(self) -> int:
        """Bars begun within the song."""
        return int(np.ceil(self.duration_s / self.bar_s))

    def pitch(self, degree: int) -> int:
        """Semitones of a scale degree above C; degrees go on beyond the octave."""
        octave, step = divmod(degree, 7)
        return self.tonic + MODES[self.mode][step] + 12 * octave

    def chord(self, bar: int) -> list[int]:
        """Pitches of this bar's triad in semitones above C."""
        return [self.pitch(self.progression[bar % len(self.progression)] + third) for third in (0, 2, 4)]

    @property
    def rests(self) -> tuple[tuple[float, float], ...]:
        """The intro and the break, `(start_s, end_s)`, in which nobody sings; short songs have neither."""
        if self.duration_s < SHORT_S:
            return ()
        start_s = self.break_at * self.duration_s
        return (0.0, 0.06 * self.duration_s), (
            start_s,
            start_s + min(max(0.16 * self.duration_s, 4.5), 0.25 * self.duration_s),
        )


def plan_song(seed: int, index: int, duration_s: float) -> SongPlan:
    """The corpus's song number `index`; it does not depend on how many songs there are.

    What must differ between songs is spread evenly instead of drawn: no two of 24 neighbours share a key, and tempo and
    pitch of the singer fill their ranges as a low-discrepancy sequence does (the plastic number's powers).
    """
    corpus, rng = np.random.default_rng(seed), np.random.default_rng((seed, index))
    tonic, minor = divmod(int(corpus.permutation(24)[index % 24]), 2)
    tempo, height = (corpus.random(2) + index * np.array([0.7548776662466927, 0.5698402909980532])) % 1.0
    turns = corpus.integers(0, 12, 2)
    mode = tuple(MODES)[minor]
    return SongPlan(
        name=f"{index + 1:02d} in {TONICS[tonic]} {mode}",
        duration_s=duration_s,
        bpm=float(TEMPO_BPM[0] + tempo * (TEMPO_BPM[1] - TEMPO_BPM[0])),
        tonic=tonic,
        mode=mode,
        progression=PROGRESSIONS[rng.integers(len(PROGRESSIONS))],
        lowest_midi=float(LOWEST_MIDI[0] + height * (LOWEST_MIDI[1] - LOWEST_MIDI[0])),
        tract=float(0.98 + 0.2 * height + rng.uniform(-0.04, 0.04)),
        groove=int(turns[0] + index + index // 4) % len(GROOVES),
        bass_line=int(turns[1] + index) % len(BASS_LINES),
        vocals_db=float(rng.uniform(-2.8, -0.3)),
        break_at=float(rng.uniform(0.35, 0.5)),
    )


def make_stems(plan: SongPlan, rng: np.random.Generator) -> dict[str, Waveform]:
    """Play, sing and mix a song, each stem `(2, samples)` float32; the stems and their sum stay within PEAK."""
    n_samples = round(plan.duration_s * SAMPLE_RATE)
    stems = {name: play(plan, n_samples, rng) for name, play in (("drums", _drums), ("bass", _bass), ("other", _other))}
    for name, level_db in (("drums", 0.0), ("bass", -1.0), ("other", 2.5)):
        stems[name] *= np.float32(10 ** ((level_db + rng.uniform(-1, 1)) / 20) / _rms(stems[name]))
    accompaniment = np.sum(list(stems.values()), axis=0)
    stems["vocals"] = _vocals(plan, n_samples, rng)
    stems["vocals"] *= np.float32(10 ** (plan.vocals_db / 20) * _rms(accompaniment) / _rms(stems["vocals"]))
    peak = max(np.abs(waveform).max() for waveform in (accompaniment + stems["vocals"], *stems.values()))
    return {name: stems[name] * np.float32(PEAK / peak) for name in STEMS}


def melody(
    plan: SongPlan, lowest_midi: float, rests: Sequence[tuple[float, float]], rng: np.random.Generator
) -> list[Note]:
    """Phrases of two bars in the form A A B A, silent where a note would touch a rest.

    They move stepwise along the song's scale; notes on the first and third beat go to the nearest note of the chord.
    """
    scale = {plan.pitch(degree) % 12 for degree in range(7)}
    reach = range(int(np.ceil(lowest_midi)), int(lowest_midi + RANGE_SEMITONES) + 1)
    ladder = [midi for midi in reach if midi % 12 in scale]
    motifs = [PHRASES[choice] for choice in rng.integers(len(PHRASES), size=2)]
    steps = rng.choice(STEPS, (2, max(map(len, PHRASES))))
    notes: list[Note] = []
    for phrase, first_bar in enumerate(range(0, plan.n_bars, 2)):
        which = 1 if phrase % 4 == 2 else 0
        rung, beat = int(rng.integers(len(ladder) // 3, 2 * len(ladder) // 3 + 1)), 0.0
        for length, step in zip(motifs[which], steps[which], strict=False):
            rung = min(max(rung + int(step), 0), len(ladder) - 1)
            if beat % 2 == 0:
                chord = {pitch % 12 for pitch in plan.chord(first_bar + int(beat) // 4)}
                rung = min(
                    (tone for tone, midi in enumerate(ladder) if midi % 12 in chord), key=lambda tone: abs(tone - rung)
                )
            start_s, end_s = ((first_bar + at / 4) * plan.bar_s for at in (beat, beat + length))
            if end_s <= plan.duration_s and not any(a < end_s and start_s < b for a, b in rests):
                notes.append(Note(start_s, end_s - start_s, ladder[rung]))
            beat += length
    return notes


def contour(notes: Sequence[Note], vibrato_hz: float, vibrato_cents: float, frames: int) -> tuple[Track, Track]:
    """Pitch in Hz and loudness 0..1: glides, a vibrato that sets in after 0.2 s, notes that die slowly."""
    midi, vibrato, loudness = np.full(frames, float(notes[0].midi)), np.zeros(frames), np.zeros(frames)
    for note in notes:
        start, end = (round(at_s * CONTROL_RATE) for at_s in (note.start_s, note.start_s + note.duration_s))
        midi[start:], vibrato[start + 20 : end] = note.midi, 1
        loudness[start:end] = np.exp(-np.arange(len(loudness[start:end])) / (4 * CONTROL_RATE))
    depth = gaussian_filter1d(vibrato, 6) * vibrato_cents / 100
    midi = gaussian_filter1d(midi, 3) + depth * np.sin(2 * np.pi * vibrato_hz * np.arange(frames) / CONTROL_RATE)
    return 440 * 2 ** ((midi - 69) / 12), gaussian_filter1d(loudness, 1.5)


def _rms(waveform: Waveform) -> float:
    return float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))


def _vocals(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """A syllable per note, in a room, with the treble lift of a mixing engineer."""
    notes = melody(plan, plan.lowest_midi, plan.rests, rng)
    f0_hz, _ = contour(notes, rng.uniform(4.6, 6.6), rng.uniform(30, 70), n_frames(n_samples, SAMPLE_RATE))
    sung = [syllable(note.start_s, 0.92 * note.duration_s, rng, rng.uniform(0.7, 1)) for note in notes]
    voice = utter(sung, f0_hz, plan.tract, n_samples, SAMPLE_RATE, rng)
    bright = filtered(voice, "highpass", 70, SAMPLE_RATE) + 2 * filtered(voice, "highpass", 5000, SAMPLE_RATE)
    return in_room(
        panned(bright, rng.uniform(-0.06, 0.06)), rng, rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.25), SAMPLE_RATE
    )


def _drums(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """Kick, snare and hi-hat in the song's groove."""
    kicks, snares, spacing = GROOVES[plan.groove]
    seconds = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    noise = rng.standard_normal(len(seconds), dtype=np.float32)
    low_hz = rng.uniform(45, 60)
    swept = np.sin(2 * np.pi * (low_hz * seconds + 4 * (1 - np.exp(-seconds / 0.03)))) * np.exp(-seconds / 0.12)
    tone = 0.5 * np.sin(2 * np.pi * rng.uniform(170, 220) * seconds) * np.exp(-seconds / 0.05)
    snare = tone + 0.6 * filtered(noise, "highpass", 1500, SAMPLE_RATE) * np.exp(-seconds / rng.uniform(0.06, 0.12))
    hat = filtered(noise, "highpass", 7000, SAMPLE_RATE) * np.exp(-seconds / rng.uniform(0.02, 0.05))
    step_s = plan.bar_s / 16
    stereo = np.zeros((2, n_samples), np.float32)
    for sound, steps, gain, place in (
        (swept, kicks, 1.0, 0.0),
        (snare, snares, 0.8, 0.1),
        (hat, range(0, 16, spacing), 0.4, -0.3),
    ):
        hits = [
            ((16 * bar + step) * step_s, sound.astype(np.float32), gain * rng.uniform(0.7, 1))
            for bar in range(plan.n_bars)
            for step in steps
        ]
        stereo += panned(placed(hits, n_samples, SAMPLE_RATE), place)
    return in_room(stereo, rng, 0.4, 0.1, SAMPLE_RATE)


def _bass(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """A dark sawtooth on the chords' roots."""
    step_s = plan.bar_s / 16
    notes = [
        Note((16 * bar + step) * step_s, 0.95 * length * step_s, 36 + (plan.chord(bar)[0] - 4) % 12 + interval)
        for bar in range(plan.n_bars)
        for step, length, interval in BASS_LINES[plan.bass_line]
    ]
    f0_hz, loudness = contour(notes, 1.0, 0.0, n_frames(n_samples, SAMPLE_RATE))
    wave = sawtooth(to_samples(f0_hz, n_samples, SAMPLE_RATE), SAMPLE_RATE)
    played = filtered(wave, "lowpass", 250, SAMPLE_RATE) + 0.3 * filtered(
        wave, "lowpass", rng.uniform(700, 1800), SAMPLE_RATE
    )
    return panned(played * to_samples(loudness, n_samples, SAMPLE_RATE).astype(np.float32), 0.0)


def _other(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """Wide chords, and a lead instrument with a vibrato that plays in the singer's range, in a room."""
    lowest = int(rng.integers(48, 56))
    frames = n_frames(n_samples, SAMPLE_RATE)
    chords = np.zeros((2, n_samples), np.float32)
    for part in range(3):
        voicing = [
            sorted(lowest + (pitch - lowest) % 12 for pitch in plan.chord(bar))[part] for bar in range(plan.n_bars)
        ]
        notes = [Note(bar * plan.bar_s, plan.bar_s, midi) for bar, midi in enumerate(voicing)]
        f0_hz = to_samples(contour(notes, 1.0, 0.0, frames)[0], n_samples, SAMPLE_RATE)
        for channel in chords:
            channel += sawtooth(f0_hz * 2 ** (rng.uniform(-8, 8) / 1200), SAMPLE_RATE, phase=rng.random())
    chords = filtered(chords, "lowpass", rng.uniform(900, 2500), SAMPLE_RATE)
    notes = melody(plan, max(plan.lowest_midi, 50), (), rng)
    f0_hz, loudness = contour(notes, rng.uniform(4.5, 7.0), rng.uniform(10, 35), frames)
    wave = _bodied(
        filtered(sawtooth(to_samples(f0_hz, n_samples, SAMPLE_RATE), SAMPLE_RATE), "lowpass", 3500, SAMPLE_RATE)
    )
    lead = panned(
        wave * to_samples(loudness, n_samples, SAMPLE_RATE).astype(np.float32),
        rng.choice([-1, 1]) * rng.uniform(0.15, 0.6),
    )
    mix = chords / _rms(chords) + lead * np.float32(10 ** (rng.uniform(-3, 2) / 20) / _rms(lead))
    return in_room(
        filtered(mix, "highpass", 110, SAMPLE_RATE), rng, rng.uniform(0.7, 1.4), rng.uniform(0.1, 0.3), SAMPLE_RATE
    )


def _bodied(waveform: Samples) -> Samples:
    """Sound through a wooden body: four fixed resonances, which a singer's formants can be taken for."""
    bins_hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    body = np.sum([resonance(bins_hz, hz, 0.3 * hz) for hz in BODY_HZ], axis=0)
    return np.fft.irfft(np.fft.rfft(waveform) * body, len(waveform)).astype(np.float32)
