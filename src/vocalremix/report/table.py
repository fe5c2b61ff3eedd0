"""A table of the report: numbers with their columns' names, as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from vocalremix.config.params import AXES
from vocalremix.scoring.metrics import SONG_PROTOCOLS

Value = str | int | float | None
Row = Mapping[str, Value]

HEADINGS = {
    "low": "95 % from",
    "high": "to",
    "p": "p",
    "se": "SE",
    "increase_percent": "Increase (%)",
    "song_mean": "Mean over songs",
    "song_difference": "Difference by song",
    "song_p": "p, n = songs",
    "cohens_d": "Cohen's d",
    "accelerator": "On",
    "n_train_songs": "Songs",
    "n_train_windows": "Windows",
    "n_seeds": "Seeds",
    "n_nan": "NaN",
    "valid_uSDR": "Validation uSDR",
    "window_usdr": "uSDR, windows",
}
"""Of columns, without the unit, whose names do not say what stands above them."""
FORMATS = {
    "t": ".3f",
    "se_db": ".3f",
    "increase_percent": "+.0f",
    "device_hours": ".3g",
    **dict.fromkeys(AXES, "g"),
}
SMALLEST_P = 1e-4
P_VALUES = ("p", "song_p", "paired_p", "holm_p", "wilcoxon_p")


@dataclass(frozen=True)
class Table:
    """A table with its caption; all rows have the same columns, None where there is no value.

    Numbers are computed here; strings are quoted, among them the thesis's numbers as it prints them.
    """

    name: str
    title: str
    caption: str
    rows: list[Row]

    def headings(self) -> list[str]:
        """What stands above each column, for reading."""
        return [_heading(name) for name in self.rows[0]]

    def body(self) -> list[list[str]]:
        """The rows, rounded for reading."""
        return [[_rounded(name, value) for name, value in row.items()] for row in self.rows]

    def is_text(self) -> list[bool]:
        """Which columns hold words rather than numbers."""
        return [all(isinstance(row[name], str | None) for row in self.rows) for name in self.rows[0]]

    def csv(self) -> str:
        """Six significant digits; the columns' names carry the units."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.rows[0])
        writer.writerows([_exact(value) for value in row.values()] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """Title, caption and table, for reading."""
        table = pd.DataFrame(self.body(), columns=self.headings())
        sides = ["left" if text else "right" for text in self.is_text()]
        text = table.to_markdown(index=False, tablefmt="pipe", colalign=sides, disable_numparse=True)
        return f"# {self.title}\n\n{self.caption}\n\n{text}\n"


def _heading(column: str) -> str:
    if column in AXES:
        return column
    if column in SONG_PROTOCOLS:
        return SONG_PROTOCOLS[column].label
    name = column.removesuffix("_db")
    words = name.replace("_", " ")
    # metrics such as uSDR begin as they are written
    is_plain = words.islower() and words[1:2].isalpha()
    heading = HEADINGS.get(name) or (words[0].upper() + words[1:] if is_plain else words)
    return heading + " (dB)" * (name != column)


def _exact(value: Value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)


def _rounded(column: str, value: Value) -> str:
    if isinstance(value, float) and not math.isnan(value):
        if column in P_VALUES:
            return f"{value:.4f}" if value >= SMALLEST_P else f"< {SMALLEST_P:.4f}"
        return format(value, FORMATS.get(column, ".2f"))
    return _exact(value) or "–"
