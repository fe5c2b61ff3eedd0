"""All remixes by name: every module of this folder with a class of its name is one."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vocalremix.remix.base import Remix
from vocalremix.util.values import Section

NOT_REMIXES = {"__init__", "base", "mixing", "policies", "registry"}
REMIXES: dict[str, type[Remix]] = {
    path.stem: getattr(import_module(f"vocalremix.remix.{path.stem}"), path.stem.capitalize())
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in NOT_REMIXES
}


class Policy(Section):
    """A policy of params.yaml: settings of remixes by their names. It says only what it changes."""

    __annotations__ = {name: Annotated[kind, Field(default_factory=kind)] for name, kind in REMIXES.items()}
