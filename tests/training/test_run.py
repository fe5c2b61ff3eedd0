"""Which windows a training sees, and that two trainings never share a scratch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import yaml

from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import AXES, Cell, Params, Phase, Profile, Settings
from vocalremix.models import bsrnn
from vocalremix.remix.base import Remix
from vocalremix.tracking.store import Store
from vocalremix.tracking.view import sweep_view
from vocalremix.training import checkpoint
from vocalremix.training.recipe import Data, Recipe, select_windows, thesis_remixes
from vocalremix.training.run import import_initial, train
from vocalremix.util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"git.commit": "0" * 40}
STEP_S = 0.5


def settings(**compute: Any) -> Settings:
    """The demo's settings with the tiny model and corpus."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = yaml.safe_load((ROOT / "profiles/demo.yaml").read_text())
    profile |= {"model": tiny.CONFIG.model_dump(), "workers": 0}
    profile["sad"] |= {"window_s": tiny.WINDOW_S, "step_s": STEP_S}
    profile["separation"]["hop_s"] = 0.1
    profile["training"]["common"] = tiny.COMMON.model_dump()
    profile["compute"] |= compute
    return Settings(Params.model_validate(params), Profile.model_validate(profile))


def remixes(mix_prob: float = 0.5) -> dict[str, Remix]:
    return thesis_remixes(settings().params, mix_prob, speech_remix_prob=0)


def recipe(**changes: Any) -> Recipe:
    options: dict[str, Any] = {
        "name": "initial",
        "stage": "initial",
        "schedule": tiny.SCHEDULE,
        "remixes": remixes(),
        "seed": 3,
    }
    return Recipe(**options | changes)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Songs A, B, C in train and D in valid, each with a copy that has three windows."""
    windows = tiny.write_music(tmp_path / "music")
    windows.to_csv(tmp_path / "index.csv", index=False)
    copies = windows[windows.start_sample < 3 * 22050].assign(copy="shift_+1")
    (tmp_path / "augmented").mkdir()
    copies.to_csv(tmp_path / "augmented/windows.csv", index=False)
    return Data(tmp_path / "music", tmp_path / "index.csv", tmp_path / "augmented")


def seen(windows: pd.DataFrame) -> set[tuple[str, str]]:
    return set(windows[["song", "copy"]].itertuples(index=False, name=None))


def test_a_copy_follows_its_song_and_never_crosses_into_training(data: Data) -> None:
    """The author's final run trained on copies of validation songs (FACTS: leak)."""
    training, validation = select_windows(recipe(), data, STEP_S)
    assert seen(training) == {(song, copy) for song in "ABC" for copy in ("", "shift_+1")}
    assert seen(validation) == {("D", "")}, "validation is on the songs themselves"
    assert len(training) == 3 * (4 + 3)


def test_the_full_training_takes_the_validation_songs_and_validates_on_none(data: Data) -> None:
    training, validation = select_windows(recipe(parts=("train", "valid")), data, STEP_S)
    assert {song for song, _ in seen(training)} == set("ABCD")
    assert validation.empty


def test_a_share_of_the_songs_takes_their_copies_along(data: Data) -> None:
    training, validation = select_windows(recipe(data_fraction=0.3), data, STEP_S)
    ((song,), copies) = set(training.song), set(training["copy"])
    assert song in "ABC"
    assert copies == {"", "shift_+1"}
    assert set(validation.song) == {"D"}


@pytest.mark.parametrize("seed", range(5))
def test_a_cell_of_any_seed_hears_the_songs_its_initial_checkpoint_heard(data: Data, seed: int) -> None:
    heard, _ = select_windows(recipe(data_fraction=0.3, songs_seed=42), data, STEP_S)
    cell, _ = select_windows(recipe(data_fraction=0.6, songs_seed=42, seed=seed), data, STEP_S)
    assert set(heard.song) < set(cell.song)


def test_overfit_is_three_windows_in_a_row_of_one_song(data: Data) -> None:
    training, validation = select_windows(recipe(overfit=True), data, STEP_S)
    assert validation[["song", "start_sample"]].values.tolist() == [["A", 0], ["A", 22050], ["A", 44100]]
    assert training.drop_duplicates().equals(validation)


@pytest.mark.parametrize(("starts", "first"), [((0, 2, 4, 6), None), ((0, 2, 3, 4, 6), 2), ((0, 1, 3, 4, 5), 3)])
def test_overfit_windows_follow_by_the_step_of_the_index(
    data: Data, starts: tuple[int, ...], first: int | None
) -> None:
    """Salient windows two steps apart are no windows in a row, also where a song has no closer ones."""
    step = round(STEP_S * 44100)
    rows = [("train", "A", "", start * step) for start in starts]
    pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"]).to_csv(data.windows, index=False)
    if first is None:
        with pytest.raises(InputError, match="no training song has three salient windows in a row"):
            select_windows(recipe(overfit=True), data, STEP_S)
        return
    _, excerpt = select_windows(recipe(overfit=True), data, STEP_S)
    assert excerpt.start_sample.tolist() == [step * (first + n) for n in range(3)]


def test_overfit_fills_any_batch(data: Data) -> None:
    training, validation = select_windows(recipe(overfit=True), data, STEP_S, batch=50)
    assert len(training) == 51
    assert training.drop_duplicates().equals(validation)


def test_overfit_keeps_the_weights_that_learned(data: Data, tmp_path: Path) -> None:
    """An average would be of the first steps: of eighteen with 0.999, almost all of it."""
    own, weights = settings(), []
    for decay in (0.2, 0.999):
        common = own.profile.training.common.model_copy(update={"ema_decay": decay})
        training = own.profile.training.model_copy(update={"common": common})
        averaged = replace(own, profile=own.profile.model_copy(update={"training": training}))
        out = tmp_path / str(decay)
        train(recipe(overfit=True), averaged, data, Store(tmp_path, "study"), TAGS, None, out)
        assert checkpoint.read_metadata(out)["ema_decay"] == 0
        weights.append(tiny.weights(checkpoint.load(out)))
    assert torch.equal(*weights)


def test_overfit_needs_three_windows_in_a_row(data: Data, tmp_path: Path) -> None:
    windows = pd.read_csv(data.windows, keep_default_na=False)
    windows[windows.start_sample != 22050].query("start_sample < 66150").to_csv(data.windows, index=False)
    with pytest.raises(InputError, match="no training song has three salient windows in a row"):
        select_windows(recipe(overfit=True), data, STEP_S)


def test_a_training_leaves_a_checkpoint_that_loads_and_says_where_it_comes_from(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "runs/initial"
    train(recipe(), settings(), data, Store(tmp_path, "study"), TAGS, None, out)
    metadata = checkpoint.read_metadata(out)
    assert metadata["git_commit"] == "0" * 40
    assert (metadata["n_train_songs"], metadata["n_train_windows"]) == (3, 21)
    history = pd.read_csv(out / "history.csv")
    assert history.epoch.tolist() == [0, 1, 2]
    assert metadata["best_valid_usdr_db"] == pytest.approx(history.valid_usdr_db.max())
    model = checkpoint.load(out)
    assert model.target == "vocals"
    assert not list((tmp_path / "scratch").iterdir())
    copied = tmp_path / "runs/imported"
    import_initial(out, recipe(), settings(), Store(tmp_path, "study"), TAGS, copied)
    assert torch.equal(tiny.weights(checkpoint.load(copied)), tiny.weights(model))


@pytest.mark.parametrize(("epoch_examples", "n_epochs"), [(None, 2), (6, 4)])
def test_epochs_of_so_many_examples_are_all_gone_through(
    data: Data, tmp_path: Path, epoch_examples: int | None, n_epochs: int
) -> None:
    """A rate that ruins the model after the first epoch ends the training at patience 1, or not."""
    phases = ({"epochs": 1, "learning_rate": 1e-3}, {"epochs": 3, "learning_rate": 30.0})
    own = settings()
    hurried = own.profile.training.common.model_copy(update={"patience": 1})
    training = own.profile.training.model_copy(update={"common": hurried})
    own = replace(own, profile=own.profile.model_copy(update={"training": training}))
    schedule = tuple(Phase(**phase, epoch_examples=epoch_examples) for phase in phases)
    train(recipe(schedule=schedule), own, data, Store(tmp_path, "study"), TAGS, None, tmp_path / "out")
    metadata = checkpoint.read_metadata(tmp_path / "out")
    assert (metadata["epochs"], metadata["best_epoch"]) == (n_epochs, 0)
    assert metadata["patience"] == (None if epoch_examples else 1)
    run = Store(tmp_path, "study").client().get_run(metadata["mlflow_run_id"])
    assert json.loads(run.data.params["schedule"])[0]["epoch_examples"] == epoch_examples


def test_recomputing_activations_is_the_same_training(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs of ten steps through two sequences; validation, without gradients, recomputes nothing."""
    recomputed: list[Any] = []

    def counted(*arguments: Any) -> Any:
        recomputed.append(arguments)
        return recompute(*arguments)

    recompute = bsrnn._recomputed
    monkeypatch.setattr(bsrnn, "_recomputed", counted)
    models = []
    for wanted, calls in ((False, 0), (True, 3 * 10 * 2)):
        out = tmp_path / str(wanted)
        train(recipe(), settings(checkpoint_activations=wanted), data, Store(tmp_path, "study"), TAGS, None, out)
        assert len(recomputed) == calls
        assert checkpoint.read_metadata(out)["accumulate"] == 1
        models.append(checkpoint.load(out))
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    assert torch.equal(tiny.weights(models[0]), tiny.weights(models[1]))


def test_what_a_training_read_stands_in_mlflow(data: Data, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    columns = {"speaker": ["1", "1", "2"], "utterance": list("abc"), "start_sample": 0, "n_samples": 44100, "peak": 1.0}
    pd.DataFrame(columns).to_csv(tmp_path / "speech/utterances.csv", index=False)
    for speaker in "12":
        write_pcm16(tmp_path / f"speech/{speaker}.wav", np.full((1, 88200), 0.1))
    store = Store(tmp_path, "study")
    train(recipe(), settings(), data, store, TAGS, None, tmp_path / "runs/initial")
    digests = {"music": "m", "speech": "s"}
    full = replace(data, speech=tmp_path / "speech", name="demo", digests=digests)
    mixed = thesis_remixes(settings().params, 0.5, speech_remix_prob=0.5)
    cell = recipe(name="sweep/x", stage="sweep", remixes=mixed, policy="thesis")
    train(cell, settings(), full, store, TAGS, tmp_path / "runs/initial", tmp_path / "runs/sweep/x")
    client = store.client()
    runs = {run.data.tags["stage"]: run for run in client.search_runs([store.experiment_id(client)])}
    assert runs["sweep"].data.tags["mlflow.parentRunId"] == runs["sweep_parent"].info.run_id
    assert runs["sweep_parent"].data.tags["sweep.initial"] == runs["initial"].info.run_id
    (view,) = (json.loads(json.loads(tag)["state"]) for tag in sweep_view().values())
    logged = {f"params.`{name}`" for name in runs["sweep"].data.params}
    logged |= {f"metrics.`{name}`" for name in runs["sweep"].data.metrics}
    assert {column for column in view["selectedColumns"] if "test_" not in column} <= logged
    parallel, scatter, _, curves = view["compareRunCharts"]
    assert {*parallel["selectedParams"], scatter["xaxis"]["key"]} <= set(runs["sweep"].data.params)
    assert {curves["metricKey"], "best_valid_usdr_db"} <= set(runs["sweep"].data.metrics)
    sizes = {
        (given.dataset.name, given.tags[0].value): json.loads(given.dataset.profile)
        for given in runs["sweep"].inputs.dataset_inputs
    }
    # each song's windows cover 2 s, each copy's first three 1.5 s
    hours = pytest.approx(3 * (2 + 1.5) / 3600, abs=1e-3)
    assert sizes["demo music", "training"] == {"songs": 3, "windows": 21, "hours": hours}
    assert sizes["demo music", "validation"]["songs"] == 1
    assert sizes["demo speech", "training"] == {"speakers": 2, "utterances": 3, "hours": pytest.approx(0.001)}
    digest = {
        stage: {given.tags[0].value: given.dataset.digest for given in runs[stage].inputs.dataset_inputs[:2]}
        for stage in ("initial", "sweep")
    }
    assert len({*digest["initial"].values(), *digest["sweep"].values()}) == 4, "the audio's state is part of the digest"


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "speech_remix_prob=0.2 seed=42"),
        ({"mix_prob": 0.5}, "speech_remix_prob=0.2 mix_prob=0.5 seed=42"),
        ({"data_fraction": 0.25}, "speech_remix_prob=0.2 data_fraction=0.25 seed=42"),
        ({"remix": "umx"}, "remix=umx speech_remix_prob=0.2 seed=42"),
        ({"data_fraction": 0.25, "songs_seed": 1}, "speech_remix_prob=0.2 data_fraction=0.25 songs_seed=1 seed=42"),
    ],
)
def test_a_cell_is_called_by_what_sets_it_apart(changes: dict[str, Any], title: str) -> None:
    cell = Cell("thesis", 0.2, 0.8, 1, 42, 42)
    assert replace(cell, **changes).title == title
    sweep = yaml.safe_load((ROOT / "params.yaml").read_text())["sweep"]
    usual = {name: [axis.usual] for name, axis in AXES.items() if axis.usual is not None}
    assert usual == {name: sweep[name] for name in usual}


def test_fine_tuning_starts_from_the_checkpoint(data: Data, tmp_path: Path) -> None:
    store = Store(tmp_path, "study")
    train(recipe(), settings(), data, store, TAGS, None, tmp_path / "initial")
    still = (tiny.SCHEDULE[0].model_copy(update={"epochs": 1, "learning_rate": 1e-12}),)
    train(recipe(schedule=still), settings(), data, store, TAGS, tmp_path / "initial", tmp_path / "again")
    torch.testing.assert_close(
        tiny.weights(checkpoint.load(tmp_path / "again")), tiny.weights(checkpoint.load(tmp_path / "initial"))
    )


def test_asking_for_what_does_not_fit(data: Data, tmp_path: Path) -> None:
    store = Store(tmp_path, "study")
    train(recipe(), settings(), data, store, TAGS, None, tmp_path / "initial")
    drums = Settings(settings().params.model_copy(update={"target": "drums"}), settings().profile)
    with pytest.raises(InputError, match="extracts vocals, not drums"):
        train(recipe(), drums, data, store, TAGS, tmp_path / "initial", tmp_path / "out")
    wider = settings().profile.model_copy(update={"model": tiny.CONFIG.model_copy(update={"features": 8})})
    with pytest.raises(InputError, match="made with features 4 instead of 8"):
        train(recipe(), Settings(settings().params, wider), data, store, TAGS, tmp_path / "initial", tmp_path / "out")
    assert not (tmp_path / "out").exists()
