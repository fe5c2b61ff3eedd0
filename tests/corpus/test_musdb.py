import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalremix.audio import STEMS, map_pcm16
from vocalremix.corpus import songs
from vocalremix.corpus.musdb import import_musdb
from vocalremix.errors import InputError

stempeg = pytest.importorskip("stempeg", exc_type=ImportError)


def write_song(folder: Path):
    folder.mkdir(parents=True)
    for stem in (*STEMS, "mixture"):
        soundfile.write(folder / f"{stem}.wav", np.zeros((1000, 2)), 44100)


def test_wav_folders_get_the_official_validation_songs(tmp_path):
    for song in ("train/A - B", "train/ANiMAL - Rockshow", "train/Meaxic - Take A Step", "test/AM Contra - Heart"):
        write_song(tmp_path / "musdb18hq" / song)
    import_musdb(tmp_path / "musdb18hq", tmp_path / "music", jobs=1)
    assert [(song.part, song.name) for song in songs(tmp_path / "music")] == [
        ("test", "AM Contra - Heart"),
        ("train", "A - B"),
        ("valid", "ANiMAL - Rockshow"),
        ("valid", "Meaxic - Take A Step"),
    ]


def test_stem_files_are_decoded(tmp_path):
    source = tmp_path / "MUSDB18-7"
    rng = np.random.default_rng(0)
    # order of the streams in MUSDB18: mixture, drums, bass, other, vocals
    tones_hz = {"drums": 1000, "bass": 2000, "other": 3000, "vocals": 4000}
    seconds = np.arange(44100) / 44100
    sines = [np.repeat(0.2 * np.sin(2 * np.pi * hz * seconds)[:, None], 2, axis=1) for hz in tones_hz.values()]
    for part, name in (("train", "A - B"), ("train", "ANiMAL - Rockshow"), ("test", "AM Contra - Heart")):
        (source / part).mkdir(parents=True, exist_ok=True)
        streams = np.stack([sum(sines), *sines]) + rng.normal(0, 1e-4, (5, 44100, 2))
        stempeg.write_stems(
            str(source / part / f"{name}.stem.mp4"),
            streams,
            sample_rate=44100,
            writer=stempeg.StreamsWriter(codec="aac", bitrate=256000),
        )
    import_musdb(source, tmp_path / "music", jobs=1)
    found = songs(tmp_path / "music")
    assert [(song.part, song.name) for song in found] == [
        ("test", "AM Contra - Heart"),
        ("train", "A - B"),
        ("valid", "ANiMAL - Rockshow"),
    ]
    for stem, hz in tones_hz.items():
        samples = map_pcm16(found[0].folder / f"{stem}.wav")[:44100, 0]
        assert np.argmax(np.abs(np.fft.rfft(samples))) == hz


def test_missing_data_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match=r"musdb18hq: MUSDB18 has to be here.*zenodo.*3338373.*download=True") as error:
        import_musdb(tmp_path / "musdb18hq", tmp_path / "music")
    assert "\n" not in str(error.value)


def test_no_validation_song_and_a_truncated_stem_are_refused(tmp_path):
    write_song(tmp_path / "musdb" / "train" / "A - B")
    write_song(tmp_path / "musdb" / "test" / "C - D")
    with pytest.raises(InputError, match="none of MUSDB18's 14 validation songs"):
        import_musdb(tmp_path / "musdb", tmp_path / "music", jobs=1)
    write_song(tmp_path / "musdb" / "train" / "ANiMAL - Rockshow")
    broken = tmp_path / "musdb" / "train" / "A - B" / "bass.wav"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(InputError, match=r"bass\.wav: truncated"):
        import_musdb(tmp_path / "musdb", tmp_path / "music", jobs=1)
    assert os.listdir(tmp_path) == ["musdb"]
    shutil.rmtree(tmp_path / "musdb")
