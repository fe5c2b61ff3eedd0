"""Several machines share one sweep through a DVC remote, as docs/many-machines.md says."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from study import CELL, Study, check_out

SPLIT = {
    "a": [f"evaluate_sweep@{CELL.format(0)}", "evaluate@train", "evaluate@train_full"],
    # its store does not know the run of `initial`
    "b": [f"evaluate_sweep@{CELL.format(1)}", "evaluate_overfit", "evaluate@initial"],
}


@dataclass
class Machines:
    """Clones of one repository, each with a DVC cache and an MLflow store of its own."""

    origin: Path
    studies: dict[str, Study] = field(default_factory=dict)
    ran: list[tuple[str, str]] = field(default_factory=list)
    """Every stage that ran anywhere, with the machine's name, as often as it ran."""

    def clone(self, name: str) -> Study:
        study = Study(self.origin.with_name(name))
        self.studies[name] = study
        # not study.run: its folder does not exist yet
        Study(self.origin.parent).run("git", "clone", "-q", str(self.origin), name)
        return study

    def repro(self, name: str, *arguments: str) -> None:
        output = self.studies[name].run("dvc", "repro", *arguments)
        self.ran += [(name, stage) for stage in re.findall(r"Running stage '([^']+)'", output)]

    def ran_by(self, name: str) -> set[str]:
        return {stage for machine, stage in self.ran if machine == name}

    def trainings(self, name: str) -> dict[str, str]:
        """The trainings in a machine's MLflow store, by run id."""
        return {
            run.info.run_id: f"sweep@{CELL.format(run.data.params['speech_remix_prob'])}"
            if run.data.tags["stage"] == "sweep"
            else run.data.tags["stage"]
            for run in self.studies[name].mlflow_runs()
        }


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """After the whole of docs/many-machines.md: `a` starts, `a` and `b` share the work, `c` collects, `d` reads."""
    folder = tmp_path_factory.mktemp("sharing")
    machines = Machines(folder / "origin.git")
    checkout = check_out(folder / "as_downloaded")
    checkout.run("dvc", "remote", "add", "-d", "storage", str(folder / "remote"))
    checkout.commit("a remote")
    checkout.run("git", "clone", "-q", "--bare", ".", str(machines.origin))

    first = machines.clone("a")
    machines.repro("a", "initial", "resample_speech", "beats")
    publish(first)

    machines.clone("b")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: work(machines, name), SPLIT))

    collector = machines.clone("c")
    machines.repro("c", "--pull")
    publish(collector)
    machines.clone("d").run("dvc", "pull")
    yield machines


def work(machines: Machines, name: str) -> None:
    """A machine's share: dvc.lock stays uncommitted, the run cache carries what was made."""
    machines.repro(name, "--pull", *SPLIT[name])
    machines.studies[name].run("dvc", "push", "--run-cache")


def publish(study: Study) -> None:
    study.run("dvc", "push", "--run-cache")
    study.commit("results")
    study.run("git", "push", "-q")


@pytest.mark.slow
class TestSharing:
    def test_no_stage_runs_twice(self, machines: Machines) -> None:
        every = machines.studies["c"].run("dvc", "stage", "list", "--name-only").split()
        assert Counter(stage for _, stage in machines.ran) == Counter(every)
        assert machines.ran_by("c") == {"report"}
        assert machines.ran_by("b") == {
            "overfit",
            "evaluate_overfit",
            "evaluate@initial",
            *(f"{stage}@{CELL.format(1)}" for stage in ("sweep", "evaluate_sweep")),
        }

    def test_every_training_is_one_run_in_one_store(self, machines: Machines) -> None:
        """What DVC prints aside: a training cannot run without leaving a run in its machine's store."""
        cells = [f"sweep@{CELL.format(probability)}" for probability in (0, 1)]
        assert sorted(machines.trainings("a").values()) == sorted(["initial", "train", "train_full", cells[0]])
        assert sorted(machines.trainings("b").values()) == sorted(["overfit", cells[1]])
        assert not machines.trainings("c")
        assert not (machines.studies["d"].root / "mlflow.db").exists()
        models = (machines.studies["c"].root / "data/micro/runs").rglob("model.json")
        ids = [re.search(r'"mlflow_run_id": "(\w+)"', path.read_text()) for path in models]
        assert {found[1] for found in ids if found} == machines.trainings("a").keys() | machines.trainings("b").keys()

    def test_the_report_is_about_the_cells_of_both(self, machines: Machines) -> None:
        collected = machines.studies["c"].root / "reports/micro"
        assert (collected / "index.html").is_file()
        with (collected / "plots/sweep.csv").open() as lines:
            rows = {round(float(row["speech_remix_prob"])): row for row in csv.DictReader(lines)}
        assert rows.keys() == {0, 1}
        for name, probability in (("a", 0), ("b", 1)):
            scores = f"reports/micro/scores/sweep/thesis_speech{probability}_mix0.8_data1_songs42_seed42/summary.json"
            windows = json.loads((machines.studies[name].root / scores).read_text())["model"]["windows"]
            for metric in ("csdr_db", "usdr_db", "sisdr_db"):
                column = metric.replace("sdr", "SDR")
                assert float(rows[probability][column]) == pytest.approx(windows[metric]["mean"], abs=1e-4)

    def test_a_fourth_clone_has_everything(self, machines: Machines) -> None:
        reader, collector = machines.studies["d"], machines.studies["c"]
        assert "Data and pipelines are up to date" in reader.run("dvc", "status")
        assert reader.run("git", "status", "--porcelain") == ""
        for folder in ("data", "reports"):
            assert contents(reader.root / folder) == contents(collector.root / folder)

    def test_the_first_machines_take_the_result(self, machines: Machines) -> None:
        for name in SPLIT:
            study = machines.studies[name]
            study.run("git", "restore", "dvc.lock")
            study.run("git", "pull", "-q")
            study.run("dvc", "pull")
            assert "Data and pipelines are up to date" in study.run("dvc", "status")

    def test_a_run_is_scored_only_in_the_store_that_knows_it(self, machines: Machines) -> None:
        """`initial` was trained on `a` and scored on `b`: DVC has its scores, no store does."""
        scored = {
            run.data.tags["stage"] for run in machines.studies["a"].mlflow_runs() if "test_usdr_db" in run.data.metrics
        }
        assert scored == {"train", "train_full", "sweep"}
        assert (machines.studies["a"].root / "reports/micro/scores/initial/summary.json").is_file()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
