"""What the stages share: where each reads and writes, and how a stage ends."""

import argparse
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path

from vocalremix.config.params import AXES, Cell, Settings, load, read_yaml
from vocalremix.util.errors import one_line_errors

# To look for garbage among what torch, Lightning and MLflow bring with them takes a second while they are imported, and
# another one at the end of the program; `stage` begins to look. A loader's worker never gets there.
if current_process().name == "MainProcess":
    gc.disable()

ROOT = Path(__file__).resolve().parents[1]
# In the temporary clone of `dvc exp run --temp` or the queue, the main repository; what must outlive the clone
# (MLflow's store, interrupted work) and relative paths to data belong there.
HOME = Path(os.environ.get("DVC_ROOT", ROOT))
SETTLED_S = 1.0
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Layout:
    """The study's folders, as dvc.yaml names them."""

    settings: Settings

    @property
    def data(self) -> Path:
        """All data of the active profile."""
        return ROOT / "data" / self.settings.params.profile

    @property
    def experiment(self) -> str:
        """The MLflow experiment that gathers the profile's runs."""
        return f"vocalremix-{self.settings.params.profile}"

    @property
    def music(self) -> Path:
        """Songs: <part>/<song>/<stem>.wav."""
        return self.data / "music"

    @property
    def speech_source(self) -> Path:
        """Utterances as they came, or the list of a folder used in place."""
        return self.data / "speech_source"

    @property
    def speech(self) -> Path:
        """Utterances at 44.1 kHz."""
        return self.data / "speech"

    @property
    def index(self) -> Path:
        """The salient windows of all songs."""
        return self.data / "index.csv"

    @property
    def beats(self) -> Path:
        """Tempo, beats and key of all songs."""
        return self.data / "beats.json"

    @property
    def augmented(self) -> Path:
        """Static copies and their salient windows."""
        return self.data / "augmented"

    def run(self, name: str) -> Path:
        """The checkpoint of a training."""
        return self.data / "runs" / name

    def scratch(self, stage: str) -> Path:
        """What a stage keeps of its work, so that the next run goes on from there."""
        return HOME / "scratch" / self.settings.params.profile / stage

    @property
    def reports(self) -> Path:
        """Scores, tables and figures of the active profile."""
        return ROOT / "reports" / self.settings.params.profile

    def scores(self, name: str) -> Path:
        """The scores of a training."""
        return self.reports / "scores" / name


@contextmanager
def stage() -> Iterator[Layout]:
    """Give a stage its validated settings and folders; what the user can mend ends in one line and exit code 2."""
    gc.freeze()
    gc.enable()
    # so that a terminated stage removes its unfinished outs on the way out, as an interrupted one does
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with one_line_errors():
        yield Layout(load(ROOT))


def read_cell() -> Cell:
    """The cell of a matrix stage, from the command line that dvc.yaml gives it."""
    parser = argparse.ArgumentParser()
    for name, axis in AXES.items():
        parser.add_argument(f"--{name}", type=str if isinstance(axis.usual, str) else _number, required=True)
    return Cell(**vars(parser.parse_args()))


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def at_home(path: Path) -> Path:
    """A path of the profile; relative ones start at the repository's root."""
    return HOME / path.expanduser()


def data_digests(layout: Layout) -> dict[str, str]:
    """Tells one state of songs, copies and speech from another: the hashes that DVC has of them, by folder name."""
    lock = ROOT / "dvc.lock"
    # DVC writes it anew in place after every stage, and stages run side by side
    while lock.is_file() and abs(time.time() - lock.stat().st_mtime) < SETTLED_S:
        time.sleep(0.1)
    stages = read_yaml(lock)["stages"] if lock.is_file() else {}
    hashes = {out["path"]: out["md5"][:8] for stage in stages.values() for out in stage.get("outs", [])}
    folders = {folder.name: str(folder.relative_to(ROOT)) for folder in (layout.augmented, layout.music, layout.speech)}
    return {name: hashes[path] for name, path in folders.items() if path in hashes}


def provenance(layout: Layout) -> dict[str, str]:
    """Where a run comes from, as MLflow tags: commit, DVC experiment, DVC stage, profile, and how to go back there.

    Where git does not say, a warning does, and the commit is "unknown".
    """
    experiment, stage = (os.environ.get(name, "") for name in ("DVC_EXP_NAME", "DVC_STAGE"))
    tags = {
        "dvc.experiment": experiment,
        "dvc.stage": stage,
        "profile": layout.settings.params.profile,
        "mlflow.source.name": sys.argv[0],
        "mlflow.source.type": "LOCAL",
    }
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "-uno", "src", "stages")
        settings_changed = not experiment and _git("status", "--porcelain", "-uno", "params.yaml", "profiles")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = " ".join(getattr(error, "stderr", str(error)).split())
        print(f"warning: this run's commit is recorded as unknown, for git says: {reason}", file=sys.stderr)
        return tags | {
            "git.commit": "unknown",
            "mlflow.note.content": "Git did not say which commit this was made with.",
        }
    apply = f"dvc exp apply {experiment} && " if experiment else ""
    note = f"To make it again: `git checkout {commit[:12]} && {apply}dvc repro {stage}`."
    if changed or settings_changed:
        note += f" That is without the changes to {'code' if changed else 'settings'} that were not committed then."
    return tags | {
        "git.commit": commit + ("-dirty" if changed else ""),
        "mlflow.source.git.commit": commit,
        "mlflow.note.content": note,
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True)
    return done.stdout.strip()
