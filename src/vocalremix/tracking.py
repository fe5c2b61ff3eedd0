"""MLflow: one run per training, in one store, whoever starts it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from vocalremix.errors import InputError
from vocalremix.mlflow_view import sweep_view

CHECKPOINT = "checkpoint"
SWEEP_OF = "sweep.initial"
SWEEP_STAGE = "sweep_parent"


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
        both happen under a lock. Machines that share a server do not see it: of them, the faster one creates.
        """
        uri = _uri(self.root)
        with self.locked():
            client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
                client.restore_experiment(experiment.experiment_id)
            elif experiment is None:
                artifacts = (self.root / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
                # opens MLflow's UI on runs and charts rather than on its pages for language models
                tags = {"mlflow.experimentKind": "custom_model_development"} | sweep_view()
                try:
                    client.create_experiment(self.experiment, artifact_location=artifacts, tags=tags)
                except MlflowException:
                    if client.get_experiment_by_name(self.experiment) is None:
                        raise
        return client

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from creating what this one finds missing."""
        with (self.root / "mlflow.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def experiment_id(self, client: mlflow.MlflowClient) -> str:
        """The id under which MLflow keeps the experiment."""
        experiment = client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        return str(experiment.experiment_id)


@dataclass(frozen=True)
class DataSet:
    """What a run read, for MLflow's column of data sets; `name` and `digest` (at most 36 characters) identify it."""

    name: str
    digest: str
    context: Literal["training", "validation"]
    source: str
    profile: Mapping[str, float]
    """Its size: numbers of songs, hours and the like."""

    def as_input(self) -> DatasetInput:
        """MLflow's own form of it."""
        source = json.dumps({"uri": self.source})
        dataset = Dataset(self.name, self.digest, "local", source, profile=json.dumps(dict(self.profile)))
        return DatasetInput(dataset, [InputTag("mlflow.data.context", self.context)])


class Run:
    """One MLflow run that is being written."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str):
        self._client = client
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log finite and non-finite numbers alike at a step (an epoch)."""
        now = round(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def log_file(self, path: Path, folder: str) -> None:
        """Keep a copy of a file, or of all that is in a folder, in the run's `folder`."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)


@contextmanager
def open_run(
    store: Store,
    name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    run_id_file: Path | None,
    data_sets: Sequence[DataSet] = (),
    sweep_of: str | None = None,
) -> Iterator[Run]:
    """Open a new run, or go on with the one that `run_id_file` names: a training killed and resumed is one run.

    The file is written when the run is new; None for work that is never resumed. `sweep_of` puts a run beneath the
    run of the sweep that starts from the training with that run id.

    The run ends FINISHED when the block ends well, KILLED when it is interrupted, else FAILED. A run killed with
    SIGKILL stays RUNNING until it is taken up again.
    """
    client = store.client()
    run = _resumed(client, run_id_file)
    if run is None:
        parent = {"mlflow.parentRunId": _sweep(store, client, sweep_of, tags.get("profile", ""))} if sweep_of else {}
        run = Run(client, client.create_run(store.experiment_id(client), run_name=name).info.run_id)
        client.log_batch(
            run.run_id,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in (parent | dict(tags)).items()],
        )
        client.log_inputs(run.run_id, [data_set.as_input() for data_set in data_sets])
        if run_id_file:
            run_id_file.parent.mkdir(parents=True, exist_ok=True)
            run_id_file.write_text(run.run_id, encoding="utf-8")
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
    run_id = run_id_file.read_text(encoding="utf-8")
    try:
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    except MlflowException:
        # the store was deleted or is another one: start a history of its own
        return None
    return Run(client, run_id)


def _sweep(store: Store, client: mlflow.MlflowClient, initial: str, profile: str) -> str:
    """The id of the run that gathers the cells fine-tuned from one initial run; the first cell makes it.

    Where machines that share a server made one each at the same time, the older counts.
    """
    with store.locked():
        if found := _find_sweep(store, client, initial):
            return found
        note = (
            f"All cells of the sweep that were fine-tuned from the run [initial](#/experiments/"
            f"{store.experiment_id(client)}/runs/{initial}), whenever they were trained."
        )
        tags = {"stage": SWEEP_STAGE, SWEEP_OF: initial, "profile": profile, "mlflow.note.content": note}
        run_id: str = client.create_run(store.experiment_id(client), run_name="sweep", tags=tags).info.run_id
        client.set_terminated(run_id)
        oldest = _find_sweep(store, client, initial)
        if oldest is not None and oldest != run_id:
            client.delete_run(run_id)
            return oldest
        return run_id


def _find_sweep(store: Store, client: mlflow.MlflowClient, initial: str) -> str | None:
    query = f"tags.`{SWEEP_OF}` = '{initial}'"
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    runs = client.search_runs([store.experiment_id(client)], query, max_results=1, order_by=order)
    return runs[0].info.run_id if runs else None


def add_scores(store: Store, run_id: str, scores: Mapping[str, float], files: Mapping[str, Sequence[Path]]) -> bool:
    """Add test scores to a training's run, and files and folders by the run's folder they go to.

    Returns False where this store does not know the run, or where somebody deleted it.
    """
    client = store.client()
    try:
        if client.get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED:
            return False
    except MlflowException:
        return False
    run = Run(client, run_id)
    # MLflow's table shows every digit
    run.log_metrics({name: round(score, 4) for name, score in scores.items()})
    for folder, paths in files.items():
        for path in paths:
            run.log_file(path, f"{folder}/{path.name}" if path.is_dir() else folder)
    return True


def add_report(store: Store, initial: str, name: str, files: Sequence[Path]) -> bool:
    """Add a report's figures and texts to the sweep that starts from the run `initial`; False where there is none.

    They lie under `report/<name>`, so that a later study of the same sweep leaves them as they are.
    """
    sweep = _find_sweep(store, store.client(), initial)
    return sweep is not None and add_scores(store, sweep, {}, {f"report/{name}": files})


def download_checkpoint(root: Path, run_id: str, destination: Path) -> Path:
    """Fetch the checkpoint of a training from the store of the repository at `root`.

    Returns its folder, below `destination`. Raises InputError for a run that the store does not know, and for one
    without a checkpoint: not finished, or no training.
    """
    uri = _uri(root)
    database = Path(uri.removeprefix("sqlite:///"))
    # MLflow would create what it cannot find
    if uri.startswith("sqlite:///") and not database.is_file():
        raise InputError(f"{run_id}: no MLflow store at {database}; run the study, or name a checkpoint folder")
    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        client.get_run(run_id)
    except MlflowException as error:
        raise InputError(f"{run_id}: no such run in {uri}; copy its id from the run's page in MLflow") from error
    if not client.list_artifacts(run_id, CHECKPOINT):
        raise InputError(f"{run_id}: the run has no checkpoint; name the run of a training that has finished")
    destination.mkdir(parents=True, exist_ok=True)
    return Path(client.download_artifacts(run_id, CHECKPOINT, str(destination)))


def _uri(root: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
