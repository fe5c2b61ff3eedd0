"""Archives: unpacked without trust, at their place whole or not at all, whatever happens on the way."""

import hashlib
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile import (
    HURRY,
    Hostile,
    anything,
    obtain_in_a_hurry,
    serving,
    songs_of_noise,
    tarred,
    tree,
    wait_for,
    zipped,
)

from vocalremix.corpus.archive import extract, obtain
from vocalremix.util.errors import InputError

PATTERN = "train/*/vocals.wav"
SONGS = songs_of_noise(4, 40_000)


@pytest.fixture
def server():
    with serving(zipped(SONGS)) as hostile:
        yield hostile


def get(server: Hostile, folder: Path, check=anything, **more) -> None:
    sha256 = hashlib.sha256(server.content).hexdigest()
    obtain(folder / "songs", server.url, sha256, folder / "scratch", PATTERN, check, patience=HURRY, **more)


def refused(packed: bytes, folder: Path, message: str) -> None:
    """An archive is refused in one line and leaves nothing that could be taken for data."""
    with serving(packed) as hostile, pytest.raises(InputError, match=message) as caught:
        get(hostile, folder)
    assert "\n" not in str(caught.value)
    assert os.listdir(folder) == ["scratch"]


class TestExtract:
    @pytest.mark.parametrize("pack", [zipped, tarred])
    @pytest.mark.parametrize("root", ["", "musdb18hq/", "./a/b/"])
    def test_the_folder_in_which_the_pattern_matches(self, tmp_path, pack, root):
        (tmp_path / "x").write_bytes(pack({f"{root}{name}": content for name, content in SONGS.items()}))
        extract(tmp_path / "x", tmp_path / "songs", PATTERN)
        assert tree(tmp_path / "songs") == SONGS

    def test_what_lies_outside_of_that_folder_stays_there(self, tmp_path):
        files = {f"LibriSpeech/dev-clean/{name}": b"x" for name in ("84/121/84-121-0.flac", "84/121/84-121.trans.txt")}
        (tmp_path / "x").write_bytes(tarred({"LibriSpeech/README.TXT": b"readme", **files}))
        extract(tmp_path / "x", tmp_path / "speech", "*/*/*.flac")
        assert sorted(tree(tmp_path / "speech")) == ["84/121/84-121-0.flac", "84/121/84-121.trans.txt"]

    def test_folders_and_shadows_of_macos_do_no_harm(self, tmp_path):
        packed = zipped({"x/train/": b"", **{f"x/{name}": content for name, content in SONGS.items()}})
        shadows = zipped({f"__MACOSX/x/{name}": b"" for name in SONGS} | {f"x/{name}": b"y" for name in SONGS})
        for number, content in enumerate((packed, shadows)):
            (tmp_path / "x").write_bytes(content)
            extract(tmp_path / "x", tmp_path / f"songs{number}", PATTERN)
            assert tree(tmp_path / f"songs{number}").keys() == SONGS.keys()

    @pytest.mark.parametrize("pack", [zipped, tarred])
    @pytest.mark.parametrize("name", ["../ev\nil", "/tmp/evil", "train/../../evil", "train\\..\\..\\evil", ".."])
    def test_paths_outside(self, tmp_path, pack, name):
        refused(pack(SONGS | {name: b"evil"}), tmp_path, "would be unpacked outside of its folder")

    @pytest.mark.parametrize("target", ["/etc/passwd", "../..", "train/song 0/bass.wav"])
    def test_links(self, tmp_path, target):
        files = SONGS | {"train/link": target.encode()}
        refused(zipped(files, {"train/link": stat.S_IFLNK | 0o777}), tmp_path, "'train/link' is a link, a device or")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            refused(tarred(files, {"train/link": kind}), tmp_path, "'train/link' is a link, a device or")

    @pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
    def test_devices(self, tmp_path, kind):
        refused(tarred(SONGS | {"train/x": b""}, {"train/x": kind}), tmp_path, "'train/x' is a link, a device or")

    @pytest.mark.parametrize("pack", [zipped, tarred])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, pack, share):
        packed = pack(SONGS)
        refused(packed[: int(share * len(packed))], tmp_path, r"not a whole \.zip or \.tar\.gz archive .*; delete it")

    @pytest.mark.parametrize("pack", [zipped, tarred])
    @pytest.mark.parametrize("seed", range(5))
    def test_damaged(self, tmp_path, pack, seed):
        packed = bytearray(pack(SONGS))
        packed[random.Random(seed).randrange(len(packed) // 4, len(packed) // 2)] ^= 0xFF
        refused(bytes(packed), tmp_path, r"not a whole \.zip or \.tar\.gz archive")

    @pytest.mark.parametrize("place", [10, 16])
    def test_nonsense_in_the_end_record_of_a_zip(self, tmp_path, place):
        packed = bytearray(zipped(SONGS))
        end = packed.rindex(b"PK\x05\x06") + place
        packed[end : end + 4] = b"\xff\xff\xff\x7f"
        refused(bytes(packed), tmp_path, r"not a whole \.zip or \.tar\.gz archive|holds no")

    @pytest.mark.parametrize("twice", ["train/song 0/bass.wav", "train/song 0/bass.wav/x", "train/song 0"])
    def test_a_name_twice(self, tmp_path, twice):
        members = [*SONGS.items(), (twice, b"again")]
        refused(tarred(Pairs(members)), tmp_path, "holds .* twice")

    def test_another_archive(self, tmp_path):
        refused(zipped({"readme": b"hello"}), tmp_path, r"holds no train/\*/vocals\.wav; it is not the archive")
        refused(zipped({f"{root}/{name}": b"" for root in "ab" for name in SONGS}), tmp_path, "in 2 folders")

    @pytest.mark.parametrize(
        ("free", "message"),
        [
            (500_000, r"4\.\d+ GB needed \(the content of x .* GB\), 0\.0005 GB free"),
            (10**10, "not a whole .* is cut off"),  # there is room, but the entry does not hold what it says
        ],
    )
    def test_a_bomb_is_told_by_its_list_of_contents(self, tmp_path, monkeypatch, free, message):
        packed = bytearray(zipped(SONGS))
        # the uncompressed size in the last entry of the central directory
        place = packed.rindex(b"PK\x01\x02") + 24
        packed[place : place + 4] = (0xFFFF_FFFE).to_bytes(4, "little")
        (tmp_path / "x").write_bytes(packed)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
        with pytest.raises(InputError, match=message):
            extract(tmp_path / "x", tmp_path / "songs", PATTERN)
        assert free > 10**9 or os.listdir(tmp_path) == ["x"]


class Pairs(dict):  # type: ignore[type-arg]
    """A dict for once with a name twice."""

    def __init__(self, pairs):
        self.pairs = pairs

    def items(self):
        return self.pairs


class TestObtain:
    def test_the_archive_goes_when_its_content_is_there(self, server, tmp_path):
        get(server, tmp_path)
        assert tree(tmp_path) == {f"songs/{name}": content for name, content in SONGS.items()}
        n_requests = len(server.requests)
        get(server, tmp_path)
        assert len(server.requests) == n_requests

    def test_the_archive_stays_where_it_is_wanted(self, server, tmp_path):
        get(server, tmp_path, keep_archive=True)
        assert (tmp_path / "archive.zip").read_bytes() == server.content
        assert sorted(os.listdir(tmp_path)) == ["archive.zip", "scratch", "songs"]
        assert os.listdir(tmp_path / "scratch") == []

    def test_data_that_is_there_is_left_alone(self, server, tmp_path):
        (tmp_path / "songs").mkdir()
        (tmp_path / "songs" / "mine.txt").write_text("mine")
        get(server, tmp_path)
        assert server.requests == [] and os.listdir(tmp_path) == ["songs"]

    def test_an_empty_folder_is_not_taken_for_data(self, server, tmp_path):
        (tmp_path / "songs").mkdir()
        get(server, tmp_path)
        assert tree(tmp_path / "songs") == SONGS

    def test_content_that_fails_the_check_does_not_appear(self, server, tmp_path):
        def check(folder: Path) -> None:
            assert tree(folder) == SONGS and folder != tmp_path / "songs"
            raise InputError("bass.wav: out of tune")

        with pytest.raises(InputError, match="out of tune"):
            get(server, tmp_path, check)
        assert os.listdir(tmp_path) == ["scratch"]
        # what was fetched is still there
        n_requests = len(server.requests)
        get(server, tmp_path)
        assert tree(tmp_path / "songs") == SONGS and len(server.requests) == n_requests

    def test_room_for_archive_content_and_later_stages(self, server, tmp_path):
        message = r"e\+.* GB needed \(the archive .*, its content .*, later stages .*\)"
        with pytest.raises(InputError, match=message):
            get(server, tmp_path, later=1e12)
        assert server.n_sent == 8

    def test_a_folder_that_cannot_be_written_to(self, server, tmp_path):
        (tmp_path / "scratch").write_text("a file in the folder's place")
        with pytest.raises(InputError, match=r"scratch: (File exists|Not a directory)"):
            get(server, tmp_path)

    def test_a_second_process_waits_for_the_first(self, server, tmp_path):
        server.pause_s = 0.02
        processes = [process(server, tmp_path) for _ in range(3)]
        for one in processes:
            one.join()
        assert [one.exitcode for one in processes] == [0, 0, 0]
        assert tree(tmp_path) == {f"songs/{name}": content for name, content in SONGS.items()}
        assert server.n_sent < 1.1 * len(server.content)

    def test_an_interrupted_process_ends_at_once_and_keeps_what_it_has(self, server, tmp_path):
        server.pause_s, half = 0.02, len(server.content) // 2
        one = process(server, tmp_path)
        wait_for(lambda: server.n_sent > half)
        os.kill(one.pid, signal.SIGINT)
        one.join()
        assert one.exitcode == 1 and not (tmp_path / "songs").exists()
        get(server, tmp_path)
        assert tree(tmp_path / "songs") == SONGS
        assert server.n_sent < 1.4 * len(server.content)


@pytest.fixture(autouse=True)
def no_main_module(monkeypatch):
    """Or every process that a test starts would import pytest's first."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)


def process(server: Hostile, folder: Path) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vocalremix.corpus.archive"])
    sha256 = hashlib.sha256(server.content).hexdigest()
    one = context.Process(
        target=obtain_in_a_hurry, args=(folder / "songs", server.url, sha256, folder / "scratch", folder / "error")
    )
    one.start()
    return one


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Look at the final name all the time; whatever is there has to be whole."""
    whole, over, seen_half = {name: len(content) for name, content in SONGS.items()}, threading.Event(), []

    def watch() -> None:
        while not over.wait(0.001):
            if path.exists():
                files = [file for file in path.rglob("*") if file.is_file()]
                sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
                seen_half.extend([sizes] if sizes != whole else [])

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()
    assert not seen_half


@pytest.mark.slow
def test_killed_a_hundred_times_and_whole_in_the_end(server, tmp_path):
    rng = random.Random(0)
    server.piece_bytes, server.pause_s = 8_192, 0.003
    n_kills, n_whole = 0, 0
    while n_kills < 100:
        folder = tmp_path / f"{n_whole}"
        folder.mkdir(exist_ok=True)
        with watched(folder / "songs"):
            one = process(server, folder)
            one.join(rng.uniform(0, 0.25))
            if one.exitcode is None:
                one.kill()
                n_kills += 1
            one.join()
        assert one.exitcode in (0, -9), (folder / "error").read_text()
        if (folder / "songs").exists():
            assert tree(folder / "songs") == SONGS
        if one.exitcode == 0:
            assert tree(folder) == {f"songs/{name}": content for name, content in SONGS.items()}
            n_whole += 1
    get(server, folder)
    assert tree(folder) == {f"songs/{name}": content for name, content in SONGS.items()}
    assert n_whole > 3


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class TestFullDisk:
    @pytest.mark.parametrize("share", [0.3, 0.99])
    def test_filled_by_others_on_the_way(self, server, small_disk, share):
        """At 0.3 there is no room for the archive any more, at 0.99 none for its content."""
        filled = threading.Event()
        server.after_bytes = (int(share * len(server.content)), lambda: fill(small_disk, filled))
        with pytest.raises(InputError, match=r"the disk is full|GB needed") as caught:
            get(server, small_disk)
        assert "\n" not in str(caught.value)
        assert not (small_disk / "songs").exists()
        filled.wait()
        (small_disk / "filler").unlink()
        get(server, small_disk)
        assert tree(small_disk) == {f"songs/{name}": content for name, content in SONGS.items()}
        assert server.n_sent < 1.5 * len(server.content)

    def test_filled_while_it_is_unpacked(self, server, small_disk, monkeypatch):
        monkeypatch.setattr("vocalremix.corpus.archive.require_space", lambda _: fill(small_disk, threading.Event()))
        with pytest.raises(InputError, match="the disk is full; make room and run again"):
            get(server, small_disk)
        assert not [name for name in os.listdir(small_disk) if "songs" in name]
        monkeypatch.undo()
        (small_disk / "filler").unlink()
        get(server, small_disk)
        assert tree(small_disk) == {f"songs/{name}": content for name, content in SONGS.items()}


def fill(disk: Path, filled: threading.Event) -> None:
    free = os.statvfs(disk)
    # the download may take some of it meanwhile
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        file.write(bytes(free.f_bavail * free.f_frsize))
        file.write(bytes(1_000_000))
    filled.set()
