"""Composition: what makes one song this song, and the notes that follow from it."""

from dataclasses import dataclass

import numpy as np

from vocalremix.corpus.demo.synthesis import midi_to_hz
from vocalremix.corpus.demo.voice import Voice
from vocalremix.util.errors import InputError

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}
# Roots of one chord per bar, as degrees of the scale.
PROGRESSIONS = (
    (0, 4, 5, 3),
    (5, 3, 0, 4),
    (0, 5, 3, 4),
    (0, 3, 4, 3),
    (0, 2, 3, 4),
    (5, 4, 3, 4),
    (0, 6, 3, 0),
    (3, 4, 2, 5),
)
# A phrase lasts two bars: note lengths in beats; what is missing to 8 is the rest after it.
PHRASES = (
    (1, 0.5, 0.5, 1, 1, 2),
    (0.5, 0.5, 1, 0.5, 0.5, 1, 3),
    (1.5, 0.5, 2, 1.5, 1),
    (0.5, 0.5, 0.5, 0.5, 1, 1, 0.5, 0.5, 1.5),
    (2, 1, 1, 2.5),
    (1, 1, 1, 0.5, 1.5, 0.5, 0.5),
    (0.5, 1, 0.5, 1, 0.5, 0.5, 2),
)
STEPS = (-3, -2, -1, -1, 0, 1, 1, 2, 3)

CHORD_SOUNDS = ("pad", "keys", "strings", "organ")
LEAD_SOUNDS = ("fiddle", "bell", "synth", "flute")
BASS_SOUNDS = ("saw", "pluck", "sub")
BEATS = ("rock", "four", "broken", "half")

TEMPO_BPM = (80.0, 140.0)
# The lowest note of the deepest and of the highest singer: 82 Hz (E2) and 208 Hz (G#3).
LOWEST_MIDI = (40.0, 56.0)
RANGE_SEMITONES = 15

SHORT_S = 15.0

# fmt: off
ADJECTIVES = (
    "Amber", "Brass", "Broken", "Copper", "Crooked", "Distant", "Electric", "Empty", "Faded", "Fearless", "Golden",
    "Hollow", "Honest", "Idle", "Ivory", "Late", "Lonely", "Lucky", "Marble", "Midnight", "Northern", "Paper",
    "Patient", "Quiet", "Restless", "Salt", "Scarlet", "Second", "Silver", "Slow", "Velvet", "Wild",
)
NOUNS = (
    "Anchor", "Avenue", "Balcony", "Bridge", "Carousel", "Chimney", "Compass", "Ferry", "Garden", "Harbour", "Heron",
    "Island", "Kite", "Ladder", "Lantern", "Letter", "Magpie", "Meadow", "Mirror", "Orchard", "Parade", "Pilot",
    "River", "Satellite", "Shadow", "Signal", "Staircase", "Summer", "Thunder", "Train", "Window", "Winter",
)
# fmt: on


@dataclass(frozen=True)
class Note:
    """One note of a melody; `first` begins a phrase."""

    start_s: float
    duration_s: float
    midi: int
    first: bool = False


@dataclass(frozen=True)
class SongPlan:
    """Everything that tells one song from another, apart from its random details."""

    name: str
    duration_s: float
    bpm: float
    tonic: int
    mode: str
    progression: tuple[int, ...]
    singer: Voice
    chord_sound: str
    lead_sound: str
    bass_sound: str
    beat: str
    vocals_db: float
    break_at: float

    @property
    def beat_s(self) -> float:
        """Length of a beat in seconds."""
        return 60 / self.bpm

    @property
    def bar_s(self) -> float:
        """Length of a bar of four beats in seconds."""
        return 4 * self.beat_s

    @property
    def n_bars(self) -> int:
        """Bars begun within the song."""
        return int(np.ceil(self.duration_s / self.bar_s))

    def root(self, bar: int) -> int:
        """Degree of the scale on which this bar's chord stands."""
        return self.progression[bar % len(self.progression)]

    def pitch(self, degree: int) -> int:
        """Semitones of a scale degree above C; degrees go on beyond the octave."""
        octave, step = divmod(degree, 7)
        return self.tonic + MODES[self.mode][step] + 12 * octave

    def chord(self, bar: int) -> list[int]:
        """Pitches of this bar's triad in semitones above C."""
        return [self.pitch(self.root(bar) + third) for third in (0, 2, 4)]

    @property
    def instrumental(self) -> tuple[tuple[float, float], ...]:
        """The intro and the break, `(start_s, end_s)`, in which nobody sings; short songs have neither."""
        if self.duration_s < SHORT_S:
            return ()
        intro_s = 0.06 * self.duration_s
        break_s = min(max(0.16 * self.duration_s, 4.5), 0.25 * self.duration_s)
        start_s = self.break_at * self.duration_s
        return (0.0, intro_s), (start_s, start_s + break_s)


def plan_song(seed: int, index: int, duration_s: float) -> SongPlan:
    """Plan the corpus's song number `index` (0..1023); a plan does not depend on how many songs there are.

    What must differ between songs is spread evenly instead of drawn: no two of 24 neighbouring songs share a
    key, and tempo and pitch of the singer fill their ranges as a low-discrepancy sequence does.
    """
    if index >= len(ADJECTIVES) * len(NOUNS):
        raise InputError(f"a demo corpus has at most {len(ADJECTIVES) * len(NOUNS)} songs; ask for fewer")
    corpus = np.random.default_rng(seed)
    names = corpus.permutation(len(ADJECTIVES) * len(NOUNS))
    tonic, mode = divmod(int(corpus.permutation(24)[index % 24]), 2)
    offsets = corpus.random(2)
    turns = corpus.integers(0, 12, 4)
    rng = np.random.default_rng((seed, index))
    # Additive recurrence with the plastic number's powers: the two-dimensional golden ratio.
    tempo, height = (offsets + index * np.array([0.7548776662466927, 0.5698402909980532])) % 1.0
    adjective, noun = divmod(int(names[index]), len(NOUNS))
    return SongPlan(
        name=f"{ADJECTIVES[adjective]} {NOUNS[noun]}",
        duration_s=duration_s,
        bpm=float(TEMPO_BPM[0] + tempo * (TEMPO_BPM[1] - TEMPO_BPM[0])),
        tonic=tonic,
        mode=tuple(MODES)[mode],
        progression=PROGRESSIONS[rng.integers(len(PROGRESSIONS))],
        singer=_singer(float(height), rng),
        chord_sound=CHORD_SOUNDS[(turns[0] + index) % len(CHORD_SOUNDS)],
        lead_sound=LEAD_SOUNDS[(turns[1] + index + index // 4) % len(LEAD_SOUNDS)],
        bass_sound=BASS_SOUNDS[(turns[2] + index) % len(BASS_SOUNDS)],
        beat=BEATS[(turns[3] - index + index // 4) % len(BEATS)],
        vocals_db=float(rng.uniform(-4.0, -1.5)),
        break_at=float(rng.uniform(0.35, 0.5)),
    )


def _singer(height: float, rng: np.random.Generator) -> Voice:
    """A singer from bass (0) to soprano (1); higher voices have shorter vocal tracts."""
    low_midi = LOWEST_MIDI[0] + height * (LOWEST_MIDI[1] - LOWEST_MIDI[0])
    return Voice(
        low_hz=float(midi_to_hz(low_midi)),
        high_hz=float(midi_to_hz(low_midi + RANGE_SEMITONES)),
        formant_scale=0.98 + 0.2 * height + rng.uniform(-0.04, 0.04),
        tilt_hz=rng.uniform(2500, 7000),
        breathiness=rng.uniform(0.1, 0.7),
        vibrato_hz=rng.uniform(4.6, 6.6),
        vibrato_cents=rng.uniform(30, 70),
    )


def melody(
    plan: SongPlan, low_hz: float, high_hz: float, rests: tuple[tuple[float, float], ...], rng: np.random.Generator
) -> list[Note]:
    """Phrases of two bars in the form A A B A within a pitch range, silent where a note would touch a rest.

    Moves stepwise along the song's scale; notes on the first and third beat go to the nearest note of the chord.
    """
    low_midi, high_midi = 69 + 12 * np.log2(np.array([low_hz, high_hz]) / 440)
    scale = {plan.pitch(degree) % 12 for degree in range(7)}
    ladder = [midi for midi in range(int(np.ceil(low_midi)), int(high_midi) + 1) if midi % 12 in scale]
    motifs = [_motif(rng) for _ in range(2)]
    notes: list[Note] = []
    for phrase, first_bar in enumerate(range(0, plan.n_bars, 2)):
        lengths, steps = motifs[1 if phrase % 4 == 2 else 0]
        rung, beat, first = int(rng.integers(len(ladder) // 3, 2 * len(ladder) // 3 + 1)), 0.0, True
        for length, step in zip(lengths, steps, strict=True):
            rung = min(max(rung + step, 0), len(ladder) - 1)
            if beat % 2 == 0:
                chord = {pitch % 12 for pitch in plan.chord(first_bar + int(beat) // 4)}
                tones = np.array([tone for tone, midi in enumerate(ladder) if midi % 12 in chord])
                rung = int(tones[np.argmin(np.abs(tones - rung))])
            start_s = first_bar * plan.bar_s + beat * plan.beat_s
            end_s = start_s + length * plan.beat_s
            if end_s <= plan.duration_s and not any(a < end_s and start_s < b for a, b in rests):
                notes.append(Note(start_s, end_s - start_s, ladder[rung], first))
                first = False
            beat += length
    return notes


def _motif(rng: np.random.Generator) -> tuple[tuple[float, ...], list[int]]:
    """A phrase's note lengths in beats and its steps along the scale."""
    lengths = PHRASES[rng.integers(len(PHRASES))]
    return lengths, [int(step) for step in rng.choice(STEPS, len(lengths))]
