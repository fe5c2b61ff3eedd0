"""MLflow runs: one store whoever comes first, one history however often a training is interrupted."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import pytest

from vocalremix import tracking
from vocalremix.errors import InputError
from vocalremix.mlflow_view import sweep_view
from vocalremix.tracking import DataSet, Store, add_report, add_scores, download_checkpoint, open_run

CREATE = """
import sys, pathlib
from vocalremix.tracking import Store, open_run
store = Store(pathlib.Path(sys.argv[1]), "study")
tags = {"stage": "sweep", "profile": "demo"}
with open_run(store, sys.argv[2], params={}, tags=tags, run_id_file=None, sweep_of="5eed") as run:
    run.log_metrics({"number": float(sys.argv[2])})
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path, "study")


def test_a_run_holds_what_it_was_given(store: Store, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with open_run(store, "train", params={"a": 0.1}, tags={"stage": "train"}, run_id_file=None) as run:
        run.log_metrics({"loss": 2.0, "odd": float("nan")}, step=3)
        run.log_file(tmp_path / "config.json", "settings")
    stored = store.client().get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "train"
    assert stored.data.params == {"a": "0.1"}
    assert stored.data.tags["stage"] == "train"
    assert [(point.step, point.value) for point in store.client().get_metric_history(run.run_id, "loss")] == [(3, 2.0)]
    assert [file.path for file in store.client().list_artifacts(run.run_id, "settings")] == ["settings/config.json"]
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED"), (ValueError(), "FAILED")]
)
def test_an_interrupted_run_is_taken_up_again(store: Store, tmp_path: Path, error: BaseException, status: str) -> None:
    file = tmp_path / "run_id"
    with pytest.raises(type(error)), open_run(store, "train", params={}, tags={}, run_id_file=file) as first:
        first.log_metrics({"loss": 1.0}, step=0)
        raise error
    assert store.client().get_run(first.run_id).info.status == status
    with open_run(store, "train", params={}, tags={}, run_id_file=file) as second:
        second.log_metrics({"loss": 0.5}, step=1)
    assert second.run_id == first.run_id
    assert store.client().get_run(first.run_id).info.status == "FINISHED"
    assert [point.value for point in store.client().get_metric_history(first.run_id, "loss")] == [1.0, 0.5]


def test_a_run_of_another_store_is_not_resumed(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "run_id"
    file.write_text("0" * 32)
    with open_run(store, "train", params={}, tags={}, run_id_file=file) as run:
        pass
    assert file.read_text() == run.run_id != "0" * 32


def test_scores_join_the_trainings_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "song.flac").write_bytes(b"")
    files = {"scores": [tmp_path / "summary.json"], "excerpt": [tmp_path / "song.flac"]}
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
        pass
    assert add_scores(store, run.run_id, {"test_usdr_db": 7.1}, files)
    assert not add_scores(store, "0" * 32, {"test_usdr_db": 7.1}, files)
    stored = store.client().get_run(run.run_id)
    assert stored.data.metrics == {"test_usdr_db": 7.1}
    assert stored.info.status == "FINISHED"
    assert (tmp_path / "mlartifacts" / run.run_id / "artifacts/excerpt/song.flac").is_file()


def test_what_somebody_deleted_in_the_ui_stops_nothing(store: Store) -> None:
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
        pass
    client = store.client()
    client.delete_run(run.run_id)
    assert not add_scores(store, run.run_id, {"test_usdr_db": 7.1}, {})
    client.delete_experiment(store.experiment_id(client))
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as later:
        pass
    assert client.get_run(later.run_id).info.status == "FINISHED"
    assert client.get_experiment_by_name("study").lifecycle_stage == "active"


def test_a_run_names_the_data_it_read(store: Store, tmp_path: Path) -> None:
    songs = DataSet("demo music", "12ab34cd", "training", "data/demo/music", {"songs": 8, "hours": 0.25})
    held_out = DataSet("demo music", "00000000", "validation", "data/demo/music", {"songs": 2, "hours": 0.1})
    file = tmp_path / "run_id"
    for number in range(2):
        options = {"params": {}, "tags": {}, "run_id_file": file if number else None}
        with open_run(store, "train", data_sets=[songs, held_out], **options) as run:
            pass
        inputs = store.client().get_run(run.run_id).inputs.dataset_inputs
        found = {(given.dataset.name, given.dataset.digest, given.tags[0].key, given.tags[0].value) for given in inputs}
        assert found == {
            ("demo music", "12ab34cd", "mlflow.data.context", "training"),
            ("demo music", "00000000", "mlflow.data.context", "validation"),
        }
        sizes = {given.dataset.digest: json.loads(given.dataset.profile) for given in inputs}
        assert sizes["12ab34cd"] == {"songs": 8, "hours": 0.25}
    with open_run(store, "train", params={}, tags={}, run_id_file=file, data_sets=[songs, held_out]) as resumed:
        pass
    assert resumed.run_id == run.run_id
    assert len(store.client().get_run(run.run_id).inputs.dataset_inputs) == 2, "resumed, it read the same data"


def test_a_resumed_cell_keeps_its_place_in_the_sweep(store: Store, tmp_path: Path) -> None:
    options = {"params": {}, "tags": {}, "run_id_file": tmp_path / "run_id", "sweep_of": "first"}
    with pytest.raises(KeyboardInterrupt), open_run(store, "cell", **options) as cell:
        raise KeyboardInterrupt
    sweep = store.client().get_run(cell.run_id).data.tags["mlflow.parentRunId"]
    with open_run(store, "cell", **options):
        pass
    assert store.client().get_run(cell.run_id).data.tags["mlflow.parentRunId"] == sweep
    with open_run(store, "cell", params={}, tags={}, run_id_file=None, sweep_of="first") as later:
        pass
    with open_run(store, "cell", params={}, tags={}, run_id_file=None, sweep_of="second") as other:
        pass
    assert store.client().get_run(later.run_id).data.tags["mlflow.parentRunId"] == sweep
    assert store.client().get_run(other.run_id).data.tags["mlflow.parentRunId"] != sweep


def test_a_report_goes_to_the_sweep_it_is_about(store: Store, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/sweep.png").write_bytes(b"")
    (tmp_path / "verdicts.md").write_text("cannot tell")
    report = [tmp_path / "verdicts.md", tmp_path / "figures"]
    assert not add_report(store, "first", "exp", report)
    with open_run(store, "cell", params={}, tags={}, run_id_file=None, sweep_of="first") as cell:
        pass
    assert add_report(store, "first", "exp", report)
    (tmp_path / "verdicts.md").write_text("up")
    assert add_report(store, "first", "later", report)
    client = store.client()
    sweep = client.get_run(client.get_run(cell.run_id).data.tags["mlflow.parentRunId"])
    for folder, file in (
        ("report/exp", "verdicts.md"),
        ("report/exp/figures", "sweep.png"),
        ("report/later", "figures"),
    ):
        assert f"{folder}/{file}" in [found.path for found in client.list_artifacts(sweep.info.run_id, folder)]
    first = client.download_artifacts(sweep.info.run_id, "report/exp/verdicts.md", str(tmp_path))
    assert Path(first).read_text() == "cannot tell"


def test_a_checkpoint_is_fetched_by_its_runs_id(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "runs/train"
    made.mkdir(parents=True)
    (made / "model.json").write_text("{}")
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
        run.log_file(made, "checkpoint")
    for attempt in ("once", "twice"):
        fetched = download_checkpoint(tmp_path, run.run_id, tmp_path / attempt)
        assert fetched.is_relative_to(tmp_path / attempt)
        assert [(file.name, file.read_text()) for file in fetched.iterdir()] == [("model.json", "{}")]


def test_a_checkpoint_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^abc: no MLflow store at .*mlflow\.db; "):
        download_checkpoint(tmp_path, "abc", tmp_path / "out")
    assert not (tmp_path / "mlflow.db").exists()
    with open_run(store, "sweep", params={}, tags={}, run_id_file=None) as run:
        pass
    for unknown in ("0" * 32, "no/id", ""):
        with pytest.raises(InputError, match=f"^{unknown}: no such run in sqlite:") as refused:
            download_checkpoint(tmp_path, unknown, tmp_path / "out")
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=f"^{run.run_id}: the run has no checkpoint; "):
        download_checkpoint(tmp_path, run.run_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_view_of_the_sweep_waits_in_the_ui_and_is_left_as_its_user_saves_it(store: Store) -> None:
    client = store.client()
    (tag,) = sweep_view()
    saved = client.get_experiment(store.experiment_id(client)).tags
    assert json.loads(saved[tag])["name"] == "sweep"
    client.set_experiment_tag(store.experiment_id(client), tag, "overridden")
    store.client()
    assert client.get_experiment(store.experiment_id(client)).tags[tag] == "overridden"


def test_a_tracking_uri_of_the_environment_wins(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    store.client()
    assert (tmp_path / "elsewhere.db").is_file()
    assert not (tmp_path / "mlflow.db").exists()


def test_four_cells_may_create_the_store_and_their_sweep_at_once(store: Store, tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path), str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = store.experiment_id(client)
    cells = client.search_runs([experiment], "tags.stage = 'sweep'")
    assert sorted(run.data.metrics["number"] for run in cells) == [0, 1, 2, 3]
    (sweep,) = client.search_runs([experiment], "tags.stage != 'sweep'")
    assert (sweep.info.run_name, sweep.info.status) == ("sweep", "FINISHED")
    assert Counter(run.data.tags["mlflow.parentRunId"] for run in cells) == {sweep.info.run_id: 4}


def test_of_two_machines_at_one_server_the_faster_creates(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other machine's experiment and sweep come between this one's look and its own; a lock here cannot help."""
    find_experiment, find_sweep = mlflow.MlflowClient.get_experiment_by_name, tracking._find_sweep
    looks: list[str] = []

    def too_early(self: mlflow.MlflowClient, name: str) -> Any:
        looks.append(name)
        if len(looks) == 1:
            self.create_experiment(name)
            return None
        return find_experiment(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "get_experiment_by_name", too_early)
        client = store.client()
    older = tracking._sweep(store, client, "initial", "demo")
    answers = iter([lambda *_: None, find_sweep])
    monkeypatch.setattr(tracking, "_find_sweep", lambda *known: next(answers)(*known))
    assert tracking._sweep(store, client, "initial", "demo") == older
    assert len(client.search_runs([store.experiment_id(client)], "tags.stage = 'sweep_parent'")) == 1
