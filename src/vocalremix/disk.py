"""Room on disk, asked for before work starts."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalremix.errors import InputError


@dataclass(frozen=True)
class Need:
    """Bytes that something will take in a folder, which need not exist yet."""

    what: str
    folder: Path
    n_bytes: int


def require_space(needs: Sequence[Need]) -> None:
    """Raise InputError where a file system has less room than all needs in it together, in GB of 10^9 bytes."""
    on_device: dict[int, list[Need]] = {}
    for need in needs:
        on_device.setdefault(os.stat(_existing(need.folder)).st_dev, []).append(need)
    for together in on_device.values():
        folder = _existing(together[0].folder)
        free, wanted = shutil.disk_usage(folder).free, sum(need.n_bytes for need in together)
        if wanted > free:
            listed = ", ".join(f"{need.what} {_gb(need.n_bytes)}" for need in together)
            raise InputError(
                f"{folder}: {_gb(wanted)} needed ({listed}), {_gb(free)} free; make room there, or name a path on "
                "another disk"
            )


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
