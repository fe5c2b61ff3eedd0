"""Tempo, beats and key of a song and of its static copies."""

import json
import math
from pathlib import Path
from typing import NamedTuple


class Pulse(NamedTuple):
    """The tempo and key of a song; a song without beats, or without bass, has none."""

    tempo_bpm: float | None
    beats_s: list[float]
    key: int | None
    """The pitch class that the bass plays most, 0 for C."""


def read_pulses(path: Path) -> dict[str, dict[str, Pulse]]:
    """What `find_pulses` found, from JSON."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {part: {song: Pulse(*pulse) for song, pulse in of_part.items()} for part, of_part in content.items()}


def of_copy(pulse: Pulse, copy: str) -> Pulse:
    """The pulse of a static copy of a song: a pitch copy has another key, a tempo copy another tempo."""
    kind, _, amount = copy.partition("_")
    if kind == "pitch" and pulse.key is not None:
        return pulse._replace(key=math.floor(pulse.key + float(amount) + 0.5) % 12)
    if kind == "tempo" and pulse.tempo_bpm:
        rate = float(amount)
        return pulse._replace(tempo_bpm=pulse.tempo_bpm * rate, beats_s=[beat / rate for beat in pulse.beats_s])
    return pulse
