"""All that a report is made from: the trainings of one study and their scores, read from disk."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vocalremix.config.params import AXES, Cell, Settings
from vocalremix.scoring.metrics import SONG_PROTOCOLS
from vocalremix.training.checkpoint import read_metadata
from vocalremix.util.errors import InputError


class Metric(NamedTuple):
    """A metric and the columns that hold it, per window and per song."""

    name: str
    of_window: str
    of_song: str
    unit: str = "dB"


THESIS_METRICS = (
    Metric("cSDR", "csdr_db", "csdr_thesis_db"),
    Metric("uSDR", "usdr_db", "usdr_db"),
    Metric("siSDR", "sisdr_db", "sisdr_db"),
)
USDR = THESIS_METRICS[1]
METRICS = THESIS_METRICS + tuple(
    Metric(protocol.metric, "", column, protocol.unit)
    for column, protocol in SONG_PROTOCOLS.items()
    if protocol.average is np.mean and column not in {metric.of_song for metric in THESIS_METRICS}
)
"""All that the report's questions are asked about; the thesis's come first."""


@dataclass(frozen=True)
class Scores:
    """What one system reached: `windows` by part, song and start_sample, `songs` by part and song.

    `folder` is where evaluation left them, with the excerpts of the model's estimates.
    """

    windows: pd.DataFrame
    songs: pd.DataFrame
    folder: Path

    def mean(self, metric: Metric) -> float:
        """The mean over windows in dB, NaN left out."""
        return float(self.windows[metric.of_window].mean())


@dataclass(frozen=True)
class Run:
    """A training: its checkpoint's metadata, one row per epoch (None: imported, not trained), and its scores.

    `draw` names the songs that it was trained on, of those that `sweep.songs_seed` draws.
    """

    metadata: dict[str, Any]
    history: pd.DataFrame | None
    scores: Scores
    draw: int | None = None


@dataclass(frozen=True)
class Study:
    """All runs of a study, scored on the test songs; `overfit` and `overfit_initial` on the overfit's own windows."""

    settings: Settings
    mixture: Scores
    initial: Run
    overfit_initial: Scores
    overfit: Run
    cells: dict[Cell, Run]
    best_cell: Cell
    train: Run
    train_full: Run

    @property
    def best(self) -> Run:
        """The training of the sweep that did best on validation songs; of its seeds, the first."""
        return self.cells[self.best_cell]

    @property
    def swept_axes(self) -> list[str]:
        """The sweep's axes that take more than one value, in the order of params.yaml."""
        return [axis for axis, values in self.settings.params.sweep if len(values) > 1]

    @property
    def asked_axes(self) -> list[str]:
        """Those that the report asks about: all but seeds."""
        return [axis for axis in self.swept_axes if AXES[axis].question]


def read_study(settings: Settings, data: Path, scores: Path) -> Study:
    """Read the runs that params.yaml asks for; runs of an earlier sweep that still lie there are not looked at.

    Raises InputError where a file is missing or the sweep has no validation scores to choose by.
    """

    def run(name: str, scored: str | None = None) -> Run:
        folder = data / "runs" / name
        history = folder / "history.csv"
        metadata = read_metadata(folder)
        is_trained = name != "initial" or history.is_file()
        return Run(metadata, _read(history) if is_trained else None, _scores(scores / (scored or name)))

    cells = {
        cell: replace(run(f"sweep/{cell.name}"), draw=cell.songs_seed if cell.data_fraction < 1 else None)
        for cell in settings.params.sweep.cells()
    }
    return Study(
        settings=settings,
        mixture=_scores(scores / "initial", system="mixture"),
        initial=run("initial"),
        overfit_initial=_scores(scores / "overfit" / "initial"),
        overfit=run("overfit", "overfit/overfit"),
        cells=cells,
        best_cell=_best(cells),
        train=run("train"),
        train_full=run("train_full"),
    )


def _best(cells: dict[Cell, Run]) -> Cell:
    """The cell with the highest validation uSDR; the test scores have no say.

    Of several seeds, their mean chooses the settings, and the first seed stands for them.
    """
    valid_db = mean_valid_db(cells)
    best = max(valid_db, key=valid_db.__getitem__)
    return next(cell for cell in cells if cell.setting == best)


def mean_valid_db(cells: Mapping[Cell, Run]) -> dict[Cell, float]:
    """The mean validation uSDR over the seeds of each setting; InputError where a cell has none."""
    valid_db: dict[Cell, list[float]] = {}
    for cell, run in cells.items():
        if "best_valid_usdr_db" not in run.metadata:
            raise InputError(
                f"sweep/{cell.name}: trained without validation songs, so no best cell can be chosen; "
                "name some in the profile's corpus.music.valid"
            )
        valid_db.setdefault(cell.setting, []).append(float(run.metadata["best_valid_usdr_db"]))
    return {settings: sum(of_seeds) / len(of_seeds) for settings, of_seeds in valid_db.items()}


def _scores(folder: Path, system: str = "model") -> Scores:
    windows, songs = _read(folder / "windows.csv"), _read(folder / "songs.csv")
    if missing := set(SONG_PROTOCOLS).difference(songs.columns):
        raise InputError(
            f"{folder / 'songs.csv'}: no column {min(missing)}; score this training anew, dvc repro --force"
        )
    return Scores(
        windows[windows.system == system].set_index(["part", "song", "start_sample"]),
        songs[songs.system == system].set_index(["part", "song"]),
        folder,
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"part": str, "song": str}, keep_default_na=False, na_values=[""])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the stages before the report") from error
