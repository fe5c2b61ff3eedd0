"""What docs/statistics.md says of the intervals, on fewer corpora."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CORPORA = 300


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def error(share: float) -> float:
    """Three Monte Carlo standard errors."""
    return 3 * math.sqrt(share * (1 - share) / CORPORA)


@pytest.mark.parametrize(("simulation", "by_window_at_most"), [("one_system", 0.3), ("two_systems", 0.8)])
def test_intervals_over_songs_cover_the_truth_and_those_over_windows_do_not(
    monkeypatch: pytest.MonkeyPatch, simulation: str, by_window_at_most: float
) -> None:
    from benchmarks import coverage

    monkeypatch.setattr(coverage, "DRAWS", 500)
    shares = coverage.coverage(getattr(coverage, simulation), 50, CORPORA)
    for method in (coverage.BOOTSTRAP, coverage.BY_SONG):
        assert 0.93 - error(0.93) <= shares[method] <= 0.97 + error(0.97)
    assert shares[coverage.BY_WINDOW] <= by_window_at_most + error(by_window_at_most)


def test_intervals_that_ignore_seeds_are_too_narrow() -> None:
    from benchmarks import coverage

    shares = coverage.coverage(coverage.several_seeds, 3, CORPORA)
    for method in (coverage.CROSSED, coverage.BOTH_DRAWN):
        assert 0.93 - error(0.93) <= shares[method] <= 0.97 + error(0.97)
    assert shares[coverage.ONE_SEED] <= 0.85 + error(0.85)
    # one seed: only what seeds leave of the variance is in the interval
    one = coverage.coverage(coverage.several_seeds, 1, CORPORA)[coverage.ONE_SEED]
    songs = (coverage.DIFFERENCE[0] ** 2 + coverage.RESIDUAL_STD**2) / coverage.SONGS_OF_SEEDS
    expected = math.erf(2.01 * math.sqrt(songs / (songs + coverage.SEED_STD**2)) / math.sqrt(2))
    assert one == pytest.approx(expected, abs=error(expected))


def test_simulated_windows_are_as_described() -> None:
    from benchmarks import coverage

    rng = np.random.default_rng(1)
    songs = coverage.song_of_window(rng, 4000)
    values = coverage.effects(rng, songs, 2.0, 1.6)
    assert len(songs) / 4000 == pytest.approx(coverage.WINDOWS, abs=1)
    within = values - coverage.song_means(songs, values)[songs]
    assert np.std(values) == pytest.approx(math.hypot(2.0, 1.6), rel=0.03)
    assert np.std(within) == pytest.approx(1.6, rel=0.04)
    neighbours = songs[1:] == songs[:-1]
    assert np.corrcoef(within[1:][neighbours], within[:-1][neighbours])[0, 1] == pytest.approx(0.5, abs=0.04)
    strangers = ~neighbours
    assert np.corrcoef(values[1:][strangers], values[:-1][strangers])[0, 1] == pytest.approx(0, abs=0.06)


def test_the_page_and_the_plot_are_written_alike_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import coverage
    from benchmarks.page import BEGIN, END

    for name, value in {"DOCS": tmp_path, "CORPORA": 3, "DRAWS": 20, "SONGS": (10,), "SEEDS": (1, 2)}.items():
        monkeypatch.setattr(coverage, name, value)
    page, plot = tmp_path / "statistics.md", tmp_path / "images" / "coverage.png"
    plot.parent.mkdir()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    coverage.main()
    first = page.read_bytes(), plot.read_bytes()
    coverage.main()
    assert first == (page.read_bytes(), plot.read_bytes())
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    # songs needed: the table's 0.5 dB songs, 0.25 dB, one seed
    assert "| 0.5 dB | 0.25 dB | 45 |" in text
    assert struct.unpack(">I", plot.read_bytes()[16:20]) == (1200,)
