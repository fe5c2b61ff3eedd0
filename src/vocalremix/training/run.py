"""One training of the study, from windows on disk to a checkpoint: data, model, MLflow run and scratch."""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from vocalremix.config.params import Common, Settings
from vocalremix.examples.dataset import RemixDataset, ValidationDataset
from vocalremix.models.base import SeparationModel
from vocalremix.models.registry import build
from vocalremix.remix.base import Remix
from vocalremix.tracking.store import CHECKPOINT, DataSet, Run, Store, open_run
from vocalremix.training import checkpoint, loop
from vocalremix.training.devices import Devices, choose_devices
from vocalremix.training.recipe import Data, Recipe, select_windows
from vocalremix.util import imports
from vocalremix.util.files import publish
from vocalremix.util.lock import only_one
from vocalremix.util.values import SAMPLE_RATE
from vocalremix.windows.table import read_utterances


def train(
    recipe: Recipe,
    settings: Settings,
    data: Data,
    store: Store,
    tags: Mapping[str, str],
    start: Path | None,
    destination: Path,
) -> None:
    """Train by a recipe, from the checkpoint at `start` or from scratch, and save checkpoint and history.

    Interrupted, it leaves `destination` untouched and goes on from its last epoch when called again. Raises
    InputError for data, checkpoints or hardware that do not fit. Waits while another process is at the same training.
    """
    profile, target = settings.profile, settings.params.target
    # three windows cannot be shared out (thesis 5.1: on a single GPU)
    one_device = {"devices": 1} if recipe.overfit else {}
    devices = choose_devices(profile.compute.model_copy(update=one_device))
    # an overfit run takes few steps: an average over thousands would hold its first weights
    unaveraged = {"ema_decay": 0.0} if recipe.overfit else {}
    common = profile.training.common.model_copy(update=unaveraged)
    n_epochs = sum(phase.epochs for phase in recipe.schedule)
    last = (max(n_epochs - recipe.last[0], 0), recipe.last[1]) if recipe.last else None
    if last or recipe.schedule[0].epoch_examples:
        common = common.model_copy(update={"patience": None})
    batch = common.batch_size * common.accumulate
    train_windows, valid_windows = select_windows(recipe, data, profile.sad.step_s, batch)
    torch.manual_seed(recipe.seed)
    model = checkpoint.load_initial(start, profile.model, target) if start else build(profile.model, target)
    if profile.compute.checkpoint_activations:
        model.checkpoint_activations()
    examples = RemixDataset(
        data.music,
        data.copies,
        train_windows,
        data.speech,
        target=target,
        crop_samples=model.chunk_samples,
        window_s=profile.sad.window_s,
        remixes=recipe.remixes,
        last=last,
        beats=data.beats,
        seed=recipe.seed,
        training=recipe.stage,
    )
    validation = None
    if len(valid_windows):
        validation = ValidationDataset(
            data.music, valid_windows, target=target, crop_samples=model.chunk_samples, window_s=profile.sad.window_s
        )
    description = _description(recipe, settings, common, devices, model, train_windows, valid_windows)
    description["data_digest"] = "-".join(digest for _, digest in sorted(data.digests.items()))
    of_model = {f"model.{key}": value for key, value in model.config.model_dump(mode="json").items()}
    # threads decide the order of sums on a CPU only, and a job may go on where there are others
    decisive = description if devices.accelerator == "cpu" else description | {"cpu_threads": None}
    of_remixes = {Path(inspect.getfile(type(remix))) for _, remixes in _phases(recipe) for remix in remixes.values()}
    code = imports.digest(sorted({*imports.deciding_files(Path(__file__)), *of_remixes}))
    scratch = store.root / "scratch" / _digest([recipe.stage, decisive, of_model, code], model.state_dict())
    data_sets = _data_sets(data, train_windows, valid_windows, profile.sad.window_s)
    sweep_of = checkpoint.read_metadata(start)["mlflow_run_id"] if start and recipe.stage == "sweep" else None
    # two queued experiments of a fresh clone both need the initial checkpoint, say
    alone = only_one(scratch.with_suffix(".lock"), "at this very training")
    with (
        alone if loop.is_main_process() else nullcontext(),
        _tracked(recipe, store, tags, description | of_model, scratch, data_sets, sweep_of) as run,
    ):
        outcome = loop.fit(
            model,
            examples,
            validation,
            schedule=recipe.schedule,
            common=common,
            devices=devices,
            workers=profile.workers,
            scratch=scratch,
            name=recipe.name,
            on_epoch=lambda row: run.log_metrics(row, step=int(row["epoch"])) if run else None,
        )
        if run is None or outcome is None:
            return
        summary = _summary(outcome, devices.count, profile.price_per_gpu_hour)
        run.log_metrics(summary)
        metadata = {"mlflow_run_id": run.run_id, "git_commit": tags["git.commit"], **description, **summary}
        with publish(destination) as partial:
            checkpoint.save(partial, model, metadata=metadata)
            pd.DataFrame(outcome.history).to_csv(partial / "history.csv", index=False)
            train_windows.to_csv(partial / "windows.csv", index=False)
        run.log_file(destination, CHECKPOINT)
        shutil.rmtree(scratch)


def import_initial(
    source: Path, recipe: Recipe, settings: Settings, store: Store, tags: Mapping[str, str], destination: Path
) -> None:
    """Take a finished checkpoint, ours or amanteur's, as the study's initial one.

    Raises InputError where it does not fit the profile's model or the target.
    """
    model = checkpoint.load_initial(source, settings.profile.model, settings.params.target)
    description = {"source": source.name, "target": settings.params.target}
    tags = {**tags, "stage": recipe.stage}
    with open_run(store, recipe.title, params=description, tags=tags, run_id_file=None) as run:
        checkpoint.save(destination, model, metadata={"mlflow_run_id": run.run_id, **description})
        run.log_file(destination, CHECKPOINT)


def _description(
    recipe: Recipe,
    settings: Settings,
    common: Common,
    devices: Devices,
    model: SeparationModel,
    train_windows: pd.DataFrame,
    valid_windows: pd.DataFrame,
) -> dict[str, Any]:
    """All that decides a training's result but model and initial weights, as flat names and values."""
    settings_in_use = {
        "target": settings.params.target,
        "remix": recipe.policy,
        "mix_prob": recipe.remixes["classic"].prob,
        "speech_remix_prob": recipe.remixes["speech"].prob,
        "data_fraction": recipe.data_fraction,
        "songs_seed": recipe.songs_seed,
        "seed": recipe.seed,
        "schedule": json.dumps([phase.model_dump() for phase in recipe.schedule]),
        "accelerator": devices.accelerator,
        "devices": devices.count,
        "precision": devices.precision,
        "cpu_threads": devices.cpu_threads,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_train_windows": len(train_windows.drop_duplicates()),
        "n_train_songs": train_windows.song.nunique(),
        "n_valid_windows": len(valid_windows),
        "windows_digest": hashlib.sha256(pd.concat([train_windows, valid_windows]).to_csv().encode()).hexdigest()[:16],
    }
    of_remixes = {
        f"remix.{phase}{name}.{key}": value
        for phase, remixes in _phases(recipe)
        for name, remix in remixes.items()
        for key, value in remix.model_dump(mode="json").items()
    }
    if recipe.last:
        of_remixes["remix.last.epochs"] = recipe.last[0]
    return settings_in_use | of_remixes | common.model_dump() | settings.profile.sad.model_dump()


def _phases(recipe: Recipe) -> list[tuple[str, Mapping[str, Remix]]]:
    """The remixes of a training, those of its last epochs by that name."""
    return [("", recipe.remixes), *([("last.", recipe.last[1])] if recipe.last else [])]


def _data_sets(data: Data, train_windows: pd.DataFrame, valid_windows: pd.DataFrame, window_s: float) -> list[DataSet]:
    """What the training reads, as MLflow shows it."""

    def data_set(
        folder: Path, context: Literal["training", "validation"], content: str, profile: dict[str, float]
    ) -> DataSet:
        audio = {folder, data.copies} if folder == data.music else {folder}
        digests = [data.digests.get(path.name, "") for path in sorted(filter(None, audio))]
        digest = hashlib.sha256("-".join([content, *digests]).encode()).hexdigest()[:8]
        # DVC's temporary clones go away, the path within the repository stays
        return DataSet(f"{data.name} {folder.name}".strip(), digest, context, os.path.relpath(folder), profile)

    def music(windows: pd.DataFrame, context: Literal["training", "validation"]) -> DataSet:
        windows = windows.drop_duplicates()
        steps_s = windows.sort_values("start_sample").groupby(["song", "copy"]).start_sample.diff() / SAMPLE_RATE
        # neighbouring windows overlap
        hours = float(steps_s.fillna(window_s).clip(upper=window_s).sum() / 3600)
        profile = {"songs": windows.song.nunique(), "windows": len(windows), "hours": round(hours, 3)}
        return data_set(data.music, context, windows.to_csv(), profile)

    data_sets = [music(train_windows, "training")]
    if len(valid_windows):
        data_sets.append(music(valid_windows, "validation"))
    if data.speech:
        utterances = read_utterances(data.speech)
        hours = float(utterances.n_samples.sum() / SAMPLE_RATE / 3600)
        size = {"speakers": utterances.speaker.nunique(), "utterances": len(utterances), "hours": round(hours, 3)}
        data_sets.append(data_set(data.speech, "training", utterances.to_csv(), size))
    return data_sets


def _digest(description: Sequence[Any], weights: Mapping[str, torch.Tensor]) -> str:
    """Names the scratch of a training; two trainings share it only if they would end with the same weights."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode())
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _summary(outcome: loop.Outcome, n_devices: int, price_per_gpu_hour: float | None) -> dict[str, float]:
    """What a training came to: best validation, time and, where a price is set, cost (thesis figure 5.1)."""
    hours = sum(row["seconds"] for row in outcome.history) / 3600
    best = next(row for row in outcome.history if row["epoch"] == outcome.best_epoch)
    summary = {"best_epoch": outcome.best_epoch, "epochs": len(outcome.history), "device_hours": hours * n_devices}
    if loop.MONITOR in best:
        summary["best_valid_usdr_db"] = best[loop.MONITOR]
    if price_per_gpu_hour is not None:
        summary["cost"] = hours * n_devices * price_per_gpu_hour
    return summary


@contextmanager
def _tracked(
    recipe: Recipe,
    store: Store,
    tags: Mapping[str, str],
    description: Mapping[str, Any],
    scratch: Path,
    data_sets: Sequence[DataSet],
    sweep_of: str | None,
) -> Iterator[Run | None]:
    """The training's MLflow run, in the process that speaks for it."""
    if not loop.is_main_process():
        yield None
        return
    with open_run(
        store,
        recipe.title,
        params=description,
        tags={**tags, "stage": recipe.stage},
        run_id_file=scratch / "mlflow_run_id",
        data_sets=data_sets,
        sweep_of=sweep_of,
    ) as run:
        yield run
