"""Tables and figure of docs/study-small.md, from the experiment that the page's command leaves.

    python -m scripts.study_small [--root STUDY]

Reads the scores of the DVC experiment small-why; nothing is trained here.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from dvc.api import DVCFileSystem
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.page import line, write
from vocalremix.report.figures import BLUE, GREY, STYLE, WIDTH_IN
from vocalremix.statistics.effects import adjust, paired_effect, song_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "study-small.md"
FIGURE = ROOT / "docs" / "images" / "study_small.svg"
METRICS = {"usdr_db": "uSDR", "csdr_sisec_db": "cSDR", "sisdr_db": "siSDR"}
BASE, SPEECH = "no_speech", "thesis"
COMPARED = [
    *((policy, BASE) for policy in (SPEECH, "lowpassed")),
    *(
        (policy, SPEECH)
        for policy in (
            "speech_filled",
            "speech_choir",
            "speech_in_room",
            "speech_quiet",
            "speech_loud",
            "speech_class",
        )
    ),
]

Float64 = npt.NDArray[np.float64]


def read(root: Path) -> dict[str, list[pd.DataFrame]]:
    """Of each policy, the model's scores on the test songs, one table for each seed."""
    files = DVCFileSystem(str(root), rev="small-why")
    found: dict[str, list[pd.DataFrame]] = {}
    for folder in sorted(files.ls("/reports/small/scores/sweep", detail=False)):
        with files.open(f"{folder}/songs.csv") as file:
            songs = pd.read_csv(file)
        policy = Path(folder).name.split("_speech0.5")[0]
        found.setdefault(policy, []).append(songs[songs.system == "model"].set_index("song").sort_index())
    return found


def scores(tables: list[pd.DataFrame], metric: str) -> Float64:
    """One metric, `(songs, seeds)`."""
    return np.stack([table[metric].to_numpy(np.float64) for table in tables], axis=1)


def scores_table(study: dict[str, list[pd.DataFrame]]) -> Iterator[str]:
    """Means over songs and seeds."""
    yield line(("policy", *(f"{name} (dB)" for name in METRICS.values())))
    yield line(["---"] * (1 + len(METRICS)))
    for policy, tables in study.items():
        of_seeds = [scores(tables, metric).mean(axis=0) for metric in METRICS]
        yield line((policy, *(f"{seeds.mean():.2f} ± {seeds.std(ddof=1):.2f}" for seeds in of_seeds)))


def effects_table(study: dict[str, list[pd.DataFrame]]) -> Iterator[str]:
    """Differences in uSDR: had songs and seeds been others, and with other seeds on these songs."""
    differences = [scores(study[policy], "usdr_db") - scores(study[base], "usdr_db") for policy, base in COMPARED]
    effects = adjust([paired_effect(difference) for difference in differences])
    on_these_songs = adjust([paired_effect(difference.mean(axis=0)) for difference in differences])
    heads = ("uSDR", "dB", "95 %, these songs, other seeds", "p (Holm)", "95 %, other songs and seeds", "song by song")
    yield line(heads)
    yield line(["---"] * len(heads))
    songs = study[BASE][0].index
    for (policy, base), difference, effect, seeds in zip(COMPARED, differences, effects, on_these_songs, strict=True):
        by_song = ", ".join(f"{song} {gain:+.2f}" for song, gain in zip(songs, difference.mean(axis=1), strict=True))
        yield line(
            (
                f"{policy} − {base}",
                f"{effect.difference:+.2f}",
                interval(seeds.confidence_interval),
                f"{seeds.adjusted_p:.2f}",
                interval(effect.confidence_interval),
                by_song,
            )
        )


def interval(ends: tuple[float, float]) -> str:
    """Both ends in dB."""
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"


def draw(study: dict[str, list[pd.DataFrame]]) -> None:
    """uSDR of each policy: every seed, their mean, and its interval on these songs."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        policies = [BASE, "lowpassed", SPEECH, *(policy for policy, base in COMPARED if base == SPEECH)]
        for place, policy in enumerate(policies):
            seeds = scores(study[policy], "usdr_db").mean(axis=0)
            low, high = song_interval(seeds)
            axes.plot([place] * 2, [low, high], color=BLUE, linewidth=1.2)
            axes.plot(place, seeds.mean(), "o", color=BLUE)
            axes.plot([place + 0.12] * len(seeds), seeds, ".", color=GREY, markersize=5)
        axes.set_xticks(range(len(policies)), policies, rotation=30, ha="right")
        axes.set_ylabel("uSDR, mean of two songs (dB)")
        axes.grid(visible=False, axis="x")
        figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


def main() -> None:
    """Write the page's tables and its figure."""
    parser = argparse.ArgumentParser(prog="python -m scripts.study_small", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository that ran the experiment")
    study = read(parser.parse_args().root)
    draw(study)
    parts = {"Scores": scores_table(study), "Differences": effects_table(study)}
    write(PAGE, "\n\n".join(f"### {title}\n\n" + "\n".join(part) for title, part in parts.items()))


if __name__ == "__main__":
    main()
