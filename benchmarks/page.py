"""The pages under docs/ that benchmarks write into."""

import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.race import Row

BEGIN, END = "<!-- written by benchmarks -->", "<!-- end of what it wrote -->"


def line(cells: Iterable[str] | Row) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def machine(cores: int = 1) -> str:
    """What the numbers were measured on, and on how many cores of it."""
    import torch

    gpu = f"{torch.cuda.get_device_name()}; " if torch.cuda.is_available() else ""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy", "museval"))
    return (
        f"{datetime.date.today()}: {cpu()}, {os.cpu_count()} cores, {cores} in use; {gpu}{platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def cpu() -> str:
    """The CPU's model, where the system tells it."""
    file = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return model[1] if model else platform.processor() or platform.machine()


def write(page: Path, content: str) -> None:
    """Replace what stands between the two marker comments."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8")
