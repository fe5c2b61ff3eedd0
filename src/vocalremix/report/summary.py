"""A study in few numbers, for programs that compare studies and draw their own plots."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from vocalremix.config.params import Value
from vocalremix.report.questions import Question
from vocalremix.report.study import THESIS_METRICS, USDR, Scores, Study

DECIMALS = 4


def metrics(study: Study) -> dict[str, dict[str, Value]]:
    """Means over salient windows in dB, per system, and the best cell's settings; what is NaN is left out."""
    cell = asdict(study.best_cell)
    chosen_by = {axis: cell[axis] for axis in dict.fromkeys(["speech_remix_prob", *study.swept_axes])}
    systems: dict[str, dict[str, Value]] = {
        "mixture": {"uSDR_db": study.mixture.mean(USDR)},
        "initial": {"uSDR_db": study.initial.scores.mean(USDR)},
        "overfit": {
            "initial_uSDR_db": study.overfit_initial.mean(USDR),
            "uSDR_db": study.overfit.scores.mean(USDR),
        },
        "best_cell": {**chosen_by, "uSDR_db": study.best.scores.mean(USDR)},
        "train": {"uSDR_db": study.train.scores.mean(USDR)},
        "train_full": _means(study.train_full.scores),
    }
    return {
        system: {
            name: value if isinstance(value, str) else round(value, DECIMALS)
            for name, value in values.items()
            if isinstance(value, str) or math.isfinite(value)
        }
        for system, values in systems.items()
    }


def sweep_points(study: Study) -> pd.DataFrame:
    """One row per cell: its axes, cSDR_db, uSDR_db, siSDR_db (means over test windows) and valid_uSDR_db."""
    return pd.DataFrame(
        asdict(cell) | _means(run.scores) | {"valid_uSDR_db": run.metadata["best_valid_usdr_db"]}
        for cell, run in study.cells.items()
    ).round(DECIMALS)


def song_points(study: Study) -> pd.DataFrame:
    """One row per test song: song, whole-song uSDR of initial, best_cell, train and train_full, and the last's gain."""
    runs = {"initial": study.initial, "best_cell": study.best, "train": study.train, "train_full": study.train_full}
    points = pd.DataFrame({f"{name}_uSDR_db": run.scores.songs[USDR.of_song] for name, run in runs.items()})
    points["gain_uSDR_db"] = points.train_full_uSDR_db - points.initial_uSDR_db
    return points.round(DECIMALS).reset_index().drop(columns="part")


def verdicts(questions: Sequence[Question]) -> str:
    """What the data support, as Markdown."""
    blocks = [
        f"## {question.title}\n\n"
        + f"{question.note}\n\n" * bool(question.note)
        + "".join(f"- {verdict.text}\n" for verdict in question.verdicts)
        for question in questions
    ]
    return "# What the data support\n\n" + "\n".join(blocks)


def training_points(study: Study) -> pd.DataFrame:
    """One row per run and epoch: run, epoch, learning_rate, train_loss, valid_loss, valid_uSDR_db."""
    columns = ["epoch", "learning_rate", "train_loss", "valid_loss", "valid_usdr_db"]
    runs = {"initial": study.initial, "overfit": study.overfit}
    runs |= {f"sweep/{cell.name}": run for cell, run in study.cells.items()}
    runs |= {"train": study.train, "train_full": study.train_full}
    histories = [
        run.history.reindex(columns=columns).assign(run=name) for name, run in runs.items() if run.history is not None
    ]
    points = pd.concat(histories, ignore_index=True).rename(columns={"valid_usdr_db": "valid_uSDR_db"})
    return points[["run", *points.columns.drop("run")]]


def _means(scores: Scores) -> dict[str, Any]:
    return {f"{metric.name}_db": scores.mean(metric) for metric in THESIS_METRICS}
