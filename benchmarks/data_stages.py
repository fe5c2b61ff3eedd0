"""Runs one data stage on a corpus of `benchmarks.scale` and prints how many seconds it took.

What a process does once, imports and the start of its workers, is done before, on a corpus of a few songs. It
imports what the pipeline's stage imports and no more, because its memory is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Stage = Callable[[Path], None]


def importing() -> Stage:
    """Decode the songs to the layout."""
    from vocalremix.corpus.folder import import_folder

    return lambda root: import_folder(root / "songs", root / "music", valid=["001"], test=["002"])


def checking() -> Stage:
    """Check the whole corpus, as `vocalremix check` does."""
    from vocalremix.check import check

    return lambda root: print(check(root / "music"), file=sys.stderr)


def indexing() -> Stage:
    """Find the salient windows."""
    from vocalremix.windows.sad import index_corpus

    def index(root: Path) -> None:
        windows = index_corpus(root / "music", "vocals", scratch=root / "scratch" / "index")
        windows.to_csv(root / "index.csv", index=False)

    return index


def augmenting() -> Stage:
    """Two copies by Rubber Band and one shift."""
    from vocalremix.windows.augment import make_copies

    def augment(root: Path) -> None:
        windows = pd.read_csv(root / "index.csv", dtype={"song": str})
        kept = root / "scratch" / "augment"
        make_copies(root / "music", windows, root / "augmented", [2], [0.9], [1], "vocals", scratch=kept)

    return augment


def resampling() -> Stage:
    """Resample the speech."""
    from vocalremix.corpus.librispeech import resample_corpus

    return lambda root: resample_corpus(root / "speech", root / "resampled", scratch=root / "scratch" / "resample")


STAGES: dict[str, Callable[[], Stage]] = {
    "import": importing,
    "check": checking,
    "index": indexing,
    "augment": augmenting,
    "resample": resampling,
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("warm_up", type=Path)
    parser.add_argument("root", type=Path)
    options = parser.parse_args()
    run = STAGES[options.stage]()
    run(options.warm_up)
    start = time.perf_counter()
    run(options.root)
    print(json.dumps(time.perf_counter() - start))


if __name__ == "__main__":
    main()
