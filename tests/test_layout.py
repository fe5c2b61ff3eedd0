"""What all stages share, in strangers' environments."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PROVENANCE = """
import layout
from vocalremix.config.params import load
print(layout.provenance(layout.Layout(load(layout.ROOT))))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The stages beside their settings and the code, no git checkout yet."""
    root = tmp_path / "study"
    for name in ("stages", "profiles"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", root)
    (root / "src").symlink_to(ROOT / "src")
    return root


def in_shell(root: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC")} | {
        "PATH": path,
        **environment,
    }
    return subprocess.run(command, shell=True, cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("stage", "environment"),
    [
        *itertools.product(("index", "train", "evaluate"), ({"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": "{stranger}"})),
        # compiles all that is imported: of one stage only
        ("index", {"PYTHONOPTIMIZE": "1", "PYTHONDONTWRITEBYTECODE": "1"}),
    ],
    ids=str,
)
def test_a_stage_finds_its_own_modules(checkout: Path, tmp_path: Path, stage: str, environment: dict[str, str]) -> None:
    for name in ("layout", "trainings", "evaluations", "vocalremix"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    (checkout / "params.yaml").write_text("mixx_prob: 1")
    command = STAGES[stage]["cmd"].replace("${item.run}", "train")
    done = in_shell(checkout, command, **{key: value.format(stranger=tmp_path) for key, value in environment.items()})
    assert (done.returncode, done.stderr) == (2, "error: params.yaml: mixx_prob: unknown key; did you mean mix_prob?\n")


def provenance(checkout: Path, **environment: str) -> tuple[dict[str, str], str]:
    """The tags, and what was said beside them."""
    done = in_shell(checkout, f"PYTHONPATH=src:stages {sys.executable} -c '{PROVENANCE}'", **environment)
    assert done.returncode == 0, done.stderr
    tags: dict[str, str] = eval(done.stdout)
    return tags, done.stderr


def commit(checkout: Path) -> str:
    shell = (
        "git init -q && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm t && git rev-parse HEAD"
    )
    done = in_shell(checkout, shell)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_run_says_which_commit_it_is_of(checkout: Path) -> None:
    head = commit(checkout)
    tags, said = provenance(checkout, DVC_STAGE="train")
    assert (tags["git.commit"], tags["mlflow.source.git.commit"], said) == (head, head, "")
    assert tags["mlflow.note.content"] == f"To make it again: `git checkout {head[:12]} && dvc repro train`."
    (checkout / "stages/train.py").write_text("")
    tags, _ = provenance(checkout)
    assert tags["git.commit"] == f"{head}-dirty"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}, "dubious ownership.*git config --global --add safe.directory "),
        ({"PATH": "/nowhere"}, "No such file or directory: 'git'"),
    ],
    ids=["another owner", "no git"],
)
def test_where_git_does_not_say_a_run_says_so(checkout: Path, environment: dict[str, str], says: str) -> None:
    commit(checkout)
    tags, said = provenance(checkout, **environment)
    assert tags["git.commit"] == "unknown"
    assert tags["profile"] == "demo"
    assert "checkout" not in tags["mlflow.note.content"]
    assert re.fullmatch(rf"warning: this run's commit is recorded as unknown, for git says: .*{says}.*\n", said)


def test_without_a_commit_a_run_says_so(checkout: Path) -> None:
    tags, said = provenance(checkout, GIT_CEILING_DIRECTORIES=str(checkout.parent))
    assert tags["git.commit"] == "unknown"
    assert "not a git repository" in said and said.count("\n") == 1
