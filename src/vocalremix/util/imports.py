"""Which code decides a result: the files that a program imports, directly or not."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path

SOURCE = Path(__file__).parents[2]
# MLflow keeps what a training found, and changes nothing of it; of settings, DVC compares the values
NOT_DECIDING = ["vocalremix.tracking", "vocalremix.config"]


@cache
def deciding_files(program: Path, *folders: Path) -> tuple[Path, ...]:
    """The program and all that it imports from this package and from `folders`, sorted; imports in functions count.

    Left out are the rooms NOT_DECIDING, and modules that hold no more than a docstring. dvc.yaml names these files as
    dependencies of a stage, and unfinished work is taken up again by the same files only.
    """
    finder = ModuleFinder([str(folder) for folder in (SOURCE, *folders)], excludes=NOT_DECIDING)
    finder.run_script(str(program))
    if "vocalremix.remix.policies" in finder.modules:  # which may ask for any of them, by name
        for remix in (SOURCE / "vocalremix/remix").glob("*.py"):
            finder.import_hook(f"vocalremix.remix.{remix.stem}")
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return tuple(sorted(Path(file) for file in files if file and _has_code(Path(file))))


def _has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_bytes()).body)


def digest(files: Iterable[Path]) -> str:
    """Tells one content of some files from another."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]
