"""The thesis's figures 5.2 and 5.3 for a study, and the training curves."""

import io
import math
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vocalremix.config.params import Cell, Value, shown
from vocalremix.report.study import THESIS_METRICS, USDR, Metric, Run, Study
from vocalremix.statistics.effects import song_interval

# Okabe and Ito's colours, told apart by colour-blind readers too
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
GREY, INK, GRID, PAPER = "#6b6b6b", "#1b1c20", "#e3e3e3", "#ffffff"
THEME = {
    INK: "ink",
    GREY: "muted",
    GRID: "line",
    PAPER: "panel",
    **{color.lower(): f"series-{number}" for number, color in enumerate(COLORS)},
}
NO_DATE = {"Date": None, "Creator": None}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "vocalremix",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}
WIDTH_IN = 8.0
LINES = ("-", "--", ":", "-.")
LONGEST_NAME = 34
LEGEND_LETTERS = 90  # side by side in a figure's width, beside the keys
MEANS = "Means over the salient windows of the test songs."
LIKE = {
    "mix_prob": "As in figure 2.7 of the thesis (Jeon et al., arXiv 2402.18407), for these runs.",
    "remix": "As in figure 2.8 of the thesis (Jeon et al., arXiv 2402.18407), for these runs.",
}
CHOSEN = "chosen by validation uSDR"
MOST_MARKERS = 30


@dataclass(frozen=True)
class Drawing:
    """A figure with the caption that the page gives it."""

    name: str
    title: str
    caption: str
    figure: Figure

    def save(self, folder: Path) -> None:
        """Write the figure as PNG, 1200 pixels wide, and as SVG."""
        with rc_context(STYLE):
            # dates and matplotlib's version stay out of the files: the same study gives the same bytes
            self.figure.savefig(folder / f"{self.name}.png", metadata={"Software": None})
            self.figure.savefig(folder / f"{self.name}.svg", metadata=NO_DATE)

    @cached_property
    def inline_svg(self) -> str:
        """The figure as an SVG element for a page: its text is text, its colours are the page's custom properties."""
        text = io.StringIO()
        with rc_context(STYLE | {"svg.fonttype": "none"}):
            self.figure.savefig(text, format="svg", transparent=True, metadata=NO_DATE)
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :]
        for color, name in THEME.items():
            svg = svg.replace(color, f"var(--{name})")
        # matplotlib's size is in points; on the page, the figure is as wide as its place
        return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)


def draw_all(study: Study) -> list[Drawing]:
    """Every figure of the report; the heat map only where two axes of the sweep vary."""
    with rc_context(STYLE):
        drawings = [
            Drawing(
                "figure_5_2_speech",
                "SDR against speech_remix_prob",
                f"{MEANS} Figure 5.2 of the thesis, with intervals.",
                _against(study, "speech_remix_prob"),
            ),
            *(
                Drawing(f"sweep_{axis}", f"SDR against {axis}", f"{MEANS} {LIKE.get(axis, '')}", _against(study, axis))
                for axis in study.asked_axes
                if axis != "speech_remix_prob"
            ),
            Drawing(
                "figure_5_3_songs",
                "Before and after, song by song",
                "Whole-song scores of the initial checkpoint and of train_full, paired. Figure 5.3 of the thesis.",
                paired_songs(study.initial.scores.songs, study.train_full.scores.songs, ("initial", "train_full")),
            ),
            Drawing(
                "training",
                "Training curves",
                "The trainings outside the sweep.",
                _training(study),
            ),
            Drawing("training_sweep", "Training curves of the sweep", "All cells.", _training_sweep(study)),
        ]
        if len(_heat_axes(study)) > 1:
            rows, columns = _heat_axes(study)[:2]
            caption = f"Means over the test windows, over seeds and whatever else varies; {rows} by {columns}."
            drawings.insert(-3, Drawing("sweep_heat_map", "The sweep as a map", caption, _heat_map(study)))
    return drawings


def draw_pair(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> Drawing:
    """Two systems song by song; both tables as for `paired_songs`."""
    with rc_context(STYLE):
        caption = f"Whole-song scores of {names[0]} and {names[1]}, paired."
        return Drawing("song_by_song", "All songs", caption, paired_songs(before, after, names))


def _against(study: Study, axis: str) -> Figure:
    """SDR against an axis of the sweep: one panel per metric, one line per combination of the other axes."""
    lines, values = _lines(study, axis), study.settings.params.sweep.values(axis)
    # names stand side by side, numbers at their place
    is_named = any(isinstance(value, str) for value in values)
    places = {value: float(place if is_named else value) for place, value in enumerate(values)}
    width = (max(places.values()) - min(places.values())) or 1.0
    n_labels = len(lines) + 3
    longest = max(map(len, [*lines, CHOSEN]))
    n_columns = 4 if n_labels == 4 else max(min(3, LEGEND_LETTERS // longest), 1)
    figure = _figure(3.6 + 0.18 * math.ceil(n_labels / n_columns))
    panels = figure.subplots(1, len(THESIS_METRICS))
    for panel, metric in zip(panels, THESIS_METRICS, strict=True):
        for index, (label, cells_by_value) in enumerate(lines.items()):
            # drawn a little apart, so that intervals of several lines do not hide one another
            shift = 0.012 * width * (index - (len(lines) - 1) / 2)
            look = {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index // len(COLORS) % len(LINES)]}
            if is_named:
                look["linestyle"] = "none"
            shifted = {value: place + shift for value, place in places.items()}
            means = _sweep_line(panel, study, metric, cells_by_value, shifted, label, look)
            if study.best_cell in cells_by_value.get(best := getattr(study.best_cell, axis), []):
                chosen = [shifted[best]], [means[best]]
        for label, scores, style in (("initial", study.initial.scores, "--"), ("mixture", study.mixture, ":")):
            if math.isfinite(level := scores.mean(metric)):
                panel.axhline(level, color=GREY, linestyle=style, linewidth=1.3, label=label)
        panel.plot(*chosen, "o", ms=11, mfc="none", mec=INK, mew=1.2, label=CHOSEN)
        panel.set_title(metric.name)
        panel.set_ylabel(f"{metric.name}, mean over test windows (dB)")
        turned = {"rotation": 60, "ha": "right"} if is_named else {}
        panel.set_xticks(list(places.values()), [shown(value) for value in values], fontsize=7, **turned)
        panel.grid(visible=False, axis="x")
    figure.supxlabel(axis, fontsize=9)
    handles, labels = panels[-1].get_legend_handles_labels()
    has_bars = len(study.mixture.songs) > 1
    title = "Bars: 95 % interval of the mean, had the songs been others" if has_bars else "One test song: no intervals"
    if (n_trainings := sum(cell.setting == study.best_cell.setting for cell in study.cells)) > 1:
        title = f"Points: mean of {n_trainings} trainings. {title}"
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=n_columns)
    return figure


def _heat_axes(study: Study) -> list[str]:
    return study.asked_axes


def _heat_map(study: Study) -> Figure:
    """Mean SDR over the two axes of the sweep that vary first: one panel per metric."""
    row_axis, column_axis = _heat_axes(study)[:2]
    sweep = study.settings.params.sweep
    rows, columns = sorted(sweep.values(row_axis)), sorted(sweep.values(column_axis))
    figure = _figure(1.3 + 0.42 * len(rows))
    panels = figure.subplots(1, len(THESIS_METRICS), sharey=True)
    for panel, metric in zip(panels, THESIS_METRICS, strict=True):
        means = np.array(
            [
                [
                    np.nanmean(
                        [
                            run.scores.mean(metric)
                            for cell, run in study.cells.items()
                            if (getattr(cell, row_axis), getattr(cell, column_axis)) == (row, column)
                        ]
                    )
                    for column in columns
                ]
                for row in rows
            ]
        )
        mesh = panel.pcolormesh(means, cmap="viridis", edgecolors="none")
        for (row, column), value in np.ndenumerate(means):
            shade = mesh.norm(value)
            color = "#fdfdfd" if shade < 0.6 else "#101010"
            panel.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
        panel.set_xticks(np.arange(len(columns)) + 0.5, [shown(value) for value in columns])
        panel.set_yticks(np.arange(len(rows)) + 0.5, [shown(value) for value in rows])
        panel.set_title(f"{metric.name} (dB)")
        panel.set_xlabel(column_axis)
        panel.grid(visible=False)
    panels[0].set_ylabel(row_axis)
    return figure


def _lines(study: Study, axis: str) -> dict[str, dict[Value, list[Cell]]]:
    """The cells of each line by their value of an axis; seeds share a line."""
    others = [other for other in study.asked_axes if other != axis]
    lines: dict[str, dict[Value, list[Cell]]] = {}
    for cell in study.cells:
        name = ", ".join(f"{other} {shown(getattr(cell, other))}" for other in others) or "fine-tuned"
        lines.setdefault(name, {}).setdefault(getattr(cell, axis), []).append(cell)
    return lines


def _sweep_line(
    panel: Axes,
    study: Study,
    metric: Metric,
    cells_by_value: dict[Value, list[Cell]],
    places: dict[Value, float],
    label: str,
    look: dict[str, Any],
) -> dict[Value, float]:
    """Draw means over windows with the intervals had the songs been others; returns the means."""
    drawn = sorted(cells_by_value, key=places.__getitem__)
    means, intervals = [], []
    for value in drawn:
        seeds = [study.cells[cell].scores.windows[metric.of_window] for cell in cells_by_value[value]]
        values = pd.concat(seeds, axis=1).mean(axis=1).dropna()
        means.append(float(values.mean()))
        intervals.append(song_interval(values, values.index.get_level_values("song")))
    x = [places[value] for value in drawn]
    panel.plot(x, means, marker="o", label=label, **look)
    panel.vlines(x, *zip(*intervals, strict=True), color=look["color"], linewidth=1.1)
    return dict(zip(drawn, means, strict=True))


def paired_songs(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> Figure:
    """One system against another, one line of paired points per song.

    `before` and `after` are indexed by part and song and have the columns of `scoring.metrics.song_scores`; `names` are
    what the two systems are called.
    """
    order = after[USDR.of_song].sort_values(na_position="first").index
    figure = _figure(1.5 + 0.28 * max(len(order), 4) if len(order) < 16 else 1.5 + 0.17 * len(order))
    panels = figure.subplots(1, len(THESIS_METRICS), sharey=True)
    rows = np.arange(len(order))
    for panel, metric in zip(panels, THESIS_METRICS, strict=True):
        left, right = (scores[metric.of_song].reindex(order).to_numpy() for scores in (before, after))
        gains = right - left
        for chosen, color in ((gains >= 0, BLUE), (gains < 0, VERMILION)):
            panel.hlines(rows[chosen], left[chosen], right[chosen], color=color, linewidth=1.6)
            panel.plot(right[chosen], rows[chosen], "o", color=color)
        panel.plot(left, rows, "o", mfc=PAPER, mec=GREY, mew=1.3)
        scored = gains[~np.isnan(gains)]
        panel.set_title(f"{metric.name}\n{_gain(scored)}")
        panel.set_xlabel(f"Whole-song {metric.name} (dB)")
        panel.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, [_short(song) for _, song in order], fontsize=8 if len(order) < 16 else 6.5)
    panels[0].set_ylabel("Test song")
    panels[0].set_ylim(-0.7, len(order) - 0.3)
    panels[0].plot([], [], "o", mfc=PAPER, mec=GREY, mew=1.3, label=_label(names[0]))
    panels[0].plot([], [], "o-", color=BLUE, label=_label(f"{names[1]}, better"))
    panels[0].plot([], [], "o-", color=VERMILION, label=_label(f"{names[1]}, worse"))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _gain(gains_db: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    if not len(gains_db):
        return "no song scored"
    return f"{gains_db.mean():+.2f} dB, {np.count_nonzero(gains_db > 0)} of {len(gains_db)} better"


def _training(study: Study) -> Figure:
    """Loss and validation uSDR of the trainings outside the sweep."""
    runs = {
        "initial": study.initial,
        "overfit (own windows)": study.overfit,
        "train": study.train,
        "train_full": study.train_full,
    }
    figure = _figure(4.6)
    panels = figure.subplots(2, len(runs), sharex="col", squeeze=False)
    for column, (name, run) in enumerate(runs.items()):
        upper, lower = panels[:, column]
        upper.set_title(name)
        if run.history is None:
            _say(upper, "imported,\nnot trained here")
            _say(lower, "")
        else:
            _curve(upper, run, "train_loss", color=COLORS[column])
            _curve(lower, run, "valid_usdr_db", color=COLORS[column])
            if "valid_usdr_db" not in run.history:
                _say(lower, "no validation:\nits songs are\ntrained on")
        lower.set_xlabel("Epoch")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    panels[0, 0].set_ylabel("Training loss (no unit)")
    panels[1, 0].set_ylabel("Validation uSDR (dB)")
    return figure


def _training_sweep(study: Study) -> Figure:
    """Loss and validation uSDR of all cells; colour tells speech_remix_prob, line style the other axes."""
    figure = _figure(4.0)
    panels = figure.subplots(1, 2)
    probabilities = sorted(study.settings.params.sweep.values("speech_remix_prob"))
    shades = dict(zip(probabilities, colormaps["viridis"](np.linspace(0.15, 0.85, len(probabilities))), strict=True))
    styles = dict(zip(_lines(study, "speech_remix_prob"), LINES * len(study.cells), strict=False))
    for style, cells_by_prob in zip(styles.values(), _lines(study, "speech_remix_prob").values(), strict=True):
        for probability, cells in cells_by_prob.items():
            for cell, (panel, column) in product(cells, zip(panels, ("train_loss", "valid_usdr_db"), strict=True)):
                _curve(panel, study.cells[cell], column, color=shades[probability], linestyle=style)
    for panel, label in zip(panels, ("Training loss (no unit)", "Validation uSDR (dB)"), strict=True):
        panel.set_xlabel("Epoch")
        panel.set_ylabel(label)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    for probability, shade in shades.items():
        panels[0].plot([], [], color=shade, label=f"{probability:g}")
    if len(styles) > 1:
        for name, style in styles.items():
            panels[0].plot([], [], color=GREY, linestyle=style, label=name)
    figure.legend(title="speech_remix_prob", loc="outside right center")
    return figure


def _curve(panel: Axes, run: Run, column: str, **style: Any) -> None:
    if run.history is not None and column in run.history:
        marker = "o" if len(run.history) <= MOST_MARKERS else ""
        panel.plot(run.history.epoch + 1, run.history[column], marker=marker, ms=3.5, **style)


def _say(panel: Axes, text: str) -> None:
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY)
    panel.set_yticks([])


def _label(name: str) -> str:
    """matplotlib leaves labels out that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _figure(height_in: float) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
