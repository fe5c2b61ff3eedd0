"""MLflow: one run per training, in one store, whoever starts it."""

import fcntl
import json
import os
import re
import sqlite3
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.db.utils import _get_alembic_config
from sqlalchemy.exc import SQLAlchemyError

from vocalremix.tracking.view import sweep_view
from vocalremix.util.errors import InputError

CHECKPOINT = "checkpoint"
SWEEP_OF = "sweep.initial"
SWEEP_STAGE = "sweep_parent"
BRIEF = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""Enough to see whether a server is there; MLflow's own patience, four minutes, is for the time of a training."""


@dataclass(frozen=True)
class Store:
    """Where runs are kept: `MLFLOW_TRACKING_URI`, or a sqlite file in the repository root.

    `root` is the main repository, also when DVC runs a stage in a temporary clone.
    """

    root: Path
    experiment: str

    def client(self) -> mlflow.MlflowClient:
        """A client whose store and experiment exist; raises InputError where MLflow cannot use the store.

        Two processes that create a sqlite store at once corrupt it, and two that create an experiment race, so
        both happen under a lock. Machines that share a server do not see it: of them, the faster one creates.
        """
        uri = _uri(self.root)
        database = _database(uri)
        with _one_line(self.root):
            _refuse_unwritable(self.root, database)
        with _one_line(self.root), self.locked():
            if database:
                with closing(sqlite3.connect(database)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
            client = _connect(uri)
            self.follow_root()
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
                client.restore_experiment(experiment.experiment_id)
            elif experiment is None:
                artifacts = _artifacts(self.root) if database else None
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

    def follow_root(self) -> None:
        """Let a repository's own store name the artifacts where the repository is now.

        MLflow keeps absolute paths: of a repository that was moved or copied, it would go on reading and writing at
        the old place.
        """
        if not _is_own(self.root):
            return
        with closing(sqlite3.connect(self.root / "mlflow.db", timeout=60)) as connection, connection:
            connection.create_function("here", 1, lambda uri: uri and _here(self.root, uri))
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                elsewhere = f"WHERE {column} != here({column})"
                # an update locks the file, even of no row
                if connection.execute(f"SELECT 1 FROM {table} {elsewhere} LIMIT 1").fetchone():
                    connection.execute(f"UPDATE {table} SET {column} = here({column}) {elsewhere}")

    def experiment_id(self, client: mlflow.MlflowClient) -> str:
        """The id under which MLflow keeps the experiment."""
        experiment = client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        return str(experiment.experiment_id)


def open_store(root: Path, experiment: str) -> Store:
    """A store for what takes long; raises InputError, within seconds, where it could not keep a run."""
    store = Store(root, experiment)
    with _briefly():
        store.client()
    return store


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

    def __init__(self, store: Store, client: mlflow.MlflowClient, run_id: str):
        self._store = store
        self._client = client
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log finite and non-finite numbers alike at a step (an epoch)."""
        now = round(time.time() * 1000)
        with _one_line(self._store.root):
            self._client.log_batch(self.run_id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def log_file(self, path: Path, folder: str) -> None:
        """Keep a copy of a file, or of all that is in a folder, in the run's `folder`."""
        root = self._store.root
        with _one_line(root):
            # the client remembers where the run's files were, and a container may see the repository elsewhere
            place = _here(root, self._client.get_run(self.run_id).info.artifact_uri)
            artifacts = get_artifact_repository(place, tracking_uri=_uri(root))
            log: Any = artifacts.log_artifacts if path.is_dir() else artifacts.log_artifact
            log(str(path), folder)


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
    SIGKILL stays RUNNING until it is taken up again. Raises InputError where MLflow cannot use the store.
    """
    client = store.client()
    with _one_line(store.root):
        run = _resumed(store, client, run_id_file)
    if run is None:
        with _one_line(store.root):
            parent = (
                {"mlflow.parentRunId": _sweep(store, client, sweep_of, tags.get("profile", ""))} if sweep_of else {}
            )
            run = Run(store, client, client.create_run(store.experiment_id(client), run_name=name).info.run_id)
            client.log_batch(
                run.run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                tags=[RunTag(key, value) for key, value in (parent | dict(tags)).items()],
            )
            client.log_inputs(run.run_id, [data_set.as_input() for data_set in data_sets])
        if run_id_file:
            run_id_file.parent.mkdir(parents=True, exist_ok=True)
            run_id_file.write_text(run.run_id, encoding="utf-8")
    try:
        yield run
    except BaseException as error:
        status = RunStatus.KILLED if isinstance(error, KeyboardInterrupt | SystemExit) else RunStatus.FAILED
        # what went wrong comes first; without its end, the run reads as one killed with SIGKILL
        with suppress(*UNUSABLE), _briefly():
            client.set_terminated(run.run_id, RunStatus.to_string(status))
        raise
    try:
        with _one_line(store.root):
            client.set_terminated(run.run_id)
    except InputError as error:
        # the work is done, and nothing of it is lost
        print(f"warning: {error}; MLflow goes on to show the run {run.run_id} as running", file=sys.stderr)


def _resumed(store: Store, client: mlflow.MlflowClient, run_id_file: Path | None) -> Run | None:
    if run_id_file is None or not run_id_file.is_file():
        return None
    run_id = run_id_file.read_text(encoding="utf-8")
    try:
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    except MlflowException as error:
        _raise_unless_unknown(error)
        # the store was deleted or is another one: start a history of its own
        return None
    return Run(store, client, run_id)


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
    with _one_line(store.root):
        found = _find_run(client, run_id)
    if found is None or found.info.lifecycle_stage == LifecycleStage.DELETED:
        return False
    run = Run(store, client, run_id)
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
    client = store.client()
    with _one_line(store.root):
        sweep = _find_sweep(store, client, initial)
    return sweep is not None and add_scores(store, sweep, {}, {f"report/{name}": files})


def download_checkpoint(root: Path, run_id: str, destination: Path) -> Path:
    """Fetch the checkpoint of a training from the store of the repository at `root`.

    Returns its folder, below `destination`. Raises InputError for a run that the store does not know, for one without
    a checkpoint (not finished, or no training), and for a store that MLflow cannot use.
    """
    uri = _uri(root)
    database = _database(uri)
    # MLflow would create what it cannot find
    if database and not database.exists():
        raise InputError(f"{run_id}: no MLflow store at {database}; run the study, or name a checkpoint folder")
    with _one_line(root):
        with _briefly():
            found = _find_run(_connect(uri), run_id)
        if found is None:
            raise InputError(f"{run_id}: no such run in {_shown(uri)}; copy its id from the run's page in MLflow")
        folder = f"{_here(root, found.info.artifact_uri)}/{CHECKPOINT}"
        if not mlflow.artifacts.list_artifacts(folder, tracking_uri=uri):
            raise InputError(f"{run_id}: the run has no checkpoint; name the run of a training that has finished")
        destination.mkdir(parents=True, exist_ok=True)
        return Path(mlflow.artifacts.download_artifacts(folder, dst_path=str(destination), tracking_uri=uri))


def _find_run(client: mlflow.MlflowClient, run_id: str) -> mlflow.entities.Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        _raise_unless_unknown(error)
        return None


def _raise_unless_unknown(error: MlflowException) -> None:
    """Pass on what does not come from a run that is deleted or unknown."""
    if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        raise error


UNUSABLE = (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, ImportError, ValueError)
"""What MLflow and what it stands on raise of stores that they cannot use."""


@contextmanager
def _one_line(root: Path) -> Iterator[None]:
    """Say in one line that MLflow cannot use the store, and why."""
    try:
        yield
    except InputError:
        raise
    except UNUSABLE as error:
        reason: BaseException = error
        inner = error.__cause__ or error.__context__
        while inner:
            # of a connection's failure, the outer ones only repeat where it was tried
            reason = inner if isinstance(inner, OSError | sqlite3.Error) else reason
            inner = inner.__cause__ or inner.__context__
        says = textwrap.shorten(_without_password(str(reason)), 320)
        remedy = "move it away" if _given() is None else "mend or unset MLFLOW_TRACKING_URI"
        remedy = "wait until its writer has finished" if "is locked" in says else remedy
        raise InputError(f"{_shown(_uri(root))}: MLflow cannot use this store: {says}; {remedy}") from error


@contextmanager
def _briefly() -> Iterator[None]:
    """Let MLflow wait seconds for a server, unless the user said how long."""
    added = BRIEF.keys() - os.environ.keys()
    os.environ.update({name: BRIEF[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _given() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip() or None


def _uri(root: Path) -> str:
    given = _given() or "sqlite:///mlflow.db"
    database = _database(given)
    if database is None or database.is_absolute():
        return given
    # a relative path would lie in the temporary clone of a DVC experiment, and go with it
    path = str(root.absolute() / database)
    # SQLAlchemy decodes it; MLflow makes the folder that it names undecoded, and without a slash it names none
    return f"sqlite:///{quote(path, safe='') if set('%?') & set(path) else path}"


def _is_own(root: Path) -> bool:
    return _database(_uri(root)) == root.absolute() / "mlflow.db"


def _database(uri: str) -> Path | None:
    """The file of an sqlite store."""
    if not uri.startswith("sqlite:"):
        return None
    try:
        name = sqlalchemy.make_url(uri).database
    except SQLAlchemyError:
        return None
    return Path(name) if name and name != ":memory:" else None


def _shown(uri: str) -> str:
    """A store's address for messages."""
    return str(_database(uri) or _without_password(uri))


def _without_password(text: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", text)


def _artifacts(root: Path) -> str:
    return (root.absolute() / "mlartifacts").as_uri()


def _here(root: Path, uri: str) -> str:
    """Where artifacts of a repository's own store are now, wherever it was when MLflow noted their place."""
    found = re.fullmatch(r"file:.*/mlartifacts((?:/[0-9a-f]{32}/artifacts)?)", uri)
    return _artifacts(root) + found[1] if found and _is_own(root) else uri


def _refuse_unwritable(root: Path, database: Path | None) -> None:
    places = [root]
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
        places += [database.parent, database, root / "mlartifacts"]
    for place in places:
        if place.exists() and not os.access(place, os.W_OK):
            raise InputError(f"{place}: cannot be written, and MLflow keeps the runs there; change its permissions")


def _connect(uri: str) -> mlflow.MlflowClient:
    """A client; raises InputError for a database that another MLflow made, or another program.

    This MLflow would add its tables to whatever lies there, and fail halfway.
    """
    if uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
        with sqlalchemy.create_engine(uri).connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            tables = set(sqlalchemy.inspect(connection).get_table_names())
        versions = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
        if tables and found != versions.get_current_head():
            shown, ours = _shown(uri), f"MLflow than {mlflow.__version__}"
            known = {version.revision for version in versions.walk_revisions()}
            # the first MLflows noted no version
            if found in known or (not found and "experiments" in tables):
                raise InputError(f"{shown}: store of an older {ours}; copy it, then run: mlflow db upgrade '{uri}'")
            whose = f"store of a newer {ours}" if found else "database of another program"
            raise InputError(f"{shown}: {whose}; move it away, or name another store in MLFLOW_TRACKING_URI")
    return mlflow.MlflowClient(tracking_uri=uri)
