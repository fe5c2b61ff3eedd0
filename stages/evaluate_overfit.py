"""Stage evaluate_overfit: the overfit run and the initial checkpoint on the 12 seconds (thesis table 5.2)."""

from evaluations import on_windows
from layout import stage

from vocalremix.windows import read_windows

with stage() as layout:
    windows = read_windows(layout.run("overfit") / "windows.csv").drop_duplicates()
    for name in ("initial", "overfit"):
        on_windows(layout, name, windows, layout.scores("overfit") / name, prefix="overfit")
