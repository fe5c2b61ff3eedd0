import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus import songs
from vocalremix.corpus.moisesdb import STEM_OF, find_songs, import_songs
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS

# as published in moisesdb/defaults.py, each of its 11 stems with a level of its own
LEVELS = {name: 0.01 * (number + 1) for number, name in enumerate(STEM_OF)}
OTHER = ("guitar", "piano", "percussion", "bowed_strings", "wind", "other_plucked", "other_keys", "other")


def write_song(root: Path, uuid: str, levels=LEVELS, n_samples=2000, **format) -> Path:
    stems = []
    for name, level in levels.items():
        (root / uuid / name).mkdir(parents=True)
        soundfile.write(root / uuid / name / f"{uuid}-{name}.wav", np.full((n_samples, 2), level), 44100, **format)
        track = {"id": f"{uuid}-{name}", "trackType": "any", "extension": "wav", "has_bleed": False}
        stems.append({"id": f"{name}-id", "stemName": name, "tracks": [track]})
    description = {"song": "Title", "artist": "Artist", "genre": "rock", "stems": stems}
    (root / uuid / "data.json").write_text(json.dumps(description))
    return root / uuid


def imported(source: Path, destination: Path) -> dict[str, np.ndarray]:
    """The stems of the one song, -1..1."""
    import_songs(find_songs(source), destination, jobs=1)
    (folder,) = destination.iterdir()
    return {stem: map_pcm16(folder / f"{stem}.wav") / 32768 for stem in STEMS}


def refused(source: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_songs(source)
    assert "\n" not in str(caught.value)


def test_eleven_stems_become_four(tmp_path):
    write_song(tmp_path / "moisesdb" / "moisesdb_v0.1", "aa-1")
    stems = imported(tmp_path / "moisesdb", tmp_path / "train")
    wanted = {name: LEVELS[name] for name in ("vocals", "drums", "bass")}
    wanted["other"] = sum(LEVELS[name] for name in OTHER)
    assert len(STEM_OF) == 11
    for stem, level in wanted.items():
        np.testing.assert_allclose(stems[stem], level, atol=len(OTHER) / 32768)


def test_songs_join_the_layout(tmp_path):
    for number in range(3):
        write_song(tmp_path / "moisesdb" / f"provider{number % 2}", f"uuid-{number}")
    import_songs(find_songs(tmp_path / "moisesdb"), tmp_path / "music" / "train", jobs=1)
    assert [(song.part, song.name) for song in songs(tmp_path / "music")] == [
        ("train", f"uuid-{number}") for number in range(3)
    ]


def test_the_folder_of_the_songs_itself_will_do(tmp_path):
    write_song(tmp_path, "aa-1")
    assert [song.name for song in find_songs(tmp_path)] == ["aa-1"]


def test_a_stem_that_is_not_there_is_silent_and_short_tracks_are_padded(tmp_path):
    write_song(tmp_path / "source", "aa-1", {"vocals": 0.1, "guitar": 0.2})
    soundfile.write(tmp_path / "source/aa-1/vocals/aa-1-vocals.wav", np.full((500, 2), 0.1), 44100)
    stems = imported(tmp_path / "source", tmp_path / "train")
    assert {len(samples) for samples in stems.values()} == {2000}
    assert not stems["drums"].any() and not stems["bass"].any() and not stems["vocals"][500:].any()
    np.testing.assert_allclose(stems["vocals"][:500], 0.1, atol=1e-4)


def test_a_sum_that_would_clip_makes_the_whole_song_quieter(tmp_path, caplog):
    write_song(tmp_path / "source", "aa-1", {"vocals": 0.5, "guitar": 0.9, "piano": 0.9}, subtype="FLOAT")
    stems = imported(tmp_path / "source", tmp_path / "train")
    np.testing.assert_allclose(stems["other"], 32767 / 32768, atol=1e-4)
    np.testing.assert_allclose(stems["vocals"], 0.5 / 1.8, atol=1e-4)
    (warning,) = caplog.messages
    assert "aa-1" in warning and "5.11 dB quieter" in warning


def test_mono_and_other_rates(tmp_path):
    folder = write_song(tmp_path / "source", "aa-1", {"vocals": 0.1, "wind": 0.1})
    soundfile.write(folder / "wind" / "aa-1-wind.wav", np.full(1000, 0.1), 22050)
    stems = imported(tmp_path / "source", tmp_path / "train")
    assert stems["other"].shape == (2000, 2)
    np.testing.assert_allclose(stems["other"][500:-500], 0.1, atol=2e-3)


def test_what_is_not_moisesdb_is_refused(tmp_path):
    refused(tmp_path, r"no songs of MoisesDB; corpus\.music\.moisesdb of the profile")
    folder = write_song(tmp_path, "aa-1", {"vocals": 0.1, "kazoo": 0.1})
    refused(tmp_path, r"aa-1/data\.json: 'kazoo' is no stem of MoisesDB; known are vocals, ")
    for content in ("{", "[]", '{"stems": [{"stemName": "bass", "tracks": [{}]}]}', '{"stems": [3]}'):
        (folder / "data.json").write_text(content)
        refused(tmp_path, r"aa-1/data\.json: not a song's description")
    (folder / "data.json").write_text('{"stems": []}')
    refused(tmp_path, r"aa-1/data\.json: names no tracks")


def test_missing_and_truncated_files_and_songs_that_are_there_twice(tmp_path):
    folder = write_song(tmp_path / "source" / "one", "aa-1")
    broken = folder / "bass" / "aa-1-bass.wav"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"aa-1-bass\.wav: truncated"):
        imported(tmp_path / "source", tmp_path / "train")
    broken.unlink()
    refused(tmp_path / "source", r"aa-1-bass\.wav: missing, though data\.json")
    write_song(tmp_path / "twice" / "one", "aa-1")
    write_song(tmp_path / "twice" / "two", "aa-1")
    refused(tmp_path / "twice", "aa-1 is there twice")
