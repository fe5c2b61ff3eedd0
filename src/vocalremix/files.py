"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write to, and move what was written there to `path` when the block ends well.

    The block decides whether it makes a file or a folder. What was at `path` before is replaced; when the
    block raises, nothing is left behind and `path` is as it was. A link to a folder stays, and the folder behind it is
    replaced. What a process killed on the spot left behind is removed by the next to write `path`, so there may be one
    writer of a path at a time.
    """
    path = path.resolve() if path.is_dir() else path.absolute()  # "." has no name
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(path: Path, destination: Path) -> None:
    """Give a file a second name, which takes no room; a copy where the file systems allow no link."""
    try:
        os.link(path, destination)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, destination)
