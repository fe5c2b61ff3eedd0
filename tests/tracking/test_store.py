"""MLflow runs: one store whoever comes first, one history however often a training is interrupted."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from vocalremix.tracking import store as tracked
from vocalremix.tracking.store import DataSet, Store, add_report, add_scores, download_checkpoint, open_run, open_store
from vocalremix.tracking.view import sweep_view
from vocalremix.util.errors import InputError

CREATE = """
import sys, pathlib
from vocalremix.tracking.store import Store, open_run
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
        with pytest.raises(InputError, match=f"^{unknown}: no such run in {tmp_path}/mlflow.db; ") as refused:
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
    find_experiment, find_sweep = mlflow.MlflowClient.get_experiment_by_name, tracked._find_sweep
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
    older = tracked._sweep(store, client, "initial", "demo")
    answers = iter([lambda *_: None, find_sweep])
    monkeypatch.setattr(tracked, "_find_sweep", lambda *known: next(answers)(*known))
    assert tracked._sweep(store, client, "initial", "demo") == older
    assert len(client.search_runs([store.experiment_id(client)], "tags.stage = 'sweep_parent'")) == 1


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as this MLflow makes it."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Store(root, "study").client()
    return root / "mlflow.db"


def execute(*statements: str) -> Callable[[Path, Path], None]:
    """Makes a file from a store by SQL."""

    def make(good: Path, file: Path) -> None:
        shutil.copy(good, file)
        with closing(sqlite3.connect(file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return make


def another_program(_: Path, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE songs (name)")


OLD, HEAD = "bd07f7e963c5", "SELECT version_num FROM alembic_version"
OLDER = "mlflow.db: store of an older MLflow than .*; copy it, then run: mlflow db upgrade 'sqlite:///.*/mlflow.db'"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            execute("UPDATE alembic_version SET version_num = 'ffff00001111'"),
            "mlflow.db: store of a newer MLflow than .*; move it away, or name another store in MLFLOW_TRACKING_URI",
        ),
        (execute(f"UPDATE alembic_version SET version_num = '{OLD}'"), OLDER),
        # MLflow itself would add the table, and then fail halfway
        (execute(f"UPDATE alembic_version SET version_num = '{OLD}'", "DROP TABLE webhook_events"), OLDER),
        (execute("DROP TABLE alembic_version"), OLDER),
        (another_program, "mlflow.db: database of another program; move it away, .*"),
        (
            lambda _, file: file.write_bytes(b"no sqlite" * 999),
            "MLflow cannot use this store: file is not a database; .*",
        ),
        (
            lambda good, file: file.write_bytes(good.read_bytes()[:9000]),
            "database disk image is malformed; move it away",
        ),
        (lambda _, file: file.mkdir(), "mlflow.db: MLflow cannot use this store: unable to open database file; .*"),
    ],
    ids=["newer", "older", "older, fewer tables", "oldest", "another program's", "broken", "cut short", "a folder"],
)
def test_a_store_that_is_not_this_mlflows_is_refused_and_left_alone(
    store: Store, tmp_path: Path, store_file: Path, make: Callable[[Path, Path], Any], says: str
) -> None:
    file = tmp_path / "mlflow.db"
    make(store_file, file)
    before = file.read_bytes() if file.is_file() else None
    for attempt in (
        lambda: open_store(tmp_path, "study"),
        lambda: download_checkpoint(tmp_path, "0" * 32, tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path))}/.*{says}$") as refused:
            attempt()
        assert "\n" not in str(refused.value)
    assert (file.read_bytes() if file.is_file() else None) == before


def test_a_store_in_another_programs_hands_is_refused(store: Store, tmp_path: Path, store_file: Path) -> None:
    shutil.copy(store_file, tmp_path / "mlflow.db")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"database is locked; wait until its writer has finished$"):
            open_store(tmp_path, "study")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("place", ["mlflow.db", "."])
def test_a_place_without_permission_is_named(tmp_path: Path, store: Store, store_file: Path, place: str) -> None:
    shutil.copy(store_file, tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db.lock").touch()
    (tmp_path / place).chmod(0o555)
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / place))}: cannot be written"):
        open_store(tmp_path, "study")
    (tmp_path / place).chmod(0o755)


class Silent(BaseHTTPRequestHandler):
    """A web server that is not MLflow's."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///nowhere/mlruns", "file:///nowhere/mlruns: .*mlflow migrate-filestore"),
        ("mlruns", "mlruns: .*mlflow migrate-filestore"),
        ("foo://bar", "foo://bar: .*unsupported URI"),
        ("sqlite:mlflow.db", "sqlite:mlflow.db: .*Could not parse"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9: .*Connection refused"),
        ("http://me:secret@127.0.0.1:9", "http://127.0.0.1:9: .*Connection refused"),
        ("http://nowhere.invalid:5000", "http://nowhere.invalid:5000: "),
        ("http://{black_hole}", "http://{black_hole}: .*timed out"),
        ("http://{web_server}", "http://{web_server}: .*error code 404"),
    ],
)
def test_a_store_that_does_not_answer_is_told_from_an_unknown_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, says: str
) -> None:
    with socket.socket() as hole, ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        Thread(target=server.serve_forever, daemon=True).start()
        places = {
            "black_hole": f"127.0.0.1:{hole.getsockname()[1]}",
            "web_server": f"127.0.0.1:{server.server_port}",
        }
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(**places))
        monkeypatch.setitem(tracked.BRIEF, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        before = dict(os.environ)
        for attempt in (
            lambda: open_store(tmp_path, "study"),
            lambda: download_checkpoint(tmp_path, "0" * 32, tmp_path / "out"),
        ):
            with pytest.raises(
                InputError, match=f"^{says.format(**places)}.*; mend or unset MLFLOW_TRACKING_URI$"
            ) as refused:
                attempt()
            assert "\n" not in str(refused.value) and "secret" not in str(refused.value)
        assert dict(os.environ) == before, "a training has MLflow's own patience"
        server.shutdown()
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db.lock"}


def test_a_server_that_fails_for_a_while_is_not_another_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run_id"
    with open_run(store, "train", params={}, tags={}, run_id_file=file) as run:
        pass

    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("too many 503 error responses")

    for name in ("update_run", "get_run"):
        monkeypatch.setattr(mlflow.MlflowClient, name, fail)
    with pytest.raises(InputError, match="too many 503"), open_run(store, "t", params={}, tags={}, run_id_file=file):
        pass
    with pytest.raises(InputError, match="too many 503"):
        add_scores(store, run.run_id, {}, {})
    assert file.read_text() == run.run_id


def test_a_store_that_fails_at_the_end_takes_no_training_along(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", fail)
    with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
        pass
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"warning: .*: gone; .* the run {run.run_id} as running", said)
    with pytest.raises(KeyboardInterrupt), open_run(store, "train", params={}, tags={}, run_id_file=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["a%41b", "a?b", "a#b", "a b", "ä", "a&b=c", "a:b@c", "%2e%2e", "mlartifacts"])
def test_a_repository_may_be_called_anything(store: Store, tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    (root / "model.json").write_text(name)
    with open_run(Store(root, "study"), "train", params={}, tags={}, run_id_file=None) as run:
        run.log_file(root / "model.json", "checkpoint")
    assert (root / "mlartifacts" / run.run_id / "artifacts/checkpoint/model.json").read_text() == name
    assert (download_checkpoint(root, run.run_id, tmp_path / name / "out") / "model.json").read_text() == name
    assert (root / "mlflow.db").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_moved_repository_reads_and_writes_where_it_is(store: Store, tmp_path: Path) -> None:
    """In MLflow's own eyes too, whose UI shows excerpts."""
    old, new = tmp_path / "old", tmp_path / "new ä?"
    old.mkdir()
    (old / "model.json").write_text("{}")
    with open_run(Store(old, "study"), "train", params={}, tags={}, run_id_file=None) as run:
        run.log_file(old / "model.json", "checkpoint")
    old.rename(new)
    stored = (new / "mlflow.db").read_bytes()
    assert (download_checkpoint(new, run.run_id, tmp_path / "out") / "model.json").read_text() == "{}"
    assert (new / "mlflow.db").read_bytes() == stored, "to look changes nothing"

    moved = Store(new, "study")
    assert add_scores(moved, run.run_id, {}, {"scores": [new / "model.json"]})
    with open_run(moved, "later", params={}, tags={}, run_id_file=None) as later:
        later.log_file(new / "model.json", "checkpoint")
    for one, folder in ((run, "checkpoint"), (run, "scores"), (later, "checkpoint")):
        artifacts = new / "mlartifacts" / one.run_id / "artifacts"
        assert (artifacts / folder / "model.json").is_file()
        assert moved.client().get_run(one.run_id).info.artifact_uri == artifacts.as_uri()
    assert not old.exists()


def test_a_copied_repository_leaves_the_first_alone(store: Store, tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    (first / "model.json").write_text("{}")
    with open_run(Store(first, "study"), "train", params={}, tags={}, run_id_file=None) as run:
        run.log_file(first / "model.json", "checkpoint")
    shutil.copytree(first, copy)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert add_scores(Store(copy, "study"), run.run_id, {"test_usdr_db": 1}, {"scores": [copy / "model.json"]})
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_a_store_elsewhere_keeps_its_artifacts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two repositories may share one, and neither takes the other's along."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        store = Store(tmp_path / name, name)
        with open_run(store, "train", params={}, tags={}, run_id_file=None) as run:
            run.log_file(tmp_path / "shared.db", "copy")
        assert (tmp_path / name / "mlartifacts" / run.run_id / "artifacts/copy/shared.db").is_file()
    experiments = {experiment.name: experiment for experiment in store.client().search_experiments()}
    assert experiments["first"].artifact_location == (tmp_path / "first/mlartifacts").as_uri()


def test_a_relative_store_is_the_main_repositorys(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC runs stages in clones that it removes afterwards."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "main").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    open_store(tmp_path / "main", "study")
    assert (tmp_path / "main/runs.db").is_file()
    assert not list((tmp_path / "clone").iterdir())
