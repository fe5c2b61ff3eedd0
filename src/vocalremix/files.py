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
    block raises, nothing is left behind and `path` is as it was. What a process killed on the spot left behind is
    removed by the next to write `path`, so there may be one writer of a path at a time.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
