"""Runs every benchmark, prints the table and writes it into docs/performance.md."""

import argparse
import os
from pathlib import Path

from benchmarks.page import line, machine, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
HEADER = ("what", "textbook", "ours", "floor", "times as fast", "both agree to")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Measure on one thread, so that what else runs on the machine disturbs least."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the 32.4 M model, on the CPU (about ten minutes)")
    options = parser.parse_args()
    # read once, when numpy and torch are imported
    os.environ |= dict.fromkeys(THREADS, "1")
    import torch

    from benchmarks import bsrnn, copies, csdr, examples, floor, gpu, separation

    torch.set_num_threads(1)
    lines = [line(HEADER), line(["---"] * len(HEADER))]
    print(*lines, sep="\n", flush=True)
    benchmarks = [csdr.rows(), examples.rows(), copies.rows(), separation.rows()]
    if options.full:
        benchmarks.append(separation.full_size())
    # last on the CPU: what its steps leave in the allocator slows down the others
    for rows in (*benchmarks, bsrnn.rows(options.full), gpu.rows()):
        for row in rows:
            lines.append(line(row))
            print(lines[-1], flush=True)
    write(PAGE, "\n".join([f"{machine()} {floor.rates()}", "", *lines]))


if __name__ == "__main__":
    main()
