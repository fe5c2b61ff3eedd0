"""MLflow: one run per training, in one store, whoever starts it."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException


@dataclass(frozen=True)
class Store:
    """Where runs are kept: `MLFLOW_TRACKING_URI`, or a sqlite file in the repository root.

    `root` is the main repository, also when DVC runs a stage in a temporary clone.
    """

    root: Path
    experiment: str

    def client(self) -> mlflow.MlflowClient:
        """A client whose store and experiment exist.

        Two processes that create a sqlite store at once corrupt it, and two that create an experiment race, so
        both happen under a lock.
        """
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"
        with (self.root / "mlflow.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            client = mlflow.MlflowClient(tracking_uri=uri)
            if client.get_experiment_by_name(self.experiment) is None:
                artifacts = (self.root / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
                # opens MLflow's UI on runs and charts rather than on its pages for language models
                tags = {"mlflow.experimentKind": "custom_model_development"}
                client.create_experiment(self.experiment, artifact_location=artifacts, tags=tags)
        return client

    def experiment_id(self, client: mlflow.MlflowClient) -> str:
        """The id under which MLflow keeps the experiment."""
        experiment = client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        return str(experiment.experiment_id)


class Run:
    """One MLflow run that is being written."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str):
        self._client = client
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log finite and non-finite numbers alike at a step (an epoch)."""
        now = round(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def log_file(self, path: Path) -> None:
        """Keep a copy of a file, or of a folder's files, with the run."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))


@contextmanager
def open_run(
    store: Store, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str], run_id_file: Path | None
) -> Iterator[Run]:
    """Open a new run, or go on with the one that `run_id_file` names: a training killed and resumed is one run.

    The file is written when the run is new; None for work that is never resumed.

    The run ends FINISHED when the block ends well, KILLED when it is interrupted, else FAILED. A run killed with
    SIGKILL stays RUNNING until it is taken up again.
    """
    client = store.client()
    run = _resumed(client, run_id_file)
    if run is None:
        run = Run(client, client.create_run(store.experiment_id(client), run_name=name).info.run_id)
        client.log_batch(
            run.run_id,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if run_id_file:
            run_id_file.write_text(run.run_id)
    status = RunStatus.FAILED
    try:
        yield run
        status = RunStatus.FINISHED
    except (KeyboardInterrupt, SystemExit):
        status = RunStatus.KILLED
        raise
    finally:
        client.set_terminated(run.run_id, RunStatus.to_string(status))


def _resumed(client: mlflow.MlflowClient, run_id_file: Path | None) -> Run | None:
    if run_id_file is None or not run_id_file.is_file():
        return None
    run_id = run_id_file.read_text()
    try:
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    except MlflowException:
        # the store was deleted or is another one: start a history of its own
        return None
    return Run(client, run_id)


def add_scores(store: Store, run_id: str, scores: Mapping[str, float], files: Path) -> bool:
    """Add test scores to a training's run; False where this store does not know the run."""
    client = store.client()
    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    run = Run(client, run_id)
    run.log_metrics(scores)
    run.log_file(files)
    return True
