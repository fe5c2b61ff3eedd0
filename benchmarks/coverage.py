"""How often 95 % intervals contain the truth, on simulated corpora whose truth is known; writes docs/statistics.md."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.signal import lfilter
from tqdm import tqdm

from benchmarks.page import line, write
from vocalremix.report.figures import BLUE, GREEN, GREY, STYLE, VERMILION, WIDTH_IN
from vocalremix.statistics import (
    ConfidenceInterval,
    bootstrap_songs,
    bootstrap_songs_and_seeds,
    crossed_test,
    difference_test,
    one_sample_test,
    paired_song_test,
    songs_needed,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
CORPORA = 2000
DRAWS = 2000
SONGS = (10, 20, 50, 100)
SEEDS = (1, 2, 3, 5, 10)
SONGS_OF_SEEDS = 50

MEAN_DB, GAIN_DB = 7.0, 0.25
SYSTEM = (2.0, 1.6)
"""Std of songs and of windows within a song, in dB: together the 2.6 dB of the thesis's windows (table 5.3)."""
DIFFERENCE = (0.8, 1.0)
"""The same of the difference of two systems. An assumption, as are the next two."""
SEED_STD, RESIDUAL_STD = 0.2, 0.3
NEIGHBOURS = 0.5
"""Correlation of windows that overlap by half."""
WINDOWS, WINDOWS_STD, FEWEST_WINDOWS = 55, 20, 5
MANY = 10_000

BOOTSTRAP, BY_SONG, BY_WINDOW = "song bootstrap", "t test, one value per song", "z test, n = windows (published)"
CROSSED, BOTH_DRAWN, ONE_SEED = "crossed test", "bootstrap of songs and seeds", "t test over songs, seeds ignored"
COLORS = {
    BOOTSTRAP: BLUE,
    BY_SONG: GREEN,
    BY_WINDOW: VERMILION,
    BOTH_DRAWN: BLUE,
    CROSSED: GREEN,
    ONE_SEED: VERMILION,
}

Float64 = npt.NDArray[np.float64]
Covered = dict[str, bool]
Simulation = Callable[[np.random.Generator, int], Covered]


@dataclass(frozen=True)
class Panel:
    """What is simulated, and at which numbers of songs or seeds."""

    title: str
    axis: str
    numbers: tuple[int, ...]
    simulate: Simulation


def main() -> None:
    """Simulate, draw and write."""
    panels = (
        Panel("A system's mean", "songs", SONGS, one_system),
        Panel("The difference of two systems", "songs", SONGS, two_systems),
        Panel(f"Their difference, {SONGS_OF_SEEDS} songs", "seeds", SEEDS, several_seeds),
    )
    total = CORPORA * sum(len(panel.numbers) for panel in panels)
    with tqdm(total=total, unit="corpus") as progress:
        shares = [
            {number: coverage(panel.simulate, number, CORPORA, progress.update) for number in panel.numbers}
            for panel in panels
        ]
    draw(panels, shares, DOCS / "images" / "coverage.png")
    tables = [
        table for panel, of_panel in zip(panels, shares, strict=True) for table in (coverage_table(panel, of_panel), "")
    ]
    write(DOCS / "statistics.md", "\n".join([setting(), "", *tables, *needed()]))


def coverage(
    simulate: Simulation, number: int, corpora: int, count: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """The share of corpora whose interval contains the truth, by method; one seed per corpus."""
    covered: dict[str, int] = {}
    for corpus in range(corpora):
        for method, contains in simulate(np.random.default_rng([number, corpus]), number).items():
            covered[method] = covered.get(method, 0) + contains
        count()
    return {method: times / corpora for method, times in covered.items()}


def one_system(rng: np.random.Generator, n_songs: int) -> Covered:
    """Intervals of a system's mean score."""
    songs = song_of_window(rng, n_songs)
    scores = MEAN_DB + effects(rng, songs, *SYSTEM)
    means = song_means(songs, scores)
    return _covered(
        MEAN_DB,
        {
            BOOTSTRAP: bootstrap_songs(scores, songs=songs, n_draws=DRAWS).confidence_interval,
            BY_SONG: paired_song_test(means, np.zeros(n_songs)).confidence_interval,
            BY_WINDOW: one_sample_test(scores).confidence_interval,
        },
    )


def two_systems(rng: np.random.Generator, n_songs: int) -> Covered:
    """Intervals of the difference of two systems' means on the same songs."""
    songs = song_of_window(rng, n_songs)
    b = MEAN_DB + effects(rng, songs, *SYSTEM)
    a = b + GAIN_DB + effects(rng, songs, *DIFFERENCE)
    return _covered(
        GAIN_DB,
        {
            BOOTSTRAP: bootstrap_songs(a, b, songs=songs, n_draws=DRAWS).confidence_interval,
            BY_SONG: paired_song_test(song_means(songs, a), song_means(songs, b)).confidence_interval,
            BY_WINDOW: difference_test(a, b).confidence_interval,
        },
    )


def several_seeds(rng: np.random.Generator, n_seeds: int) -> Covered:
    """Intervals of the difference of two methods, both trained with several seeds."""
    differences = (
        GAIN_DB
        + rng.normal(0, DIFFERENCE[0], (SONGS_OF_SEEDS, 1))
        + rng.normal(0, SEED_STD, (1, n_seeds))
        + rng.normal(0, RESIDUAL_STD, (SONGS_OF_SEEDS, n_seeds))
    )
    over_seeds = paired_song_test(differences.mean(axis=1), np.zeros(SONGS_OF_SEEDS))
    intervals = {ONE_SEED: over_seeds.confidence_interval}
    if n_seeds > 1:
        intervals[CROSSED] = crossed_test(differences).confidence_interval
        intervals[BOTH_DRAWN] = bootstrap_songs_and_seeds(differences, n_draws=DRAWS).confidence_interval
    return _covered(GAIN_DB, intervals)


def song_of_window(rng: np.random.Generator, n_songs: int) -> npt.NDArray[np.intp]:
    """The song of each window; songs have unequal numbers of them, about as MUSDB18-HQ's test songs."""
    windows = np.maximum(rng.normal(WINDOWS, WINDOWS_STD, n_songs).round().astype(int), FEWEST_WINDOWS)
    return np.repeat(np.arange(n_songs), windows)


def effects(rng: np.random.Generator, songs: npt.NDArray[np.intp], song_std: float, window_std: float) -> Float64:
    """A song's own deviation from the mean plus its windows', of which neighbours resemble each other."""
    windows = np.bincount(songs)
    noise = rng.standard_normal((len(windows), windows.max()))
    noise[:, 1:] *= np.sqrt(1 - NEIGHBOURS**2)
    chains = lfilter([1], [1, -NEIGHBOURS], noise, axis=1)
    kept = chains[np.arange(windows.max()) < windows[:, None]]
    values: Float64 = song_std * rng.standard_normal(len(windows))[songs] + window_std * kept
    return values


def song_means(songs: npt.NDArray[np.intp], values: Float64) -> Float64:
    """One value per song."""
    means: Float64 = np.bincount(songs, weights=values) / np.bincount(songs)
    return means


def _covered(truth: float, intervals: dict[str, ConfidenceInterval]) -> Covered:
    return {method: low <= truth <= high for method, (low, high) in intervals.items()}


def draw(panels: tuple[Panel, ...], shares: list[dict[int, dict[str, float]]], path: Path) -> None:
    """One panel per simulation, one line per method; 1200 pixels wide."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes: list[Axes] = list(figure.subplots(1, len(panels), sharey=True))
        for ax, panel, of_panel in zip(axes, panels, shares, strict=True):
            positions = range(len(panel.numbers))
            for method in methods(of_panel):
                values = [100 * of_panel[number].get(method, np.nan) for number in panel.numbers]
                marker = {BLUE: "o", GREEN: "s", VERMILION: "^"}[COLORS[method]]
                ax.plot(positions, values, marker=marker, color=COLORS[method], label=method)
            ax.axhline(95, color=GREY, linestyle="--", linewidth=1, zorder=0)
            ax.set_xticks(list(positions), [str(number) for number in panel.numbers])
            ax.set_xlabel(f"number of {panel.axis}")
            ax.set_title(panel.title)
            ax.set_ylim(0, 103)
            ax.legend(loc="center", bbox_to_anchor=(0.5, 0.46))
        axes[0].set_ylabel("95 % intervals that\ncontain the truth (%)")
        # matplotlib's version stays out of the file: the same numbers give the same bytes
        figure.savefig(path, metadata={"Software": None})


def methods(of_panel: dict[int, dict[str, float]]) -> list[str]:
    """All methods of a panel, in the order of the colours."""
    return [method for method in COLORS if any(method in shares for shares in of_panel.values())]


def coverage_table(panel: Panel, of_panel: dict[int, dict[str, float]]) -> str:
    """A Markdown table: methods down, numbers of songs or seeds across."""
    rows = [[f"{panel.title}: {panel.axis}", *map(str, panel.numbers)], ["---"] + ["---:"] * len(panel.numbers)]
    for method in methods(of_panel):
        shares = (of_panel[number].get(method) for number in panel.numbers)
        rows.append([method, *("" if share is None else f"{100 * share:.1f} %" for share in shares)])
    return "\n".join(map(line, rows))


def setting() -> str:
    """What was simulated, in words."""
    error = 100 * np.sqrt(0.95 * 0.05 / CORPORA)
    return (
        f"{CORPORA:,} corpora per column, {DRAWS:,} draws per bootstrap; a share near 95 % has a standard error of "
        f"{error:.1f} points. Songs have {WINDOWS} windows on average (std {WINDOWS_STD}), neighbours of which "
        f"correlate by {NEIGHBOURS:g}. Standard deviations of songs and of windows within a song: {SYSTEM[0]:g} and "
        f"{SYSTEM[1]:g} dB for a system, {DIFFERENCE[0]:g} and {DIFFERENCE[1]:g} dB for the difference of two. With "
        f"seeds: {DIFFERENCE[0]:g} dB for songs, {SEED_STD:g} dB for seeds, {RESIDUAL_STD:g} dB for the rest."
    )


def needed() -> Iterator[str]:
    """How many songs a difference takes: a section with a Markdown table."""
    seeds = (3, 5, 10)
    spreads = (0.1, 0.2)
    yield "## How many songs and seeds it takes"
    yield ""
    yield (
        f"Songs needed to find a true difference 4 times out of 5 (two-sided, 5 %), by the std of the song "
        f"differences and the number and std of seeds; {RESIDUAL_STD:g} dB are left of a song under a seed."
    )
    yield ""
    columns = [f"{number} seeds, std {spread:g} dB" for spread in spreads for number in seeds]
    yield line(["std of songs", "difference", "these two checkpoints", *columns])
    yield line(["---:"] * (3 + len(columns)))
    for song_std in (0.5, 0.8, 1.2):
        for difference in (0.1, 0.25, 0.5):
            counts = [songs_needed(difference, song_std=song_std, residual_std=RESIDUAL_STD)]
            counts += [
                songs_needed(difference, song_std=song_std, seed_std=spread, residual_std=RESIDUAL_STD, n_seeds=number)
                for spread in spreads
                for number in seeds
            ]
            cells = ("never" if songs is None else f"{songs:,}" if songs < MANY else f"> {MANY:,}" for songs in counts)
            yield line([f"{song_std:g} dB", f"{difference:g} dB", *cells])


if __name__ == "__main__":
    main()
