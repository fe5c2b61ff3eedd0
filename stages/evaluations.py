"""What the evaluation stages share."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from layout import HOME, Layout

from vocalremix.audio.reading import read
from vocalremix.audio.spectrogram import save_spectrogram
from vocalremix.scoring.evaluation import evaluate, median_excerpt, song_metrics, window_metrics
from vocalremix.separation import Separator
from vocalremix.tracking.store import Store, add_scores, open_store
from vocalremix.training import checkpoint
from vocalremix.training.devices import choose_threads, keep_freed_memory
from vocalremix.windows.table import read_windows


def on_test_songs(layout: Layout, name: str) -> None:
    """Score a training on the test songs; MLflow also gets the excerpt of one song, of every training the same."""
    store = open_store(HOME, layout.experiment)
    windows, scores = read_windows(layout.index), layout.scores(name)
    summary = _score(layout, name, windows[windows.part == "test"], scores, part="test")
    metrics = song_metrics(summary, "test") | window_metrics(summary, "test")
    files = {"scores": _tables(scores)}
    with TemporaryDirectory() as temporary:
        if excerpt := median_excerpt(scores):
            picture = Path(temporary) / f"{excerpt.stem}.png"
            save_spectrogram(read(excerpt)[0], picture, reference_peak=0.1)  # one scale for all runs
            files["excerpt"] = [excerpt, picture]
        _record(store, layout, name, metrics, files)


def on_overfit_windows(layout: Layout, name: str) -> None:
    """Score a training on the windows that the overfit run learned by heart."""
    store = open_store(HOME, layout.experiment)
    windows = read_windows(layout.run("overfit") / "windows.csv").drop_duplicates()
    scores = layout.scores("overfit") / name
    metrics = window_metrics(_score(layout, name, windows, scores), "overfit")
    _record(store, layout, name, metrics, {"scores_overfit": _tables(scores)})


def _score(
    layout: Layout, name: str, windows: pd.DataFrame, destination: Path, part: str | None = None
) -> dict[str, Any]:
    params, profile = layout.settings.params, layout.settings.profile
    torch.set_num_threads(choose_threads(profile.compute))
    keep_freed_memory()
    separator = Separator.from_checkpoint(
        layout.run(name), device=profile.compute.accelerator, **profile.separation.model_dump()
    )
    return evaluate(separator, params.target, layout.music, windows, profile.sad.window_s, destination, part)


def _tables(scores: Path) -> list[Path]:
    return [file for file in sorted(scores.iterdir()) if file.is_file()]


def _record(store: Store, layout: Layout, name: str, metrics: dict[str, float], files: dict[str, list[Path]]) -> None:
    """Add scores to the training's MLflow run."""
    run_id = checkpoint.read_metadata(layout.run(name))["mlflow_run_id"]
    if not add_scores(store, run_id, metrics, files):
        # trained on another machine, or the store was deleted since
        print(f"{name}: this MLflow store does not know the run {run_id}; the scores are in reports/ only")
