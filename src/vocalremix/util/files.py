"""Files and folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalremix.util.errors import InputError

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
PREFIX, PARTIAL = ".vocalremix-", ".partial"
"""How the name of a folder begins and ends in which something is being made."""


@contextmanager
def publish(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a path to write to, and move what was written there to `path` when the block ends well.

    The block decides whether it makes a file or a folder. With `replace`, what is at `path` when the block begins is
    replaced. Anything else stays: what another process puts there meanwhile, and all that lies beside it. A link to a
    folder stays, and the folder behind it is replaced. When the block raises, nothing is left behind.

    Several processes may write one `path` at once: the first to finish wins, the others raise. What a killed process
    left behind is removed by the next to write `path`.

    Raises InputError for a `path` without a name of its own (`..`, `/`), and for one that is there already, or appears
    while the block runs, and is not to be replaced.
    """
    path = path.resolve() if path.is_dir() and path.name != ".." else path.parent.resolve() / path.name
    require_part(path.name, f"{path}: cannot be written")
    before = _identity(path)
    if before and not replace:
        raise InputError(f"{path}: is there already; remove it, or choose another place")
    new_parents = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    is_done = False
    try:
        _remove_leftovers(path)
        with _own_folder(path.parent) as folder:
            yield folder / path.name
            with _undisturbed():
                _move(folder / path.name, path, before, folder / ("old" if path.name == "replaced" else "replaced"))
                is_done = True
    finally:
        if not is_done:
            with contextlib.suppress(OSError):
                for parent in new_parents:
                    parent.rmdir()


def require_part(name: str, reason: str) -> str:
    """The name, where it can stand for one part of a path; else InputError, which begins with the reason."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InputError(f"{reason}: {name!r} is no name for a file or folder; rename it")
    return name


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(path: Path, destination: Path) -> None:
    """Give a file a second name, which takes no room; a copy where the file systems allow no link."""
    try:
        os.link(path, destination)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, destination)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells what is at a path from what else may come there; None where there is nothing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _move(new: Path, path: Path, before: tuple[int, int] | None, aside: Path) -> None:
    """Put `new` in the place of what was at `path` before, which goes `aside`; of nothing else."""
    try:
        if before and _identity(path) == before:
            if not (new.is_dir() or path.is_dir()):
                os.replace(new, path)  # at no time is there no file, or half of one
                return
            os.rename(path, aside)
        _put(new, path)
    except OSError as error:
        if _identity(path) not in (before, None):
            raise InputError(f"{path}: another process made it meanwhile; nothing of it was replaced") from error
        if os.path.lexists(aside) and not os.path.lexists(path):
            os.rename(aside, path)
        raise


def _put(new: Path, path: Path) -> None:
    """Move a file or folder to where nothing is."""
    if new.is_dir():
        os.rename(new, path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.replace(new, path)


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A folder that nobody else writes to, locked while it is in use, and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=PARTIAL, dir=parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        with _undisturbed():
            remove(folder)
            os.close(lock)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes began to write for `path`: theirs is the name, and no lock."""
    for folder in path.parent.glob(f"{PREFIX}*{PARTIAL}"):
        if not os.path.lexists(folder / path.name):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder)
            finally:
                os.close(lock)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let an interruption wait: a second Ctrl-C must not stop what the first one began to tidy up."""
    # signals interrupt the main thread only, and other threads may not set handlers
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[signal.Signals] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(signal.Signals(number))) for number in INTERRUPTIONS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
