"""What the evaluation stages share."""

from pathlib import Path

import pandas as pd
import torch
from layout import HOME, Layout

from vocalremix import checkpoint
from vocalremix.compute import choose_threads
from vocalremix.evaluation import as_metrics, evaluate
from vocalremix.separation import Separator
from vocalremix.tracking import Store, add_scores
from vocalremix.windows import read_windows


def on_test_songs(layout: Layout, name: str) -> None:
    """Score a training on the test songs and add the scores to its MLflow run."""
    windows = read_windows(layout.index)
    on_windows(layout, name, windows[windows.part == "test"], layout.scores(name), prefix="test")


def on_windows(layout: Layout, name: str, windows: pd.DataFrame, destination: Path, prefix: str) -> None:
    """Score a training on the given windows and add the scores, named with the prefix, to its MLflow run."""
    params, profile, folder = layout.settings.params, layout.settings.profile, layout.run(name)
    torch.set_num_threads(choose_threads(profile.compute))
    separator = Separator.from_checkpoint(folder, device=profile.compute.accelerator, **profile.separation.model_dump())
    summary = evaluate(separator, params.target, layout.music, windows, profile.sad.window_s, destination)
    run_id = checkpoint.read_metadata(folder)["mlflow_run_id"]
    add_scores(Store(HOME, layout.experiment), run_id, as_metrics(summary, prefix), destination)
