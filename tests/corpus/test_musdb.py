import hashlib
import io
import os
import shutil
import urllib.request
from pathlib import Path

import musdb
import numpy as np
import pytest
import soundfile
import yaml
from hostile import serving, tree, zipped

from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus import songs
from vocalremix.corpus.musdb import import_musdb, obtain_excerpts, obtain_musdb
from vocalremix.util import lock
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS

ROOT = Path(__file__).resolve().parents[2]

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


# order of the streams in MUSDB18: mixture, drums, bass, other, vocals
TONES_HZ = {"drums": 1000, "bass": 2000, "other": 3000, "vocals": 4000}


def write_stem_file(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(44100) / 44100
    sines = [np.repeat(0.2 * np.sin(2 * np.pi * hz * seconds)[:, None], 2, axis=1) for hz in TONES_HZ.values()]
    streams = np.stack([sum(sines), *sines]) + np.random.default_rng(0).normal(0, 1e-4, (5, 44100, 2))
    writer = stempeg.StreamsWriter(codec="aac", bitrate=256000)
    stempeg.write_stems(str(path), streams, sample_rate=44100, writer=writer)


def test_stem_files_are_decoded(tmp_path):
    source = tmp_path / "MUSDB18-7"
    for song in ("train/A - B", "train/ANiMAL - Rockshow", "test/AM Contra - Heart"):
        write_stem_file(source / f"{song}.stem.mp4")
    import_musdb(source, tmp_path / "music", jobs=1)
    found = songs(tmp_path / "music")
    assert [(song.part, song.name) for song in found] == [
        ("test", "AM Contra - Heart"),
        ("train", "A - B"),
        ("valid", "ANiMAL - Rockshow"),
    ]
    for stem, hz in TONES_HZ.items():
        samples = map_pcm16(found[0].folder / f"{stem}.wav")[:44100, 0]
        assert np.argmax(np.abs(np.fft.rfft(samples))) == hz


@pytest.mark.parametrize("n_bytes", [0, 5000])
def test_a_truncated_stem_file_is_named(tmp_path, n_bytes):
    source = tmp_path / "MUSDB18-7"
    for song in ("train/A - B", "train/ANiMAL - Rockshow", "test/AM Contra - Heart"):
        write_stem_file(source / f"{song}.stem.mp4")
    broken = source / "train" / "ANiMAL - Rockshow.stem.mp4"
    broken.write_bytes(broken.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"ANiMAL - Rockshow\.stem\.mp4: damaged or truncated"):
        import_musdb(source, tmp_path / "music", jobs=1)


def test_missing_data_is_said_to_be_missing(tmp_path):
    with pytest.raises(
        InputError, match=r"musdb18hq: MUSDB18 has to be here.*music\.download.*zenodo.*3338373"
    ) as error:
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


def test_files_in_the_layout_take_no_room_twice(tmp_path, monkeypatch):
    for song in ("train/A - B", "train/ANiMAL - Rockshow", "test/AM Contra - Heart"):
        write_song(tmp_path / "musdb" / song)
    import_musdb(tmp_path / "musdb", tmp_path / "music", jobs=1)
    linked = tmp_path / "music" / "train" / "A - B" / "drums.wav"
    assert linked.samefile(tmp_path / "musdb" / "train" / "A - B" / "drums.wav")
    # neither across file systems, nor the files of somebody else
    for name, replacement in (("link", refuse_link), ("geteuid", lambda: -1)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, replacement)
            import_musdb(tmp_path / "musdb", tmp_path / name, jobs=1)
        assert tree(tmp_path / name) == tree(tmp_path / "music")
        assert not (tmp_path / name / "train/A - B/drums.wav").samefile(linked)


def refuse_link(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def musdb18hq(n_samples=1000) -> dict[str, bytes]:
    files = {}
    for song in ("train/A - B", "train/ANiMAL - Rockshow", "test/AM Contra - Heart"):
        for stem in (*STEMS, "mixture"):
            wav = io.BytesIO()
            soundfile.write(wav, np.zeros((n_samples, 2)), 44100, format="WAV")
            files[f"{song}/{stem}.wav"] = wav.getvalue()
    return files


def obtain_from(packed: bytes, folder: Path) -> None:
    with serving(packed) as server:
        sha256 = hashlib.sha256(packed).hexdigest()
        obtain_musdb(folder / "musdb18hq", server.url, sha256, folder / "scratch", keep_archive=False, n_copies=4)


def test_musdb18hq_is_fetched_and_imported(tmp_path):
    obtain_from(zipped(musdb18hq()), tmp_path)
    assert tree(tmp_path) == {f"musdb18hq/{name}": content for name, content in musdb18hq().items()}
    import_musdb(tmp_path / "musdb18hq", tmp_path / "music", jobs=1)
    assert len(songs(tmp_path / "music")) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/A - B/bass.wav": musdb18hq()["train/A - B/bass.wav"][:-100]}, r"A - B/bass\.wav: not a whole"),
        ({"train/A - B/bass.wav": musdb18hq(999)["train/A - B/bass.wav"]}, "stems of unequal length.* bass 999"),
        ({"train/A - B/bass.wav": b"<html>"}, r"bass\.wav: not a whole"),
    ],
)
def test_what_is_fetched_is_checked_before_it_appears(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        obtain_from(zipped(musdb18hq() | change), tmp_path)
    assert os.listdir(tmp_path) == ["scratch"]


def test_a_missing_stem_is_noticed_before_it_appears(tmp_path):
    files = musdb18hq()
    del files["test/AM Contra - Heart/other.wav"]
    with pytest.raises(InputError, match=r"other\.wav: missing stem"):
        obtain_from(zipped(files), tmp_path)


def test_the_checksums_are_the_published_ones():
    """torchaudio.datasets carries them; its addresses are older ones of the same files."""
    from torchaudio.datasets import librispeech, musdb_hq

    corpus = yaml.safe_load((ROOT / "profiles/thesis.yaml").read_text())["corpus"]
    music, speech = corpus["music"]["download"], corpus["speech"]["download"]
    assert music["sha256"] == musdb_hq._CHECKSUM
    assert music["url"].replace("records", "record") == musdb_hq._URL
    assert speech["sha256"] == librispeech._CHECKSUMS[speech["url"].replace("https", "http")]
    other_corpus = yaml.safe_load((ROOT / "profiles/musdb7s.yaml").read_text())["corpus"]
    assert other_corpus["speech"] == corpus["speech"]


class TestExcerpts:
    """The musdb package's own download, from a server of ours."""

    @pytest.fixture
    def files(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("excerpts")
        for song in ("train/A", "test/B"):
            write_stem_file(folder / f"{song}.stem.mp4")
        return tree(folder)

    @pytest.fixture
    def server(self, files, monkeypatch):
        with serving(zipped(files)) as hostile:
            monkeypatch.setattr(musdb, "urlopen", lambda _: urllib.request.urlopen(hostile.url))
            yield hostile

    def test_fetched_once(self, server, files, tmp_path):
        for _ in range(2):
            obtain_excerpts(tmp_path / "musdb7s")
        assert tree(tmp_path) == {f"musdb7s/{name}": content for name, content in files.items()}
        assert len(server.requests) == 1

    def test_what_is_there_is_used_where_nothing_can_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "musdb7s" / "train").mkdir(parents=True)

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(lock, "_locked", refuse)
        obtain_excerpts(tmp_path / "musdb7s")
        with pytest.raises(InputError, match="Permission denied"):
            obtain_excerpts(tmp_path / "other")

    @pytest.mark.parametrize("fault", ["status", "page", "truncated", "damaged"])
    def test_faults_end_in_one_line_and_leave_nothing(self, server, tmp_path, fault):
        if fault == "status":
            server.status(503, 1)
        elif fault == "page":
            server.page("text/html")
        elif fault == "truncated":
            server.content = server.content[:-40]
        else:
            server.content = zipped({"train/A.stem.mp4": b"a", "test/B.stem.mp4": b"b"})
        message = r"musdb7s: the musdb package cannot fetch.*; run again|[AB]\.stem\.mp4: damaged or truncated"
        with pytest.raises(InputError, match=message) as caught:
            obtain_excerpts(tmp_path / "musdb7s")
        assert "\n" not in str(caught.value)
        assert os.listdir(tmp_path) == []
