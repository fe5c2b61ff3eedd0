"""dvc.yaml and the resumption of trainings name the code that decides a result, no less and no more."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vocalremix.training import run
from vocalremix.util.imports import SOURCE, deciding_files, digest

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ROOMS_LEFT_OUT = {"tracking", "config"}
INITIAL = "data/${profile}/runs/initial"


def program(stage: str) -> Path:
    (script,) = [word for word in STAGES[stage]["cmd"].split() if word.startswith("stages/")]
    return ROOT / script


def declared(stage: str) -> set[Path]:
    """The Python files among a stage's dependencies."""
    files: set[Path] = set()
    for name in STAGES[stage]["deps"]:
        path = ROOT / name
        files |= set(path.rglob("*.py")) if path.is_dir() else {path} if path.suffix == ".py" else set()
    return {file for file in files if has_code(file)}


def has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_bytes()).body)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_the_code_of_a_stage(stage: str) -> None:
    needed, own = set(deciding_files(program(stage), ROOT / "stages")), declared(stage)
    # the initial checkpoint carries its run's id: made anew, by its own code, it makes all that starts from it anew
    passed_on = declared("initial") if INITIAL in STAGES[stage]["deps"] or stage == "train_full" else set()
    assert not {str(path.relative_to(ROOT)) for path in own - needed - passed_on}, "named in dvc.yaml, and not imported"
    assert not {str(path.relative_to(ROOT)) for path in needed - own - passed_on}, "imported, and not in dvc.yaml"


@pytest.mark.parametrize("stage", ["initial", "evaluate", "index"])
def test_files_are_those_that_python_really_imports(stage: str) -> None:
    """Python's own account of a stage, with every import that stands inside a function made too."""
    inner = {
        f"import {node.module}"
        for path in deciding_files(program(stage), ROOT / "stages")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.col_offset and str(node.module).startswith("vocalremix")
    }
    script = "\n".join(
        [
            "import sys",
            f"sys.path[:0] = [{str(ROOT / 'stages')!r}, {str(SOURCE)!r}]",
            f"import {program(stage).stem}",
            *sorted(inner),
            "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)), sep='\\n')",
        ]
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    really = {Path(line) for line in shown.splitlines() if Path(line).is_relative_to(ROOT)}
    needed = set(deciding_files(program(stage), ROOT / "stages"))
    # all remixes and models are imported to read what settings say of them
    unused = {path for path in really - needed if path.parent.name in {"remix", "models", *ROOMS_LEFT_OUT}}
    assert {path for path in really - unused if not path.is_relative_to(ROOT / ".venv") and has_code(path)} == needed


def test_a_policy_may_ask_for_any_remix() -> None:
    """Unlike `initial`, which a new remix leaves as it is."""
    remixes = set((SOURCE / "vocalremix/remix").glob("*.py"))
    assert remixes <= set(deciding_files(program("sweep"), ROOT / "stages"))
    own = {path.stem for path in remixes & declared("initial")}
    assert own == {"__init__", "base", "classic", "gain", "mixing", "speech", "stretch"}


def test_report_and_tracking_do_not_decide_a_training() -> None:
    files = deciding_files(Path(run.__file__))
    names = {str(path.relative_to(SOURCE / "vocalremix")) for path in files}
    assert {
        "examples/dataset.py",
        "training/loop.py",
        "remix/classic.py",
        "models/losses.py",
        "models/bsrnn.py",
    } <= names
    assert not any(name.startswith(("report/", "statistics/", "corpus/", "tracking/")) for name in names)
    assert not names & {"cli.py", "separation.py"}


def test_digest_follows_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("x = 1")
    other.write_text("y = 1")
    before = digest([one, other])
    assert digest([one, other]) == before
    one.write_text("x = 2")
    assert digest([one, other]) != before


# as an example comes about: a room imports from those before it
ROOMS = [
    "util", "audio", "corpus", "windows", "check", "remix", "models", "config", "statistics", "examples", "tracking",
    "training", "separation", "scoring", "report", "cli",
]  # fmt: skip


def test_imports_point_one_way() -> None:
    against = []
    for path in (SOURCE / "vocalremix").rglob("*.py"):
        room = path.relative_to(SOURCE / "vocalremix").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_bytes())):
            if room != "__init__" and isinstance(node, ast.ImportFrom) and str(node.module).startswith("vocalremix."):
                other = str(node.module).split(".")[1]
                if ROOMS.index(other) > ROOMS.index(room):
                    against.append(f"{path.name} of {room} imports {node.module}")
    assert not against
