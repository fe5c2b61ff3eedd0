"""Pieces count how often they are made in a file beside them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from vocalremix.util.errors import InputError
from vocalremix.util.pieces import Piece, made

NAMES = ("a", "b", "c")


def double(source: Path, path: Path) -> None:
    with (source.parent / "log").open("a") as log:
        log.write(source.name)
    if source.read_text() == "bad":
        raise InputError(f"{source}: bad")
    if source.read_text() == "slow":
        (source.parent / "started").touch()
        path.write_text("half of it")
        time.sleep(60)
    path.write_text(2 * source.read_text())


def run(folder: Path, settings: object = 1, jobs: int = 1) -> tuple[list[str], str]:
    """The pieces' content, and the names of those that were made now."""
    (folder / "log").write_text("")
    pieces = [Piece(partial(double, folder / name), (folder / name,), (settings,)) for name in NAMES]
    with made(pieces, folder / "scratch", "double", "file", jobs) as paths:
        content = [path.read_text() for path in paths]
    return content, "".join(sorted((folder / "log").read_text()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_what_has_changed_is_made_again(folder: Path, jobs: int) -> None:
    assert run(folder, jobs=jobs) == (["aa", "bb", "cc"], "abc")
    os.utime(folder / "a", (0, 0))
    assert run(folder, jobs=jobs) == (["aa", "bb", "cc"], "")
    (folder / "b").write_text("x")
    assert run(folder, jobs=jobs) == (["aa", "xx", "cc"], "b")
    assert run(folder, settings=2, jobs=jobs) == (["aa", "xx", "cc"], "abc")


def test_what_no_run_needs_any_more_is_removed(folder: Path) -> None:
    run(folder)
    kept = set(os.listdir(folder / "scratch"))
    run(folder, settings=2)
    assert len(kept) == len(os.listdir(folder / "scratch")) == 3
    assert kept.isdisjoint(os.listdir(folder / "scratch"))


def test_after_a_fault_the_others_are_kept(folder: Path) -> None:
    (folder / "c").write_text("bad")
    with pytest.raises(InputError, match="c: bad"):
        run(folder)
    (folder / "c").write_text("c")
    assert run(folder) == (["aa", "bb", "cc"], "c")


def test_a_killed_run_is_taken_up(folder: Path) -> None:
    (folder / "c").write_text("slow")
    code = "import sys; from pathlib import Path; from test_pieces import run; run(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    killed = subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
    while not (folder / "started").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len([name for name in os.listdir(folder / "scratch") if name.endswith(".partial")]) == 1
    (folder / "c").write_text("c")
    assert run(folder) == (["aa", "bb", "cc"], "c")
    assert len(os.listdir(folder / "scratch")) == 3
