"""Effects over songs and seeds against scipy and statsmodels, and the sentences made of them."""

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vocalremix.report.wording import verdict
from vocalremix.statistics import crossed_test, effects
from vocalremix.statistics.effects import adjust, paired_effect, song_interval
from vocalremix.util.errors import InputError


def test_few_songs_get_students_interval() -> None:
    gains = np.array([0.4, 0.9, -0.2, 0.5, 0.7])
    effect = paired_effect([*gains, math.nan])
    student = stats.ttest_1samp(gains, 0)
    assert effect.method == "paired t"
    assert effect.confidence_interval == pytest.approx(tuple(student.confidence_interval(0.95)))
    assert (effect.p_value, effect.difference) == pytest.approx((student.pvalue, gains.mean()))
    assert effect.cohens_d == pytest.approx(gains.mean() / gains.std(ddof=1))
    assert effect.wilcoxon_p_value == pytest.approx(stats.wilcoxon(gains).pvalue)
    assert (effect.n_songs, effect.n_seeds, effect.n_dropped) == (5, 1, 1)


def test_many_songs_get_a_bootstrap_interval() -> None:
    gains = np.random.default_rng(0).normal(0.3, 0.8, 50)
    effect = paired_effect(gains)
    theirs = stats.bootstrap((gains,), np.mean, n_resamples=10_000, rng=np.random.default_rng(1)).confidence_interval
    assert effect.method == "song bootstrap"
    assert effect.confidence_interval == pytest.approx(tuple(theirs), abs=0.02)


@pytest.mark.parametrize("n_songs", [2, 12, 60])
def test_the_interval_of_a_mean_over_windows_takes_songs_together(n_songs: int) -> None:
    rng = np.random.default_rng(n_songs)
    n_windows = rng.integers(3, 30, n_songs)
    songs = np.repeat(np.arange(n_songs), n_windows)
    values = np.repeat(rng.normal(5, 2, n_songs), n_windows) + rng.normal(0, 1, len(songs))
    low, high = song_interval(np.append(values, math.nan), np.append(songs, 0))
    # ordinary least squares on a constant, errors clustered by song
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": songs}, use_t=True)
    # its correction for degrees of freedom has (N - 1) / (N - k) beside n / (n - 1): one for a constant
    (theirs,) = fit.conf_int(0.05)
    if n_songs < 50:
        assert (low, high) == pytest.approx(tuple(theirs))
    else:
        assert (low, high) == pytest.approx(tuple(theirs), abs=0.2 * (theirs[1] - theirs[0]))


def test_no_interval_of_one_song_or_of_infinite_scores() -> None:
    assert all(map(math.isnan, song_interval([1.0, 2.0], ["a", "a"])))
    assert all(map(math.isnan, song_interval([1.0, math.inf])))
    assert all(map(math.isnan, song_interval([math.nan])))


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    songs = rng.normal(0.5, 0.2, (20, 1)) + rng.normal(0, 0.05, (20, 3))
    alike, apart = paired_effect(songs), paired_effect(songs + np.array([-0.6, 0.0, 0.6]))
    assert alike.method == apart.method == "songs and seeds"
    assert alike.difference == pytest.approx(apart.difference)
    assert alike.is_supported and not apart.is_supported
    # seeds alone, three of them: Student's interval of their means is a lower bound of the width
    low, high = stats.t.interval(0.95, 2, scale=0.6 / math.sqrt(3))
    assert apart.confidence_interval.high - apart.confidence_interval.low > 0.95 * (high - low)


def test_draws_of_the_training_songs_are_a_factor_beside_seeds() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.05, (1, 5, 1))
    differences = 0.3 + rng.normal(0, 0.8, (20, 1, 1)) + draws + rng.normal(0, 0.3, (20, 5, 3))
    effect, tested = paired_effect(differences), crossed_test(differences)
    assert (effect.n_draws, effect.n_seeds, effect.method) == (5, 3, "songs, draws and seeds")
    assert (effect.p_value, effect.confidence_interval) == (tested.p_value, tested.confidence_interval)
    assert effect.spread is None and effect.songs_needed is None, "draws and seeds together are not planned for"
    one_draw, one_seed = paired_effect(differences[:, :1]), paired_effect(differences[:, :, :1])
    assert one_draw == paired_effect(differences[:, 0])
    alike = replace(paired_effect(differences[:, :, 0]), n_draws=5, n_seeds=1, method="songs and draws")
    assert one_seed == alike and one_seed.songs_needed == alike.songs_needed is not None


def test_comparisons_made_together_are_adjusted_together() -> None:
    rng = np.random.default_rng(2)
    found = [paired_effect(rng.normal(mean, 1, 30)) for mean in (0, 0.4, 0.6, 1)]
    theirs = multipletests([effect.p_value for effect in found], method="holm")[1]
    assert [effect.adjusted_p for effect in adjust(found)] == pytest.approx(list(theirs))


def test_songs_needed_reach_the_power_that_is_promised() -> None:
    spread = np.random.default_rng(3).normal(0, 1, 40)
    spread = (spread - spread.mean()) / spread.std(ddof=1)
    n = paired_effect(spread).songs_needed
    assert n is not None
    rng = np.random.default_rng(4)
    found = stats.ttest_1samp(rng.normal(0.25, 1, (4000, n)), 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_songs_needed_hold_for_a_comparison_among_others() -> None:
    """One true difference among five comparisons: Holm's test finds it as often as promised, and no fewer songs do."""
    spread = np.random.default_rng(5).normal(0, 0.4, 12)
    n = adjust([paired_effect(0.4 * (spread - spread.mean()) / spread.std(ddof=1))] * 5)[0].songs_needed
    assert n is not None
    rng = np.random.default_rng(6)
    drawn = rng.normal(0, 0.4, (2000, 5, n)) + np.array([0.25, 0, 0, 0, 0])[:, None]
    p = stats.ttest_1samp(drawn, 0, axis=2).pvalue
    # Holm's adjusted p: the k-th smallest times 5 - k, and none below one before it
    order = np.argsort(p, axis=1)
    adjusted = np.maximum.accumulate(np.sort(p, axis=1) * np.arange(5, 0, -1), axis=1)
    found = np.sum((order == 0) & (adjusted < 0.05)) / len(p)
    assert found == pytest.approx(0.8, abs=0.03)


def test_nothing_is_planned_on_a_guess_and_seeds_are_asked_for_where_songs_cannot_help() -> None:
    rng = np.random.default_rng(7)
    few, enough = (paired_effect(rng.normal(0, 0.8, n)) for n in (9, 10))
    assert few.songs_needed is None and enough.songs_needed is not None
    assert "to find" not in verdict(few, "A", "uSDR") and "to find 0.25 dB takes about" in verdict(enough, "A", "uSDR")
    apart = paired_effect(rng.normal(0, 0.1, (12, 3)) + np.array([-1.5, 0, 1.5]))
    assert verdict(apart, "A", "uSDR").endswith("to find 0.25 dB takes more seeds, on any number of songs.")


def test_a_side_is_taken_only_where_test_and_interval_agree() -> None:
    clear = paired_effect([-0.5, -0.4, -0.6, -0.5])
    assert verdict(clear, "A", "uSDR") == "A lowers uSDR by 0.50 dB, 95 % CI [-0.63, -0.37], 4 songs."
    among_many = adjust([clear, *[paired_effect([0.1, -0.1, 0.2, -0.2])] * 60])[0]
    cannot_tell = verdict(among_many, "A", "uSDR")
    assert cannot_tell.startswith(
        "Cannot tell whether A changes uSDR: -0.50 dB, 95 % CI [-0.63, -0.37] but adjusted p 0.0"
    )


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ([0.3], "+0.30 dB, no interval, 1 song."),
        ([0.0, 0.0, 0.0], "+0.00 dB, 95 % CI [0.00, 0.00], 3 songs."),
        ([math.inf, 1.0, 2.0], "+inf dB, no interval, 3 songs."),
    ],
    ids=["one song", "a system against itself", "a perfect estimate"],
)
def test_what_cannot_be_tested_is_said(gains: list[float], says: str) -> None:
    assert verdict(paired_effect(gains), "B", "uSDR") == f"Cannot tell whether B changes uSDR: {says}"


def test_no_song_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="no song has a score from both"):
        paired_effect([math.nan, math.nan])


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(effects).failed == 0
