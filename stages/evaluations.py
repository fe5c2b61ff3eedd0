"""What the evaluation stages share."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from layout import HOME, Layout

from vocalremix import checkpoint
from vocalremix.compute import choose_threads
from vocalremix.evaluation import evaluate, song_metrics, window_metrics
from vocalremix.separation import Separator
from vocalremix.tracking import Store, add_scores
from vocalremix.windows import read_windows


def on_test_songs(layout: Layout, name: str) -> None:
    """Score a training on the test songs."""
    windows = read_windows(layout.index)
    summary = _score(layout, name, windows[windows.part == "test"], layout.scores(name))
    _record(layout, name, song_metrics(summary, "test") | window_metrics(summary, "test"), layout.scores(name))


def on_overfit_windows(layout: Layout, name: str) -> None:
    """Score a training on the windows that the overfit run learned by heart."""
    windows = read_windows(layout.run("overfit") / "windows.csv").drop_duplicates()
    scores = layout.scores("overfit") / name
    _record(layout, name, window_metrics(_score(layout, name, windows, scores), "overfit"), scores)


def _score(layout: Layout, name: str, windows: pd.DataFrame, destination: Path) -> dict[str, Any]:
    params, profile = layout.settings.params, layout.settings.profile
    torch.set_num_threads(choose_threads(profile.compute))
    separator = Separator.from_checkpoint(
        layout.run(name), device=profile.compute.accelerator, **profile.separation.model_dump()
    )
    return evaluate(separator, params.target, layout.music, windows, profile.sad.window_s, destination)


def _record(layout: Layout, name: str, metrics: dict[str, float], files: Path) -> None:
    """Add scores to the training's MLflow run."""
    run_id = checkpoint.read_metadata(layout.run(name))["mlflow_run_id"]
    add_scores(Store(HOME, layout.experiment), run_id, metrics, files)
