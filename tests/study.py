"""A checkout under the micro profile, driven from outside as its users drive it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import yaml

ROOT = Path(__file__).resolve().parents[1]
MICRO = ROOT / "tests/profiles/micro.yaml"
CELL = "thesis-{}-0.8-1-42-42"


class Study:
    """A checkout of the working tree under the micro profile."""

    def __init__(self, root: Path):
        self.root = root
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "MLFLOW"))}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command in the checkout, check its exit code, return what it printed."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == code, f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}"
        return done.stdout

    def error(self, script: str) -> str:
        """The one line with which a stage refuses its input."""
        output = self.run("env", "PYTHONPATH=src:stages", "python", script, code=2)
        assert "Traceback" not in output
        (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
        return error

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)

    def set(self, file: str, **changes: Any) -> None:
        """Change top-level keys of a YAML file."""
        path = self.root / file
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))

    @property
    def mlflow_client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.root}/mlflow.db")

    def mlflow_runs(self, query: str = "tags.stage != 'sweep_parent'") -> list[Any]:
        """The trainings, or what a query finds."""
        experiment = self.mlflow_client.get_experiment_by_name("vocalremix-micro")
        return list(self.mlflow_client.search_runs([experiment.experiment_id], query)) if experiment else []


def stages_run(output: str) -> set[str]:
    """The stages that DVC ran, not those that it took from a cache."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def check_out(root: Path) -> Study:
    """What git would take of the working tree, as a repository of its own."""
    root.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("reports/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((ROOT / name).read_bytes())
            (root / name).chmod((ROOT / name).stat().st_mode)
    (root / "profiles/micro.yaml").write_text(MICRO.read_text())
    study = Study(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    study.set("params.yaml", profile="micro", sweep=params["sweep"] | {"speech_remix_prob": [0, 1]})
    study.run("git", "init", "-q", "-b", "main")
    study.commit("as downloaded")
    return study
