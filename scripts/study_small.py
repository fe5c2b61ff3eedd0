"""Tables and figure of docs/study-small.md, from the experiments that the page's commands leave.

    python -m scripts.study_small [--root STUDY]

Reads the scores of the DVC experiments small-matched and small-published; nothing is trained here.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from dvc.api import DVCFileSystem
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.page import line, write
from vocalremix.config.params import Cell
from vocalremix.report.figures import BLUE, GREY, STYLE, VERMILION, WIDTH_IN
from vocalremix.statistics.effects import Effect, adjust, paired_effect, song_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "study-small.md"
FIGURE = ROOT / "docs" / "images" / "study_small.svg"
METRICS = {"usdr_db": "uSDR", "csdr_sisec_db": "cSDR", "sisdr_db": "siSDR"}
MATCHED, PUBLISHED = "matched", "published"
SCORES = "reports/small/scores"

Float64 = npt.NDArray[np.float64]


class Result(NamedTuple):
    """Scores of one training on every test song."""

    scaling: str
    cell: Cell
    songs: pd.DataFrame


class Study(NamedTuple):
    """All cells of both experiments, and what they started from."""

    initial: pd.DataFrame
    results: list[Result]
    probabilities: list[float]
    fractions: list[float]
    seeds: list[int]

    def scores(self, scaling: str, probability: float, fraction: float, metric: str) -> Float64:
        """One metric of one cell, `(songs, seeds)` in dB; without speech, both scalings are the same training."""
        wanted = MATCHED if probability == 0 else scaling
        of_seed = {
            result.cell.seed: result.songs[metric]
            for result in self.results
            if (result.scaling, result.cell.speech_remix_prob, result.cell.data_fraction)
            == (wanted, probability, fraction)
        }
        return np.stack([of_seed[seed].to_numpy() for seed in self.seeds], axis=1)


def read(root: Path) -> Study:
    """The scores of both experiments, from DVC's cache."""
    results = []
    for scaling in (MATCHED, PUBLISHED):
        files = DVCFileSystem(str(root), rev=f"small-{scaling}")
        initial = scores(files, f"/{SCORES}/initial")
        results += [
            Result(scaling, parse(folder), scores(files, folder)) for folder in files.ls(f"/{SCORES}/sweep", False)
        ]
    cells = [result.cell for result in results]
    return Study(
        initial,
        results,
        sorted({cell.speech_remix_prob for cell in cells}),
        sorted({cell.data_fraction for cell in cells}),
        sorted({cell.seed for cell in cells}),
    )


def scores(files: DVCFileSystem, folder: str) -> pd.DataFrame:
    """The model's scores on the test songs."""
    with files.open(f"{folder}/songs.csv") as file:
        songs = pd.read_csv(file)
    return songs[songs.system == "model"].set_index("song").sort_index()


def parse(folder: str) -> Cell:
    """The cell of a folder's name."""
    remix, *settings = Path(folder).name.split("_")
    speech, mix, data, songs, seed = (float(part.lstrip("abcdefghijklmnopqrstuvwxyz")) for part in settings)
    return Cell(remix, speech, mix, data, int(songs), int(seed))


def scores_table(study: Study) -> Iterator[str]:
    """Means over songs and seeds."""
    yield line(("target scaling", "data_fraction", "speech_remix_prob", *(f"{name} (dB)" for name in METRICS.values())))
    yield line(["---"] * (3 + len(METRICS)))
    yield line(("", "", "initial", *(f"{study.initial[metric].mean():.2f}" for metric in METRICS)))
    for fraction in study.fractions:
        for scaling, probability in grid(study):
            cells = []
            for metric in METRICS:
                of_seeds = study.scores(scaling, probability, fraction, metric).mean(axis=0)
                cells.append(f"{of_seeds.mean():.2f} ± {of_seeds.std(ddof=1):.2f}")
            yield line((scaling if probability else "", f"{fraction:g}", f"{probability:g}", *cells))


def grid(study: Study) -> Iterator[tuple[str, float]]:
    """Scalings and probabilities of the trainings at one data_fraction."""
    yield MATCHED, 0
    for scaling in (MATCHED, PUBLISHED):
        for probability in study.probabilities:
            if probability:
                yield scaling, probability


def effects_table(study: Study, comparisons: Sequence[tuple[str, Float64]]) -> Iterator[str]:
    """Differences in uSDR, tested together: on other songs and seeds, and on these songs with other seeds."""
    effects = adjust([paired_effect(differences) for _, differences in comparisons])
    yield line(
        ("uSDR", "dB", "95 %, other songs and seeds", "p (Holm)", "95 %, these songs, other seeds", "song by song")
    )
    yield line(["---"] * 6)
    for (name, differences), effect in zip(comparisons, effects, strict=True):
        by_song = ", ".join(
            f"{song} {gain:+.2f}" for song, gain in zip(song_names(study), differences.mean(1), strict=True)
        )
        yield line(
            (
                name,
                f"{effect.difference:+.2f}",
                interval(effect.confidence_interval),
                p_value(effect),
                interval(song_interval(differences.mean(axis=0))),
                by_song,
            )
        )


def song_names(study: Study) -> list[str]:
    """The test songs, in the order of all scores."""
    return [str(song) for song in study.initial.index]


def interval(ends: tuple[float, float]) -> str:
    """Both ends in dB."""
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"


def p_value(effect: Effect) -> str:
    """Adjusted, in two digits."""
    return f"{effect.adjusted_p:.2f}"


def speech_effects(study: Study, scaling: str) -> list[tuple[str, Float64]]:
    """Speech against none, for each share of songs."""
    return [
        (
            f"{probability:g} − 0, data_fraction {fraction:g}",
            study.scores(scaling, probability, fraction, "usdr_db") - study.scores(scaling, 0, fraction, "usdr_db"),
        )
        for fraction in study.fractions
        for probability in study.probabilities
        if probability
    ]


def scaling_effects(study: Study) -> list[tuple[str, Float64]]:
    """Matched against published, at the same probability and share."""
    return [
        (
            f"matched − published, {probability:g}, data_fraction {fraction:g}",
            study.scores(MATCHED, probability, fraction, "usdr_db")
            - study.scores(PUBLISHED, probability, fraction, "usdr_db"),
        )
        for fraction in study.fractions
        for probability in study.probabilities
        if probability
    ]


def data_effects(study: Study) -> list[tuple[str, Float64]]:
    """All songs against a share of them, and whether speech helps more with few."""
    few, many = study.fractions[0], study.fractions[-1]
    found = [
        (
            f"data_fraction {many:g} − {few:g}, speech_remix_prob {probability:g}",
            study.scores(MATCHED, probability, many, "usdr_db") - study.scores(MATCHED, probability, few, "usdr_db"),
        )
        for probability in study.probabilities
    ]
    for probability in study.probabilities[1:]:
        gains = {
            fraction: study.scores(MATCHED, probability, fraction, "usdr_db")
            - study.scores(MATCHED, 0, fraction, "usdr_db")
            for fraction in (few, many)
        }
        found.append((f"gain by speech {probability:g} at {few:g} − at {many:g}", gains[few] - gains[many]))
    return found


def draw(study: Study) -> None:
    """uSDR against the probability: every seed, their mean and its interval, one panel for each share of songs."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(study.fractions), sharey=True)
        for axes, fraction in zip(panels, study.fractions, strict=True):
            for scaling, color, aside in ((MATCHED, BLUE, -0.008), (PUBLISHED, VERMILION, 0.008)):
                places = np.array(study.probabilities) + aside
                seeds = np.stack(
                    [study.scores(scaling, p, fraction, "usdr_db").mean(axis=0) for p in study.probabilities]
                )
                ends = np.array([song_interval(row) for row in seeds])
                means = seeds.mean(axis=1)
                axes.errorbar(places, means, np.abs(ends.T - means), color=color, capsize=3, label=scaling)
                axes.plot(places, seeds, ".", color=color, alpha=0.5, markersize=5)
            axes.axhline(study.initial.usdr_db.mean(), color=GREY, linestyle="--", linewidth=1, label="initial")
            axes.set_title(f"data_fraction {fraction:g}")
            axes.set_xlabel("speech_remix_prob")
        panels[0].set_ylabel("uSDR, mean of two songs (dB)")
        panels[0].legend(loc="lower left")
        figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


def main() -> None:
    """Write the page's tables and its figure."""
    parser = argparse.ArgumentParser(prog="python -m scripts.study_small", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository that ran the experiments")
    study = read(parser.parse_args().root)
    draw(study)
    parts = [
        scores_table(study),
        effects_table(study, speech_effects(study, MATCHED)),
        effects_table(study, speech_effects(study, PUBLISHED)),
        effects_table(study, scaling_effects(study)),
        effects_table(study, data_effects(study)),
    ]
    titles = [
        "Scores",
        "Speech against none, matched",
        "Speech against none, published",
        "Matched against published",
        "Scarce data, matched",
    ]
    write(PAGE, "\n\n".join(f"### {title}\n\n" + "\n".join(part) for title, part in zip(titles, parts, strict=True)))


if __name__ == "__main__":
    main()
