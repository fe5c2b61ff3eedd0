"""Work that one process at a time may do."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def only_one(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock file `path`, first waiting for a process that holds it; `doing` tells what for.

    The kernel lets go of the file however its holder ends. It is removed afterwards.
    """
    with _locked(path, doing) as lock:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, doing: str) -> TextIO:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"waiting for process {lock.read()}, which is {doing}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        # who held it has removed it, and another may have made it anew
        try:
            if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                return lock
        except FileNotFoundError:
            pass
        lock.close()
