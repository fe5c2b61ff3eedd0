"""Tempo and key of songs whose tempo and key are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from vocalremix.audio.writing import write_pcm16
from vocalremix.util.values import SAMPLE_RATE, STEMS
from vocalremix.windows.beats import find_pulse, find_pulses
from vocalremix.windows.pulses import Pulse, read_pulses

SECONDS = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
SILENT = np.zeros((2, len(SECONDS)), np.float32)


def clicks(tempo_bpm: float, first_s: float) -> np.ndarray:
    """Short bursts of noise on every beat."""
    since = (SECONDS - first_s) % (60 / tempo_bpm)
    noise = np.random.default_rng(0).standard_normal(len(SECONDS)) * np.exp(-since / 0.02) * (first_s <= SECONDS)
    return np.tile(0.1 * noise, (2, 1)).astype(np.float32)


def tone(hz: float) -> np.ndarray:
    return np.tile(0.3 * np.sin(2 * np.pi * hz * SECONDS), (2, 1)).astype(np.float32)


@pytest.mark.parametrize(("tempo_bpm", "hz", "key"), [(120, 55.0, 9), (95, 65.4, 0), (140, 46.25, 6)])
def test_clicks_and_a_tone(tempo_bpm: float, hz: float, key: int) -> None:
    pulse = find_pulse(clicks(tempo_bpm, 0.3), tone(hz))
    assert pulse.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02) and pulse.key == key
    phase = (np.array(pulse.beats_s)[2:-2] - 0.3) * tempo_bpm / 60
    assert np.abs(phase - phase.round()).max() < 0.12


def test_silence_has_no_pulse() -> None:
    assert find_pulse(SILENT, SILENT) == Pulse(None, [], None)


def test_a_corpus_is_gone_through_once(tmp_path: Path) -> None:
    folder = tmp_path / "music" / "train" / "song"
    folder.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(folder / f"{stem}.wav", {"drums": clicks(120, 0.3), "bass": tone(55)}.get(stem, SILENT))
    first = find_pulses(tmp_path / "music", scratch=tmp_path / "scratch", jobs=1)
    (kept,) = (tmp_path / "scratch").iterdir()
    kept.write_text(json.dumps([99, [], 3]))
    assert find_pulses(tmp_path / "music", scratch=tmp_path / "scratch", jobs=1) == {
        "train": {"song": Pulse(99, [], 3)}
    }
    (tmp_path / "beats.json").write_text(json.dumps(first))
    assert read_pulses(tmp_path / "beats.json") == first
    assert first["train"]["song"].key == 9
