"""A table of the report: numbers with their columns' names, as Markdown and CSV."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from vocalremix.config.params import AXES
from vocalremix.scoring.metrics import SONG_PROTOCOLS

Value = str | int | float | None
Row = Mapping[str, Value]

HEADINGS = {
    "metric": "Metric",
    "source": "Source",
    "song": "Song",
    "system": "System",
    "protocol": "Protocol",
    "unit": "Unit",
    "mixture": "Mixture",
    "difference": "Difference",
    "low": "95 % from",
    "high": "to",
    "mixture_db": "Mixture (dB)",
    "A_db": "A (dB)",
    "B_db": "B (dB)",
    "mean_db": "Mean (dB)",
    "std_db": "Std (dB)",
    "t": "t",
    "se_db": "SE (dB)",
    "p": "p",
    "initial_mean_db": "Initial mean (dB)",
    "difference_db": "Difference (dB)",
    "increase_percent": "Increase (%)",
    "song_mean_db": "Mean over songs (dB)",
    "song_difference_db": "Difference by song (dB)",
    "low_db": "95 % from (dB)",
    "high_db": "to (dB)",
    "song_p": "p, n = songs",
    "paired_p": "Paired p",
    "holm_p": "Holm p",
    "wilcoxon_p": "Wilcoxon p",
    "cohens_d": "Cohen's d",
    "question": "Question",
    "against": "Against",
    "interval": "Interval",
    "songs_needed": "Songs needed",
    "run": "Run",
    "accelerator": "On",
    "n_train_songs": "Songs",
    "n_train_windows": "Windows",
    "epochs": "Epochs",
    "best_epoch": "Best epoch",
    "precision": "Precision",
    "devices": "Devices",
    "device_hours": "Device hours",
    "cost": "Cost",
    "n_seeds": "Seeds",
    "n_songs": "n songs",
    "n_windows": "n windows",
    "n_nan": "NaN",
    "chosen": "Chosen",
    "valid_uSDR_db": "Validation uSDR (dB)",
    **{column: protocol.label for column, protocol in SONG_PROTOCOLS.items()},
    "window_usdr_db": "uSDR, windows (dB)",
    **{f"{metric}_db": f"{metric} (dB)" for metric in ("cSDR", "uSDR", "siSDR")},
    **{f"{metric}_std_db": f"{metric} std (dB)" for metric in ("cSDR", "uSDR", "siSDR")},
}
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
        return [HEADINGS.get(name, name) for name in self.rows[0]]

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
        headings, body = self.headings(), self.body()
        widths = [max(map(len, column)) for column in zip(headings, *body, strict=True)]
        is_text = self.is_text()
        rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, is_text, strict=True)]
        padded = [
            [
                cell.ljust(width) if text else cell.rjust(width)
                for cell, width, text in zip(line, widths, is_text, strict=True)
            ]
            for line in (headings, *body)
        ]
        lines = [f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:])]
        return f"# {self.title}\n\n{self.caption}\n\n" + "\n".join(lines) + "\n"


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
