"""All remixes by name: every module of this folder with a class of its name is one."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vocalremix.remix.base import Remix
from vocalremix.util.values import Count, Section

NOT_REMIXES = {"__init__", "base", "mixing", "policies", "registry"}
REMIXES: dict[str, type[Remix]] = {
    path.stem: getattr(import_module(f"vocalremix.remix.{path.stem}"), path.stem.capitalize())
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in NOT_REMIXES
}


class Changes(Section):
    """Settings of remixes by their names, as far as they are changed."""

    __annotations__ = {name: Annotated[kind | None, Field(default=None)] for name, kind in REMIXES.items()}

    def said(self) -> dict[str, Remix]:
        """The remixes that are named."""
        return {name: remix for name in REMIXES if (remix := getattr(self, name)) is not None}


class Last(Changes):
    """What a policy changes once more in the last `epochs` of a training."""

    epochs: Count


class Policy(Changes):
    """A policy of params.yaml. It says only what it changes."""

    last: Last | None = None
