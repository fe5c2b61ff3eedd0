"""MLflow runs: one store whoever comes first, one history however often a training is interrupted."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from vocalremix.tracking import Store, add_scores, open_run

CREATE = """
import sys, pathlib
from vocalremix.tracking import Store, open_run
store = Store(pathlib.Path(sys.argv[1]), "study")
with open_run(store, sys.argv[2], params={}, tags={}, run_id_file=None) as run:
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
        run.log_file(tmp_path / "config.json")
    stored = store.client().get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "train"
    assert stored.data.params == {"a": "0.1"}
    assert stored.data.tags["stage"] == "train"
    assert [(point.step, point.value) for point in store.client().get_metric_history(run.run_id, "loss")] == [(3, 2.0)]
    assert [file.path for file in store.client().list_artifacts(run.run_id)] == ["config.json"]
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
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/summary.json").write_text("{}")
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
        pass
    assert add_scores(store, run.run_id, {"test_usdr_db": 7.1}, tmp_path / "scores")
    assert not add_scores(store, "0" * 32, {"test_usdr_db": 7.1}, tmp_path / "scores")
    stored = store.client().get_run(run.run_id)
    assert stored.data.metrics == {"test_usdr_db": 7.1}
    assert stored.info.status == "FINISHED"


def test_a_tracking_uri_of_the_environment_wins(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    store.client()
    assert (tmp_path / "elsewhere.db").is_file()
    assert not (tmp_path / "mlflow.db").exists()


def test_four_processes_may_create_the_store_at_once(store: Store, tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path), str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([store.experiment_id(client)])
    assert sorted(run.data.metrics["number"] for run in runs) == [0, 1, 2, 3]
