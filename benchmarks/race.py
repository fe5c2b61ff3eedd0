"""Two ways to compute one thing, timed in turn."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch

LEAST_PAIRS = 3


class Race(NamedTuple):
    """Seconds of each call; the k-th calls of both ran right after each other."""

    textbook_s: list[float]
    ours_s: list[float]

    def medians(self, show: Callable[[float], str]) -> tuple[str, str]:
        """Median of the textbook's calls and of ours, each as `show` writes a number of seconds."""
        return show(statistics.median(self.textbook_s)), show(statistics.median(self.ours_s))

    @property
    def speedup(self) -> str:
        """Textbook over ours, pair by pair: the median, and the lowest and the highest in brackets."""
        ratios = sorted(textbook / ours for textbook, ours in zip(self.textbook_s, self.ours_s, strict=True))
        return f"{number(statistics.median(ratios))} ({number(ratios[0])} to {number(ratios[-1])})"


class Row(NamedTuple):
    """One line of the table; `floor` is what the work takes at the machine's rate of products or copies."""

    question: str
    textbook: str
    ours: str
    floor: str
    speedup: str
    agreement: str


def without_bf16(question: str) -> Row:
    """The row of a question that this machine cannot answer."""
    return Row(question, "", "this CPU has no bf16", "", "", "")


def race(textbook: Callable[[], object], ours: Callable[[], object], budget_s: float = 6.0) -> Race:
    """Call both in turn, the first of a pair being now one, now the other, until `budget_s` is spent.

    At least three pairs are timed. Both should have been called before: they are, where their agreement is checked.
    """
    times = Race([], [])
    runners = [(textbook, times.textbook_s), (ours, times.ours_s)]
    end = time.perf_counter() + budget_s
    while len(times.ours_s) < LEAST_PAIRS or time.perf_counter() < end:
        for run, seconds in runners:
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        runners.reverse()
    return times


@contextmanager
def plain_process(make: Callable[..., Callable[[], object]], *arguments: object) -> Iterator[Callable[[], None]]:
    """What `make(*arguments)` returns, to be called in a process of its own, in which it was called once.

    There, freed memory goes back to the system as usual (`vocalremix.training.devices.keep_freed_memory`).
    """
    state = torch.get_num_threads(), make, arguments
    with ProcessPoolExecutor(1, get_context("spawn"), _prepare, state) as process:

        def call() -> None:
            process.submit(_run).result()

        call()
        yield call


_prepared: Callable[[], object]


def _prepare(threads: int, make: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> None:
    global _prepared
    torch.set_num_threads(threads)
    _prepared = make(*arguments)


def _run() -> None:
    _prepared()


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def closeness(largest: float) -> str:
    """How far two waveforms in -1..1 are apart at most."""
    return f"{largest:.0e} of full scale" if largest else "the last bit"


def duration(seconds: float) -> str:
    """In seconds or milliseconds."""
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(1000 * seconds)} ms"
