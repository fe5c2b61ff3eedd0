"""The four stems of a planned song, each `(2, samples)` float32 at audio.SAMPLE_RATE."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vocalremix.audio.waveform import Waveform
from vocalremix.corpus.demo.song import Note, SongPlan, melody
from vocalremix.corpus.demo.synthesis import (
    CONTROL_RATE,
    Samples,
    Track,
    faded,
    filtered,
    held,
    midi_to_hz,
    noise,
    one_pole,
    panned,
    placed,
    plucked,
    reverberated,
    sawtooth,
    struck,
    swept,
    to_samples,
)
from vocalremix.corpus.demo.voice import ONSETS, VOWELS_HZ, Syllable, n_frames, resonance, utter
from vocalremix.util.values import SAMPLE_RATE, STEMS

PEAK = 0.9
BODY_HZ = (290.0, 470.0, 1100.0, 2600.0)

# Steps of sixteen per bar for kick and snare, and the hi-hat's spacing.
GROOVES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "rock": ((0, 7, 8, 10), (4, 12), 2),
    "four": ((0, 4, 8, 12), (4, 12), 4),
    "broken": ((0, 3, 10, 11), (4, 7, 12, 15), 1),
    "half": ((0, 6, 14), (8,), 2),
}
# Steps of sixteen per bar, the length in steps, and the semitones above the root.
BASS_LINES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 6, 0), (6, 2, 0), (8, 6, 0), (14, 2, 7)),
    tuple((step, 2, 0) for step in range(0, 16, 2)),
    ((0, 3, 0), (3, 3, 12), (6, 2, 0), (8, 3, 0), (11, 3, 7), (14, 2, 12)),
    ((0, 12, 0), (12, 4, 7)),
)


def make_stems(plan: SongPlan, rng: np.random.Generator) -> dict[str, Waveform]:
    """Play, sing and mix a song; the stems and their sum stay within -PEAK..PEAK.

    Instruments are balanced by RMS over the whole song, vocals stand `plan.vocals_db` above all of them together.
    """
    n_samples = round(plan.duration_s * SAMPLE_RATE)
    stems = {
        "vocals": vocals(plan, n_samples, rng),
        "drums": drums(plan, n_samples, rng),
        "bass": bass(plan, n_samples, rng),
        "other": other(plan, n_samples, rng),
    }
    for name, level_db in (("drums", 0.0), ("bass", -1.0), ("other", 2.5)):
        stems[name] *= np.float32(10 ** ((level_db + rng.uniform(-1, 1)) / 20) / rms(stems[name]))
    accompaniment = stems["drums"] + stems["bass"] + stems["other"]
    stems["vocals"] *= np.float32(10 ** (plan.vocals_db / 20) * rms(accompaniment) / rms(stems["vocals"]))
    peak = max(np.abs(waveform).max() for waveform in (accompaniment + stems["vocals"], *stems.values()))
    return {name: stems[name] * np.float32(PEAK / peak) for name in STEMS}


def rms(waveform: Waveform) -> float:
    """Root of the mean square over all samples and channels."""
    return float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))


def vocals(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """The singer: a syllable per note, portamento between them, vibrato on the long ones, a breath before phrases."""
    notes = melody(plan, plan.singer.low_hz, plan.singer.high_hz, plan.instrumental, rng)
    pitch_hz = sung_pitch(notes, plan.singer.vibrato_hz, plan.singer.vibrato_cents, n_frames(n_samples, SAMPLE_RATE))
    voice = utter(plan.singer, lyrics(notes, rng), pitch_hz, n_samples, SAMPLE_RATE, rng)
    # The mixing engineer's treble lift, without which a cascade of formants sounds like a telephone.
    bright = filtered(voice, "highpass", 70, SAMPLE_RATE) + 2 * filtered(voice, "highpass", 5000, SAMPLE_RATE)
    dry = panned(bright, rng.uniform(-0.06, 0.06))
    return reverberated(dry, rng, decay_s=rng.uniform(0.4, 0.9), wet=rng.uniform(0.1, 0.25), sample_rate=SAMPLE_RATE)


def sung_pitch(notes: Sequence[Note], vibrato_hz: float, vibrato_cents: float, frames: int) -> Track:
    """Pitch in Hz `(frames,)` at CONTROL_RATE: glides of about 0.1 s, vibrato that sets in after 0.2 s of a note."""
    midi = np.full(frames, np.nan)
    vibrato = np.zeros(frames)
    for note in notes:
        start, end = (round(at_s * CONTROL_RATE) for at_s in (note.start_s, note.start_s + note.duration_s))
        midi[start:end] = note.midi
        vibrato[min(start + CONTROL_RATE // 5, end) : end] = 1
    midi = gaussian_filter1d(held(midi), 0.03 * CONTROL_RATE)
    depth = gaussian_filter1d(vibrato, 0.06 * CONTROL_RATE) * vibrato_cents / 100
    return midi_to_hz(midi + depth * np.sin(2 * np.pi * vibrato_hz * np.arange(frames) / CONTROL_RATE))


def lyrics(notes: Sequence[Note], rng: np.random.Generator) -> list[Syllable]:
    """A syllable per note; one in five is a melisma that carries on the vowel before it."""
    vowels = tuple(VOWELS_HZ)
    syllables: list[Syllable] = []
    for note in notes:
        held = syllables and not note.first and rng.random() < 0.2
        vowel = syllables[-1].glide_to if held else str(rng.choice(vowels))
        syllables.append(
            Syllable(
                start_s=note.start_s,
                duration_s=note.duration_s - (0 if held else rng.uniform(0.03, 0.1)),
                consonant="" if held else str(rng.choice(ONSETS)),
                vowel=vowel,
                glide_to=str(rng.choice(vowels)) if rng.random() < 0.4 else vowel,
                loudness=rng.uniform(0.7, 1.0),
            )
        )
        if note.first:
            breath_s = max(0.0, note.start_s - 0.15)
            syllables.insert(-1, Syllable(breath_s, 0.0, "breath", vowel, vowel))
    return syllables


def drums(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """Kick, snare, hi-hat, toms and crash from this song's kit, with ghost notes and a fill every fourth bar."""
    kick_steps, snare_steps, hat_every = GROOVES[plan.beat]
    step_s = plan.beat_s / 4
    swing_s = step_s * rng.choice([0.0, 0.0, 0.25])
    hits: dict[str, list[tuple[float, float]]] = {name: [] for name in ("kick", "snare", "hat", "high", "low", "crash")}

    def hit(name: str, bar: int, step: int, loudness: float) -> None:
        human_s = 0.004 * rng.standard_normal()
        start_s = max(0.0, bar * plan.bar_s + step * step_s + (step % 2) * swing_s + human_s)
        hits[name].append((start_s, loudness * rng.uniform(0.85, 1.0)))

    for bar in range(plan.n_bars):
        fill = bar % 4 == 3
        for step in range(16):
            if fill and step >= 12:
                hit(("snare", "high", "high", "low")[step - 12], bar, step, 0.8)
                continue
            if step in kick_steps:
                hit("kick", bar, step, 1.0)
            if step in snare_steps:
                hit("snare", bar, step, 0.9)
            elif rng.random() < 0.06:
                hit("snare", bar, step, 0.2)
            if step % hat_every == hat_every // 2 * (plan.beat == "four"):
                hit("hat", bar, step, 0.5 if step % 4 else 0.8)
        if bar % 4 == 0:
            hit("crash", bar, 0, 0.6)
    pans = {"kick": 0.0, "snare": 0.1, "hat": 0.4, "high": -0.4, "low": 0.5, "crash": -0.5}
    side = rng.choice([-1, 1])
    mix = np.zeros((2, n_samples), dtype=np.float32)
    for name, drum in drum_kit(rng).items():
        played = placed(((start_s, drum, loudness) for start_s, loudness in hits[name]), n_samples, SAMPLE_RATE)
        mix += panned(played, side * pans[name])
    room = reverberated(mix, rng, decay_s=rng.uniform(0.2, 0.5), wet=0.12, sample_rate=SAMPLE_RATE)
    return np.asarray(np.tanh(1.5 * room), dtype=np.float32)


def drum_kit(rng: np.random.Generator) -> dict[str, Samples]:
    """One hit of each drum, mono."""

    def rattle(cutoff_hz: float, decay_s: float) -> Samples:
        hiss = filtered(noise(rng, round(6 * decay_s * SAMPLE_RATE)), "highpass", cutoff_hz, SAMPLE_RATE)
        return faded(hiss * np.exp(-np.arange(len(hiss)) / (decay_s * SAMPLE_RATE)), SAMPLE_RATE)

    tune = rng.uniform(0.85, 1.2)
    kick = swept(rng.uniform(120, 220), tune * 50, 0.03, rng.uniform(0.08, 0.16), SAMPLE_RATE)
    click = rattle(1500, 0.004)
    kick[: len(click)] += 0.15 * click
    snare = 0.35 * rattle(rng.uniform(900, 1800), rng.uniform(0.05, 0.1))
    shell = swept(tune * 300, tune * 185, 0.02, 0.05, SAMPLE_RATE)
    n_shell = min(len(snare), len(shell))
    snare[:n_shell] += 0.6 * shell[:n_shell]
    return {
        "kick": kick,
        "snare": snare,
        "hat": 0.15 * rattle(rng.uniform(6000, 9000), rng.uniform(0.015, 0.05)),
        "high": 0.7 * swept(tune * 260, tune * 150, 0.05, 0.12, SAMPLE_RATE),
        "low": 0.8 * swept(tune * 170, tune * 90, 0.06, 0.15, SAMPLE_RATE),
        "crash": 0.12 * rattle(4000, rng.uniform(0.3, 0.5)),
    }


def bass(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """A line on the roots of the chords: a filtered sawtooth, a plucked string, or a low sine; in the centre."""
    line = BASS_LINES[rng.integers(len(BASS_LINES))]
    notes = [
        Note(
            bar * plan.bar_s + step * plan.beat_s / 4,
            0.92 * length * plan.beat_s / 4,
            28 + (plan.pitch(plan.root(bar)) - 28) % 12 + interval,
        )
        for bar in range(plan.n_bars)
        for step, length, interval in line
    ]
    if plan.bass_sound == "pluck":
        strings = (plucked(float(midi_to_hz(note.midi)), note.duration_s, 0.5, 0.2, SAMPLE_RATE) for note in notes)
        sounding = ((note.start_s, string, 1.0) for note, string in zip(notes, strings, strict=True))
        played = placed(sounding, n_samples, SAMPLE_RATE)
    else:
        pitch_hz, loudness = monophonic(notes, n_samples, glide_s=0.008, attack_s=0.004, decay_s=0.6)
        if plan.bass_sound == "saw":
            wave = sawtooth(pitch_hz, SAMPLE_RATE)
            dark = filtered(wave, "lowpass", 250, SAMPLE_RATE)
            bright = filtered(wave, "lowpass", rng.uniform(700, 1800), SAMPLE_RATE)
            played = (dark * loudness + 0.7 * bright * loudness**3).astype(np.float32)
        else:
            phase = 2 * np.pi * np.cumsum(pitch_hz / SAMPLE_RATE)
            played = (loudness * np.tanh(1.5 * np.sin(phase) + 0.4 * np.sin(2 * phase))).astype(np.float32)
    return panned(played, 0.0)


def monophonic(
    notes: Sequence[Note], n_samples: int, glide_s: float, attack_s: float, decay_s: float
) -> tuple[Track, Track]:
    """One voice's pitch in Hz and loudness 0..1, each `(samples,)`; notes attack, then die with `decay_s`."""
    pitch_hz, loudness = np.full(n_samples, np.nan), np.zeros(n_samples)
    for note in notes:
        start = round(note.start_s * SAMPLE_RATE)
        end = min(n_samples, round((note.start_s + note.duration_s) * SAMPLE_RATE))
        pitch_hz[start:end] = midi_to_hz(note.midi)
        loudness[start:end] = np.exp(-np.arange(max(0, end - start)) / (decay_s * SAMPLE_RATE))
    return one_pole(held(pitch_hz), glide_s, SAMPLE_RATE), one_pole(loudness, attack_s, SAMPLE_RATE)


def other(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """Chords and a lead instrument that plays in the singer's range, with a vibrato of its own, in a room."""
    played = chords(plan, n_samples, rng)
    solo = lead(plan, n_samples, rng)
    played *= np.float32(1 / rms(played))
    solo *= np.float32(10 ** (rng.uniform(-3, 2) / 20) / rms(solo))
    mix = filtered(played + solo, "highpass", 110, SAMPLE_RATE)
    return reverberated(mix, rng, decay_s=rng.uniform(0.7, 1.4), wet=rng.uniform(0.1, 0.3), sample_rate=SAMPLE_RATE)


def chords(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """A chord per bar: held by a pad or an organ, strummed on keys, or broken on plucked strings; wide stereo."""
    # Voice leading by inversion: every chord tone in the octave and a half from a fixed lowest note.
    lowest = int(rng.integers(48, 56))
    voicings = [sorted(lowest + (pitch - lowest) % 12 for pitch in plan.chord(bar)) for bar in range(plan.n_bars)]
    if plan.chord_sound == "pad":
        return pad(plan, voicings, n_samples, rng)
    if plan.chord_sound == "organ":
        return organ(plan, voicings, n_samples)
    eighth_s = plan.beat_s / 2
    if plan.chord_sound == "keys":
        rhythm = ((0, 3, 4), (0, 2, 5), (1, 3, 5, 7))[rng.integers(3)]
        hits = [
            (bar * plan.bar_s + eighth * eighth_s + 0.01 * place, midi, (-0.5, 0.0, 0.5)[place])
            for bar, voicing in enumerate(voicings)
            for eighth in rhythm
            for place, midi in enumerate(voicing)
        ]
        sounds = {
            midi: struck(float(midi_to_hz(midi)), 2.0, 0.7, 1.0, 1.5, SAMPLE_RATE) for midi in {hit[1] for hit in hits}
        }
    else:
        order = rng.permutation([0, 1, 2, 3, 4, 5])
        hits = []
        for bar, voicing in enumerate(voicings):
            tones = [midi + octave for octave in (0, 12) for midi in voicing]
            for eighth in range(8):
                place = int(order[eighth % 6])
                hits.append((bar * plan.bar_s + eighth * eighth_s, tones[place], 0.6 * (-1) ** eighth))
        position = rng.uniform(0.12, 0.4)
        sounds = {
            midi: plucked(float(midi_to_hz(midi)), 1.5, 0.9, position, SAMPLE_RATE) for midi in {hit[1] for hit in hits}
        }
    mix = np.zeros((2, n_samples), dtype=np.float32)
    for pan in sorted({pan for _, _, pan in hits}):
        side = [(start_s, sounds[midi], rng.uniform(0.7, 1.0)) for start_s, midi, where in hits if where == pan]
        mix += panned(placed(side, n_samples, SAMPLE_RATE), pan)
    return mix


def pad(plan: SongPlan, voicings: Sequence[Sequence[int]], n_samples: int, rng: np.random.Generator) -> Waveform:
    """Detuned sawtooths, another detuning on each side, behind a low-pass filter, swelling slowly."""
    mix = np.zeros((2, n_samples), dtype=np.float32)
    for part in range(3):
        notes = [Note(bar * plan.bar_s, plan.bar_s, voicing[part]) for bar, voicing in enumerate(voicings)]
        pitch_hz, _ = monophonic(notes, n_samples, glide_s=0.02, attack_s=0.05, decay_s=10.0)
        for channel in range(2):
            detuned_hz = pitch_hz * 2 ** (rng.uniform(-8, 8) / 1200)
            mix[channel] += sawtooth(detuned_hz, SAMPLE_RATE, phase=rng.random())
    swell = 1 + 0.3 * np.sin(2 * np.pi * np.arange(n_samples) / (2 * plan.bar_s * SAMPLE_RATE))
    mix *= swell.astype(np.float32)
    return filtered(mix, "lowpass", rng.uniform(900, 2500), SAMPLE_RATE)


def organ(plan: SongPlan, voicings: Sequence[Sequence[int]], n_samples: int) -> Waveform:
    """Drawbars at 1, 2, 3, 4 and 6 times the pitch, with a rotating speaker's tremolo, opposite left and right."""
    mono = np.zeros(n_samples, dtype=np.float32)
    for part in range(3):
        notes = [Note(bar * plan.bar_s, 0.96 * plan.bar_s, voicing[part]) for bar, voicing in enumerate(voicings)]
        pitch_hz, loudness = monophonic(notes, n_samples, glide_s=0.002, attack_s=0.015, decay_s=10.0)
        turn = np.exp(2j * np.pi * np.cumsum(pitch_hz / SAMPLE_RATE)).astype(np.complex64)
        drawbars = np.array([0.3, 0, 0.5, 0.5, 0.7, 1.0, 0], dtype=np.complex64)
        mono += np.polyval(drawbars, turn).imag * loudness.astype(np.float32)
    tremolo = 0.35 * np.sin(2 * np.pi * 6.3 * np.arange(n_samples) / SAMPLE_RATE)
    return np.stack([mono * (1 + tremolo), mono * (1 - tremolo)]).astype(np.float32)


def lead(plan: SongPlan, n_samples: int, rng: np.random.Generator) -> Waveform:
    """A melody of its own where the singer sings too: fiddle, flute or synth with vibrato, or a bell."""
    low_hz = max(plan.singer.low_hz, 150.0)
    notes = melody(plan, low_hz, 2.2 * low_hz, (), rng)
    pan = rng.choice([-1, 1]) * rng.uniform(0.15, 0.6)
    if plan.lead_sound == "bell":
        sounds = {
            midi: struck(float(midi_to_hz(midi)), 2.0, 0.5, 3.5, 2.0, SAMPLE_RATE)
            for midi in {note.midi for note in notes}
        }
        rung = placed(((note.start_s, sounds[note.midi], 1.0) for note in notes), n_samples, SAMPLE_RATE)
        return panned(rung, pan)
    _, loudness = monophonic(notes, n_samples, glide_s=0.02, attack_s=0.04, decay_s=4.0)
    vibrato_hz, vibrato_cents = rng.uniform(4.5, 7.0), rng.uniform(10, 35)
    control_hz = sung_pitch(notes, vibrato_hz, vibrato_cents, n_frames(n_samples, SAMPLE_RATE))
    pitch_hz = to_samples(control_hz, n_samples, SAMPLE_RATE)
    if plan.lead_sound == "flute":
        phase = 2 * np.pi * np.cumsum(pitch_hz / SAMPLE_RATE)
        partials = np.sin(phase) + 0.25 * np.sin(2 * phase) + 0.1 * np.sin(3 * phase)
        tone = partials.astype(np.float32) + 0.05 * filtered(noise(rng, n_samples), "lowpass", 4000, SAMPLE_RATE)
    elif plan.lead_sound == "fiddle":
        tone = bodied(filtered(sawtooth(pitch_hz, SAMPLE_RATE), "lowpass", 3500, SAMPLE_RATE))
    else:
        wave = sawtooth(pitch_hz, SAMPLE_RATE) - sawtooth(pitch_hz, SAMPLE_RATE, phase=rng.uniform(0.25, 0.5))
        tone = filtered(wave, "lowpass", rng.uniform(1500, 4000), SAMPLE_RATE)
    return panned(tone * loudness.astype(np.float32), pan)


def bodied(waveform: Samples) -> Samples:
    """Sound through a wooden body: four fixed resonances, which the singer's formants can be taken for."""
    spectrum = np.fft.rfft(waveform)
    frequencies_hz = np.asarray(np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE), dtype=np.float64)
    body = np.sum([resonance(frequencies_hz, hz, 0.3 * hz) for hz in BODY_HZ], axis=0)
    return np.fft.irfft(spectrum * body, len(waveform)).astype(np.float32)
