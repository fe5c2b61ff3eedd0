"""Windows that go together, from pulses that are known."""

import numpy as np
import pandas as pd
import pytest

from vocalremix.examples.matching import Matching
from vocalremix.remix.base import Material
from vocalremix.remix.classic import Classic
from vocalremix.windows.pulses import Pulse, of_copy

NO_PULSE = Pulse(None, [], None)


def pulse(tempo_bpm: float, key: int, first_s: float = 0.0) -> Pulse:
    return Pulse(tempo_bpm, (first_s + np.arange(200) * 60 / tempo_bpm).tolist(), key)


def matching(**pulses: Pulse) -> Matching:
    rows = [("train", song, "", start) for song in pulses for start in (0, 44100, 10 * 44100)]
    return Matching(pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"]), {"train": pulses})


def partners(found: Matching, tempo: float = 0.15, semitones: float = 3) -> set[int]:
    """The songs, by number, that the first one is put together with."""
    rng = np.random.default_rng(0)
    matches = [found.draw(rng, 0, 0, tempo, semitones) for _ in range(200)]
    return {match.row // 3 for match in matches if match}


def test_songs_of_like_tempo_and_key_fit() -> None:
    found = matching(
        own=pulse(120, 0), near=pulse(110, 2), octave=pulse(61, 0), slow=pulse(95, 0), far=pulse(120, 6), none=NO_PULSE
    )
    assert partners(found) == {1, 2}
    assert partners(found, tempo=0.3) == {1, 2, 3}
    assert partners(found, semitones=6) == {1, 2, 4}
    assert partners(found, semitones=1) == {2}
    assert found.draw(np.random.default_rng(0), 15, 0, 0.15, 3) is None


@pytest.mark.parametrize(
    ("partner", "tempo", "semitones"), [(pulse(110, 2, 0.3), 120 / 110, -2), (pulse(61, 11, 0.1), 60 / 61, 1)]
)
def test_beats_fall_on_beats(partner: Pulse, tempo: float, semitones: float) -> None:
    own = pulse(120, 0, first_s=0.2)
    found, rng = matching(own=own, partner=partner), np.random.default_rng(1)
    for row, start_s in ((0, 0), (1, 1), (2, 10)):
        for offset in (0, 10_000, 30_000):
            match = found.draw(rng, row, offset, 0.15, 3)
            assert match is not None and match.tempo == pytest.approx(tempo) and match.semitones == semitones
            begins_s = (0, 1, 10)[match.row % 3] + match.offset_samples / 44100
            ahead = np.array(partner.beats_s) - begins_s
            heard = ahead[ahead > -1e-3] / match.tempo
            beats = np.array(own.beats_s) - start_s - offset / 44100
            # where the partner's tempo is half the song's, each of its beats falls on one of two
            distance = np.abs(heard[:4, None] - beats[None]).min(axis=1)
            assert distance.max() < 1e-3


def test_the_pulse_of_a_copy() -> None:
    own = Pulse(120, [0.5, 1.0], 10)
    assert of_copy(own, "") == own and of_copy(own, "shift_+0.5") == own
    assert of_copy(own, "pitch_+3") == own._replace(key=1) and of_copy(own, "pitch_-2") == own._replace(key=8)
    assert of_copy(own, "tempo_1.25") == Pulse(150, [0.4, 0.8], 10)
    assert of_copy(NO_PULSE, "pitch_+3") == NO_PULSE and of_copy(NO_PULSE, "tempo_0.9") == NO_PULSE


def test_classic_keeps_an_example_that_nothing_fits() -> None:
    classic = Classic(songs="matched")
    alone = Material("vocals", 0, 0, 100, 200, np.array(["own"] * 3, object), None, matching(own=pulse(120, 0)))
    assert classic.draw(np.random.default_rng(0), alone) == {}
    songs = np.array(["own"] * 3 + ["near"] * 3, object)
    fits = Material("vocals", 0, 0, 100, 200, songs, None, matching(own=pulse(120, 0), near=pulse(110, 0)))
    drawn = classic.draw(np.random.default_rng(0), fits)
    assert set(drawn) == {"drums", "bass", "other"} and all(source.row > 2 for source in drawn.values())
    assert all(source.process and source.speed == pytest.approx(120 / 110) for source in drawn.values())
    same = Material("vocals", 0, 0, 100, 200, songs, None, matching(own=pulse(120, 0), near=pulse(120, 0)))
    assert not any(source.process for source in classic.draw(np.random.default_rng(0), same).values())


def test_stems_together_come_from_one_window() -> None:
    songs = np.array(list("ABCD"), object)
    material = Material("vocals", 0, 5, 100, 200, songs, None)
    classic, rng = Classic(stems="together", songs="another"), np.random.default_rng(0)
    drawn = [classic.draw(rng, material) for _ in range(100)]
    assert all(len({source.row for source in of_one.values()}) == 1 and len(of_one) == 3 for of_one in drawn)
    assert {source.row for of_one in drawn for source in of_one.values()} == {1, 2, 3}
