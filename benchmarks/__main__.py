"""Runs every benchmark, prints the table and writes it into docs/performance.md."""

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.race import Row

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- written by benchmarks -->", "<!-- end of what it wrote -->"
HEADER = ("what", "textbook", "ours", "times as fast", "both agree to")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Measure on one thread, so that what else runs on the machine disturbs least."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also a step of the full-size model (about five minutes)")
    options = parser.parse_args()
    # read once, when numpy and torch are imported
    os.environ |= dict.fromkeys(THREADS, "1")
    import torch

    from benchmarks import bsrnn, csdr, examples, separation

    torch.set_num_threads(1)
    lines = [line(HEADER), line(["---"] * len(HEADER))]
    print(*lines, sep="\n", flush=True)
    for rows in (csdr.rows(), bsrnn.rows(options.full), examples.rows(), separation.rows()):
        for row in rows:
            lines.append(line(row))
            print(lines[-1], flush=True)
    write(PAGE, "\n".join([machine(), "", *lines]))


def line(cells: Iterable[str] | Row) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy", "museval"))
    return (
        f"{datetime.date.today()}: {cpu()}, {os.cpu_count()} cores, of which one was used; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def cpu() -> str:
    """The CPU's model, where the system tells it."""
    file = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return model[1] if model else platform.processor() or platform.machine()


def write(page: Path, content: str) -> None:
    """Replace what stands between the two marker comments."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}")


if __name__ == "__main__":
    main()
