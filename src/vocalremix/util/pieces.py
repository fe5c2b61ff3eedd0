"""Work on a corpus piece by piece: interrupted it goes on, and of a corpus that grew only what is new is made."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.util.files import publish, remove
from vocalremix.util.lock import only_one


@dataclass(frozen=True)
class Piece:
    """What `make(path)` writes to `path`, a file or a folder.

    It depends on nothing but the content of `inputs`, which should name the code too, and on `settings`, whose `repr`
    has to tell them apart.
    """

    make: Callable[[Path], None]
    inputs: tuple[Path, ...]
    settings: tuple[object, ...]


@contextmanager
def made(
    pieces: Sequence[Piece],
    scratch: Path,
    desc: str,
    unit: str,
    jobs: int = -1,
    prefer: Literal["threads", "processes"] = "threads",
) -> Iterator[list[Path]]:
    """Make, `jobs` at a time, those pieces that no earlier run left in `scratch`; yields the paths of all, in order.

    The pieces stay in `scratch` for the next run, whether this one ends well or not; when the block ends well, those
    of other runs are removed. Files hard-linked from there take no room a second time. Waits while another process is
    at work in `scratch`. Threads start at once; processes are for work that is not all numpy, torch and files. joblib's
    `parallel_config` around the call may send the pieces to a cluster that shares the file system instead.
    """
    with only_one(scratch.with_suffix(".lock"), f"at work in {scratch}"):
        scratch.mkdir(exist_ok=True)
        files = sorted({path for piece in pieces for path in piece.inputs})
        digests = dict(
            zip(files, Parallel(n_jobs=jobs, prefer="threads")(delayed(_digest)(path) for path in files), strict=True)
        )
        paths = [scratch / _name(piece, digests) for piece in pieces]
        missing = {path: piece.make for path, piece in zip(paths, pieces, strict=True) if not path.exists()}
        tasks = [delayed(_make)(make, path) for path, make in missing.items()]
        with tqdm(desc=desc, unit=unit, total=len(pieces), initial=len(pieces) - len(missing)) as progress:
            for _ in Parallel(n_jobs=jobs, prefer=prefer, return_as="generator_unordered")(tasks):
                progress.update()
        yield paths
        for stale in set(scratch.iterdir()).difference(paths):
            remove(stale)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(piece: Piece, digests: dict[Path, str]) -> str:
    content = [digests[path] for path in piece.inputs]
    return hashlib.sha256(repr((content, piece.settings)).encode()).hexdigest()[:32]


def _make(make: Callable[[Path], None], path: Path) -> None:
    with publish(path) as partial:
        make(partial)
