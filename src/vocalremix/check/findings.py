"""A fault of a corpus, and the song that has it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault: in which song and file (a path below the corpus, "." for all of it), and a number where it has one."""

    severity: Severity
    part: str
    song: str
    file: str
    fault: str
    value: float | None
    detail: str


@dataclass(frozen=True)
class SongFiles:
    """A song's folder below `root` and its audio files by name: the stems that are there, and the mixture."""

    root: Path
    part: str
    name: str
    folder: Path
    files: dict[str, Path]

    def finding(
        self, path: Path, fault: str, value: float | None, detail: str, severity: Severity = "error"
    ) -> Finding:
        """A fault of this song at `path`; a value that is not finite is left out."""
        finite = value if value is not None and math.isfinite(value) else None
        return Finding(severity, self.part, self.name, path.relative_to(self.root).as_posix(), fault, finite, detail)

    def place(self) -> str:
        """The song's folder, as a path below the corpus."""
        return self.folder.relative_to(self.root).as_posix()
