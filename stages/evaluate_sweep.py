"""Stage evaluate_sweep@CELL: the test scores of one training of the sweep."""

from evaluations import on_test_songs
from layout import read_cell, stage

with stage() as layout:
    on_test_songs(layout, f"sweep/{read_cell().name}")
