"""Band tables against the golden edges, counting by hand and plain frequencies."""

import json
from pathlib import Path

import numpy as np
import pytest

from vocalremix.models.bands import PAPER_TABLES, band_edges
from vocalremix.util.errors import InputError


def test_v7_matches_the_golden_edges(golden: Path) -> None:
    expected = json.loads((golden / "bsrnn_v7_layout.json").read_text())["band_edges"]
    assert band_edges(PAPER_TABLES["vocals"], 2048, 44100) == [tuple(edge) for edge in expected]


@pytest.mark.parametrize(("target", "count"), [("vocals", 41), ("other", 41), ("drums", 55), ("bass", 30)])
@pytest.mark.parametrize(("n_fft", "sample_rate"), [(2048, 44100), (4096, 48000)])
def test_bands_hold_the_frequencies_below_their_limits(target: str, count: int, n_fft: int, sample_rate: int) -> None:
    edges = band_edges(PAPER_TABLES[target], n_fft, sample_rate)
    frequencies = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    limits = [0.0]
    for limit, width in PAPER_TABLES[target]:
        limits += list(np.arange(limits[-1] + width, limit + 1, width))
    assert len(edges) == count
    assert [first for first, _ in edges] == [int(np.sum(frequencies < limit)) for limit in limits]
    assert [end for _, end in edges] == [*(first for first, _ in edges[1:]), len(frequencies)]


def test_a_bin_on_a_limit_belongs_to_the_band_above() -> None:
    assert band_edges([(500, 250)], 8, 2000) == [(0, 1), (1, 2), (2, 5)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([(1000, 500), (800, 100)], "limit 800 Hz does not lie above the one before it"),
        ([(1000, 300)], "0 to 1000 Hz is not a whole number of 300 Hz bands"),
        ([(23000, 1000)], "limit 23000 Hz lies above half the sample rate"),
        ([(1000, 20)], "the 20 Hz band below 300 Hz is empty, as bins are 21.5 Hz apart"),
    ],
)
def test_says_what_is_wrong(table: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        band_edges(table, 2048, 44100)
