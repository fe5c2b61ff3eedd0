"""The thesis's printed tests, scipy's and statsmodels' equivalents, and coverage of the bootstrap."""

import doctest
import itertools
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vocalremix.statistics import (
    bootstrap_songs,
    difference_test,
    holm,
    one_sample_test,
    paired_song_test,
    planning,
    seeds,
    songs,
)
from vocalremix.util.errors import InputError

N = 2772
HALF = 0.005  # means and stds are printed to 0.01 dB


@pytest.fixture(scope="module")
def tables(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden / "thesis_tables.json").read_text())
    return content


def assert_printed(printed: float, results: list[float], decimals: int) -> None:
    """The printed number lies among results of inputs that print alike, give or take its own last digit."""
    last_digit = 10.0**-decimals
    assert min(results) - last_digit <= printed <= max(results) + last_digit


@pytest.mark.parametrize(
    ("table", "metric"),
    [
        ("table_5_1_initial", "cSDR"),
        ("table_5_1_initial", "uSDR"),
        ("table_5_1_initial", "siSDR"),
        ("table_5_3_best_sweep_no_speech", "cSDR"),
        ("table_5_3_best_sweep_no_speech", "uSDR"),
    ],
)
def test_one_sample_tests_of_the_thesis(tables: dict[str, Any], table: str, metric: str) -> None:
    printed = tables[table][metric]
    results = [
        one_sample_test(mean=printed["mean"] + dm, std=printed["std"] + ds, n=N)
        for dm, ds in itertools.product((-HALF, 0, HALF), repeat=2)
    ]
    assert_printed(printed["t"], [result.statistic for result in results], 3)
    assert_printed(printed["se"], [result.standard_error for result in results], 3)
    assert_printed(printed["p"], [result.p_value for result in results], 3)
    assert results[4].standard_error == pytest.approx(printed["se"], abs=0.001)
    assert (results[4].statistic > 0) == (printed["t"] > 0)


def test_the_misprint_is_one(tables: dict[str, Any]) -> None:
    row = tables["table_5_3_best_sweep_no_speech"]["siSDR"]
    result = one_sample_test(mean=row["mean"], std=row["std"], n=N)
    assert result.standard_error == pytest.approx(0.0826, abs=1e-4) and row["se"] == 0.218


@pytest.mark.parametrize("metric", ["cSDR", "uSDR", "siSDR"])
def test_difference_tests_of_the_thesis(tables: dict[str, Any], metric: str) -> None:
    trained, initial = tables["table_5_3_best_sweep_no_speech"][metric], tables["table_5_1_initial"][metric]
    printed = tables["table_5_4_difference"][metric]
    results = [
        difference_test(
            mean_a=trained["mean"] + da,
            std_a=trained["std"],
            n_a=N,
            mean_b=initial["mean"] + db,
            std_b=initial["std"],
            n_b=N,
        )
        for da, db in itertools.product((-HALF, 0, HALF), repeat=2)
    ]
    assert results[4].difference == pytest.approx(printed["difference"])
    assert_printed(printed["t"], [result.statistic for result in results], 3)
    assert_printed(printed["se"], [result.standard_error for result in results], 3)
    assert max(result.p_value for result in results) < 0.001


def test_with_songs_as_n_the_difference_is_not_significant() -> None:
    result = difference_test(mean_a=7.13, std_a=2.63, n_a=50, mean_b=6.88, std_b=2.49, n_b=50)
    assert result.p_value == pytest.approx(0.31, abs=0.005)


def test_samples_give_what_their_moments_give_and_scipys_statistic() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(7.5, 2, 400), rng.normal(7, 3, 300)
    with_nan = np.append(a, [np.nan, np.nan])
    one = one_sample_test(with_nan, threshold_db=7.2)
    student = stats.ttest_1samp(a, 7.2, alternative="greater")
    assert one.statistic == pytest.approx(student.statistic)
    assert one.p_value == pytest.approx(stats.norm.sf(student.statistic))
    assert (one.n, one.n_dropped) == (400, 2)
    moments = one_sample_test(mean=float(a.mean()), std=float(a.std(ddof=1)), n=400, threshold_db=7.2)
    assert moments.statistic == pytest.approx(one.statistic)
    assert one.confidence_interval == pytest.approx(stats.norm.interval(0.95, a.mean(), stats.sem(a)))

    two = difference_test(with_nan, b)
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert two.statistic == pytest.approx(welch.statistic)
    assert (two.n_a, two.n_b, two.n_dropped) == (400, 300, 2)
    assert difference_test(b, a).p_value == pytest.approx(1 - two.p_value)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_paired_test_is_scipys(alternative: Any) -> None:
    rng = np.random.default_rng(4)
    b = rng.normal(7, 3, 50)
    a = b + rng.normal(0.2, 0.5, 50)
    result = paired_song_test(np.append(a, [np.nan, 1]), np.append(b, [1, np.nan]), alternative)
    student = stats.ttest_rel(a, b, alternative=alternative)
    assert (result.statistic, result.p_value) == pytest.approx((student.statistic, student.pvalue))
    ranks = stats.wilcoxon(a, b, alternative=alternative)
    assert (result.wilcoxon_statistic, result.wilcoxon_p_value) == pytest.approx((ranks.statistic, ranks.pvalue))
    assert result.confidence_interval == pytest.approx(stats.ttest_rel(a, b).confidence_interval(0.95))
    assert result.statistic == pytest.approx(result.difference / result.standard_error)
    assert result.cohens_d == pytest.approx(result.statistic / math.sqrt(50))
    assert (result.n, result.n_dropped) == (50, 2)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_a_model_against_itself_shows_no_difference() -> None:
    scores = [1.0, 2.0, 3.0]
    result = paired_song_test(scores, scores)
    assert math.isnan(result.statistic) and math.isnan(result.cohens_d) and result.wilcoxon_p_value == 1
    assert bootstrap_songs(scores, scores).p_value == 1


def test_bootstrap_of_songs_is_scipys_and_reproducible() -> None:
    values = np.random.default_rng(5).gamma(2, 2, 50)
    result = bootstrap_songs(np.append(values, np.nan), seed=9)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, rng=np.random.default_rng(9))
    assert result.confidence_interval == pytest.approx(tuple(theirs.confidence_interval))
    assert result.standard_error == pytest.approx(values.std() / math.sqrt(50), rel=0.03)
    assert result.statistic == pytest.approx(values.mean())
    assert (result.n, result.n_dropped) == (50, 1)
    assert bootstrap_songs(values, seed=9) == bootstrap_songs(values, 0 * values, seed=9)
    assert bootstrap_songs(values, seed=9) != bootstrap_songs(values, seed=10)


def test_bootstrap_draws_all_windows_of_a_song_together() -> None:
    rng = np.random.default_rng(6)
    song_means = rng.normal(0, 2, 40)
    windows_of_song = rng.integers(5, 60, 40)
    songs = np.repeat([f"song {i}" for i in range(40)], windows_of_song)
    scores = np.repeat(song_means, windows_of_song) + rng.normal(0, 0.1, len(songs))
    grouped = bootstrap_songs(scores, songs=songs)
    assert grouped.statistic == pytest.approx(scores.mean()) and grouped.n == 40
    # the error of a ratio of means over songs, by linearisation
    residuals = np.array([np.sum(scores[songs == song] - scores.mean()) for song in np.unique(songs)])
    assert grouped.standard_error == pytest.approx(math.sqrt(np.sum(residuals**2)) / len(scores), rel=0.1)
    assert grouped.standard_error > 4 * bootstrap_songs(scores).standard_error


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(7)
    intervals = [bootstrap_songs(rng.normal(1, 2, 50), n_draws=500, seed=i).confidence_interval for i in range(300)]
    covered = np.mean([low <= 1 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.98


def test_bootstrap_of_the_median_has_efrons_exact_distribution() -> None:
    values = np.sort(np.random.default_rng(8).gamma(2, 2, 51))
    result = bootstrap_songs(values, statistic="median", n_draws=40_000)
    assert result.statistic == values[25]
    # a draw's median is at most the i-th value if at least 26 of its 51 are
    below = stats.binom.sf(25, 51, np.arange(1, 52) / 51)
    shares = np.diff(below, prepend=0)
    assert result.standard_error == pytest.approx(math.sqrt(np.cov(values, aweights=shares, ddof=0)), rel=0.02)
    for end, tail in zip(result.confidence_interval, (0.025, 0.975), strict=True):
        nearest = [values[np.searchsorted(below, tail + error)] for error in (-0.004, 0.004)]
        assert nearest[0] <= end <= nearest[1]
    shifted = bootstrap_songs(values, values - 1 + 0 * values, statistic="median")
    assert shifted.statistic == pytest.approx(1) and shifted.confidence_interval == pytest.approx((1, 1))


def test_intervals_of_the_median_cover_the_truth() -> None:
    rng = np.random.default_rng(9)
    intervals = [
        bootstrap_songs(rng.gamma(2, 2, 50), statistic="median", n_draws=500, seed=i).confidence_interval
        for i in range(400)
    ]
    covered = np.mean([low <= stats.gamma.median(2, scale=2) <= high for low, high in intervals])
    assert 0.91 <= covered <= 0.98


def test_holm_is_statsmodels() -> None:
    rng = np.random.default_rng(10)
    for m in (1, 2, 7, 40):
        p_values = rng.uniform(0, 1, m) ** 3
        p_values[: m // 3] = p_values[0]
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_leaves_out_what_is_not_a_test() -> None:
    # three tests: 3 x 0.01, 2 x 0.02, and the last no less than the one before
    adjusted = holm([0.03, math.nan, 0.01, 0.02])
    assert math.isnan(adjusted[1]) and adjusted[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]).size == 0
    with pytest.raises(InputError, match=r"between 0 and 1, got \[0.2, 1.5\]"):
        holm([0.2, 1.5])


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="all of mean, std and n"):
        one_sample_test(mean=1, n=3)
    with pytest.raises(InputError, match="not both"):
        difference_test([1, 2], [1, 2], mean_a=1)
    with pytest.raises(InputError, match="at least 2 values in samples, got 1"):
        one_sample_test([1, math.nan])
    with pytest.raises(InputError, match="as many values"):
        paired_song_test([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="one song per value"):
        bootstrap_songs([1, 2, 3], songs=["a", "b"])
    with pytest.raises(InputError, match="at least 2 songs"):
        bootstrap_songs([1, 2, 3], songs=["a", "a", "a"])
    with pytest.raises(InputError, match="one value per song"):
        bootstrap_songs([1, 2, 3], songs=["a", "a", "b"], statistic="median")


@pytest.mark.parametrize("module", [songs, seeds, planning])
def test_examples_in_the_docstrings(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
