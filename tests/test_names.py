"""Names that people, archives and file systems bring: nothing but the named target ever changes."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from vocalremix import files, separation
from vocalremix.cli import main
from vocalremix.corpus.folder import import_folder
from vocalremix.errors import InputError
from vocalremix.files import publish, require_part

STEMS = ("vocals", "drums", "bass", "other")
PARTS = [
    *(".", "..", "...", "....", " ", "-", "-o", "--replace", "~", "*", "a b", "A", "é", "e\u0301", "\udce9", "x\ny"),
    *("mixture", "vocals", "accompaniment", "precious", "out", ".hidden", "x.", "x..", "%41", "?", "#", "'", '"', "\\"),
    *("CON", "name:stream", "a" * 200, "\U0001f3b5", "train", "test", "valid"),
]


class Half(torch.nn.Module):
    """A model of no cost."""

    target, chunk_samples, sample_rate = "vocals", 400, 44100

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return mixture / 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        separation.Separator, "from_checkpoint", classmethod(lambda cls, path, **_: cls(Half(), hop_s=0.005))
    )
    monkeypatch.setattr("vocalremix.compute.keep_freed_memory", lambda: None)


def odd_names(n: int, seed: int = 0) -> Iterator[str]:
    """Names of one to three of the odd parts, each a name that the file system takes."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < n:
        name = "".join(rng.choices(PARTS, k=rng.choice((1, 1, 2, 3))))
        if name not in seen and name not in (".", "..") and len(os.fsencode(name)) <= 240:
            seen.add(name)
            yield name


def tree(root: Path) -> dict[str, bytes | None]:
    """All that is below a folder, with the content of files."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))
    }


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_a_song_called_dots_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stem of `...wav` is `..`: the folder around `out` was replaced, with all that was in it."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    soundfile.write("...wav", np.zeros((500, 2)), 44100, format="WAV")
    Path("precious").touch()
    before = tree(tmp_path)
    assert run("separate", "./...wav", "-o", "out", "--checkpoint", "c", "--device", "cpu") == 0
    after = tree(tmp_path)
    assert {name: content for name, content in after.items() if not name.startswith("a/out")} == before
    assert {name for name in after if name.startswith("a/out/...wav/")} == {
        "a/out/...wav/vocals.wav",
        "a/out/...wav/accompaniment.wav",
    }


@pytest.mark.parametrize("seed", range(4))
def test_separating_songs_of_odd_names_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    (tmp_path / "songs").mkdir()
    monkeypatch.chdir(tmp_path / "songs")
    Path("precious").mkdir()
    Path("precious/file").write_text("kept")
    Path("out").mkdir()
    Path("out/precious").mkdir()
    Path("out/precious/file").write_text("kept")
    for number, name in enumerate(odd_names(150, seed)):
        song = Path(name + (".wav" if number % 3 else ""))
        if song.exists():
            continue
        soundfile.write(open(song, "wb"), np.zeros((500, 2)), 44100, format="WAV")  # noqa: SIM115
        before = tree(tmp_path)
        code = run("separate", f"./{song}", "-o", "out", "--checkpoint", "c", "--device", "cpu")
        after = tree(tmp_path)
        assert {entry: after.get(entry) for entry in before} == before, f"{song!r} changed what was there"
        new = {entry for entry in after if entry not in before}
        assert code in (0, 2) and bool(new) == (code == 0), song
        assert len({Path(entry).parts[:3] for entry in new}) <= 1 and all(e.startswith("songs/out/") for e in new)
        assert "Traceback" not in capsys.readouterr().err


def test_importing_songs_of_odd_names_changes_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "work" / "music"
    (tmp_path / "work" / "precious").mkdir(parents=True)
    names = [name for name in odd_names(120, 7) if "\udce9" not in name and name not in ("train", "valid", "test")]
    for name in names:
        (source / "train" / name).mkdir(parents=True)
        for stem in STEMS:
            soundfile.write(source / "train" / name / f"{stem}.wav", np.full((50, 2), 0.1), 44100)
    before = tree(tmp_path)
    try:
        import_folder(source, target, valid=[names[0]], test=[names[1]], jobs=1)
    except InputError as error:
        assert len(str(error).splitlines()) == 1 or "\n" in str(error)
    after = tree(tmp_path)
    assert {entry: after.get(entry) for entry in before} == before
    new = {entry for entry in after if entry not in before}
    assert all(entry == "work/music" or entry.startswith("work/music/") for entry in new)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "/etc", "a\0b", "../x"])
def test_what_is_no_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"song: cannot be stored: .* is no name"):
        require_part(name, "song: cannot be stored")


@pytest.mark.parametrize("path", ["..", "out/..", "/", "a/../.."])
def test_publish_refuses_a_target_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()
    monkeypatch.chdir(tmp_path / "a")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is no name for a file or folder"), publish(Path(path)) as partial:
        partial.mkdir()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_writers_of_one_path_the_first_wins_whole(tmp_path: Path, kind: str, replace: bool) -> None:
    def write(partial: Path, text: str) -> None:
        if kind == "folder":
            partial.mkdir()
            (partial / "content").write_text(text)
        else:
            partial.write_text(text)

    target = tmp_path / "target"
    with pytest.raises(InputError, match="another process made it meanwhile"), publish(target, replace) as slow:
        write(slow, "slow")
        with publish(target, replace) as fast:
            write(fast, "fast")
    assert (target / "content" if kind == "folder" else target).read_text() == "fast"
    assert os.listdir(tmp_path) == ["target"]


def test_of_two_that_replace_a_folder_the_second_leaves_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InputError, match="another process made it meanwhile"), publish(target) as slow:
        slow.mkdir()
        with publish(target) as fast:
            fast.mkdir()
            (fast / "fast").touch()
    assert os.listdir(target) == ["fast"] and os.listdir(tmp_path) == ["target"]


def test_many_writers_never_leave_an_empty_folder(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            with publish(tmp_path / "target", replace=False) as partial:
                partial.mkdir()
                (partial / "whose").write_text(str(number))
            outcomes.append("won")
        except InputError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("won") == 1 and len(outcomes) == 12
    assert os.listdir(tmp_path) == ["target"] and os.listdir(tmp_path / "target") == ["whose"]


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    with pytest.raises(InputError, match="target: is there already"), publish(tmp_path / "target", replace=False):
        pytest.fail("the block should not run")
    assert (tmp_path / "target").read_text() == "kept"


def test_only_what_a_dead_writer_left_for_this_path_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".dead.partial" / "target").mkdir(parents=True)
    (tmp_path / ".other.partial" / "another").mkdir(parents=True)
    (tmp_path / ".users.partial").write_text("a file of the user's")
    with publish(tmp_path / "target") as alive:
        alive.mkdir()
        with publish(tmp_path / "second") as second:
            second.touch()
    assert sorted(os.listdir(tmp_path)) == [".other.partial", ".users.partial", "second", "target"]


def test_a_second_interruption_waits_until_all_is_tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the first one's unfinished work is removed."""
    removed: Callable[..., Any] = files.remove

    def slowly(path: Path) -> None:
        signal_self()
        removed(path)

    def signal_self() -> None:
        import signal

        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "remove", slowly)
    with pytest.raises(KeyboardInterrupt), publish(tmp_path / "target") as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


CODE = "from vocalremix.cli import main; main(['check', {!r}, '--quick'])"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("| true", 0), (">&-", 1), ("2>&-", 1), ("<&-", 1), (">/dev/full", 2), (">&- 2>&- <&-", 1)],
)
def test_closed_and_full_streams_end_without_a_traceback(tmp_path: Path, redirection: str, code: int) -> None:
    for number in range(200):
        (tmp_path / "songs" / f"{number}").mkdir(parents=True)
        soundfile.write(tmp_path / "songs" / f"{number}" / "vocals.wav", np.zeros((50, 2)), 44100)
    program = f'{sys.executable} -c "{CODE.format(str(tmp_path / "songs"))}"'
    done = subprocess.run(
        ["bash", "-c", f"{program} {redirection}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "src"},
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_a_terminal_cannot_say_are_shown_with_escapes(tmp_path: Path, encoding: str) -> None:
    for name in ("Ø\u266b", os.fsdecode(b"caf\xe9")):
        (tmp_path / "songs" / name).mkdir(parents=True)
        soundfile.write(open(tmp_path / "songs" / name / "vocals.wav", "wb"), np.zeros((50, 2)), 44100, format="WAV")  # noqa: SIM115
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(str(tmp_path / "songs"))],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": "src", "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"missing stem" in done.stdout and b"caf" in done.stdout
