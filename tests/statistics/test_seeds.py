"""Random effects of songs and seeds against statsmodels' two-way table and mixed model, closed forms and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.anova import anova_lm

from vocalremix.statistics import bootstrap_songs_and_seeds, crossed_test, paired_song_test
from vocalremix.util.errors import InputError


def table(
    rng: np.random.Generator, songs: int, seeds: int, stds: tuple[float, float, float], mean: float = 0
) -> np.ndarray:
    song, seed, residual = stds
    return (
        mean
        + song * rng.standard_normal((songs, 1))
        + seed * rng.standard_normal((1, seeds))
        + residual * rng.standard_normal((songs, seeds))
    )


def long(values: np.ndarray) -> pd.DataFrame:
    song, seed = np.indices(values.shape)
    return pd.DataFrame({"d": values.ravel(), "song": song.ravel(), "seed": seed.ravel(), "all": 0})


def test_one_seed_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(7, 2, (2, 40))
    crossed, paired = crossed_test((a - b)[:, None]), paired_song_test(a, b)
    for field in ("statistic", "standard_error", "p_value", "difference"):
        assert getattr(crossed, field) == pytest.approx(getattr(paired, field), rel=1e-12)
    assert crossed.confidence_interval == pytest.approx(paired.confidence_interval, rel=1e-12)
    assert crossed.degrees_of_freedom == pytest.approx(39)
    assert crossed.song_std == pytest.approx(np.std(a - b, ddof=1))
    assert math.isnan(crossed.seed_std) and math.isnan(crossed.residual_std)


def test_mean_squares_are_those_of_the_two_way_table() -> None:
    values = table(np.random.default_rng(2), 12, 4, (0.8, 0.3, 0.4), 0.5)
    squares = anova_lm(ols("d ~ C(song) + C(seed)", long(values)).fit())
    song, seed, residual = squares["mean_sq"]
    result = crossed_test(values)
    assert result.residual_std**2 == pytest.approx(residual)
    assert result.song_std**2 == pytest.approx((song - residual) / 4)
    assert result.seed_std**2 == pytest.approx((seed - residual) / 12)
    variance = (song + seed - residual) / 48
    assert result.standard_error**2 == pytest.approx(variance)
    freedom = (48 * variance) ** 2 / sum(
        square**2 / df for square, df in zip(squares["mean_sq"], squares["df"], strict=True)
    )
    student = stats.t(freedom, values.mean(), math.sqrt(variance))
    assert result.confidence_interval == pytest.approx(student.interval(0.95))
    assert result.p_value == pytest.approx(2 * min(student.cdf(0), student.sf(0)))


def test_components_are_the_mixed_models() -> None:
    values = table(np.random.default_rng(3), 20, 6, (0.8, 0.4, 0.3), 0.5)
    parts = {"song": "0 + C(song)", "seed": "0 + C(seed)"}
    model = mixedlm("d ~ 1", long(values), groups="all", vc_formula=parts, re_formula="0").fit(reml=True)
    result = crossed_test(values)
    of_part = dict(zip(model.model.exog_vc.names, model.vcomp, strict=True))
    assert of_part["song"] == pytest.approx(result.song_std**2, rel=1e-3)
    assert of_part["seed"] == pytest.approx(result.seed_std**2, rel=1e-3)
    assert model.scale == pytest.approx(result.residual_std**2, rel=1e-3)
    assert model.bse_fe["Intercept"] == pytest.approx(result.standard_error, rel=1e-3)


def test_songs_and_seeds_are_treated_alike() -> None:
    values = table(np.random.default_rng(4), 9, 5, (0.8, 0.4, 0.3), 0.5)
    one, other = crossed_test(values), crossed_test(values.T)
    assert (one.statistic, one.p_value) == pytest.approx((other.statistic, other.p_value))
    assert (one.song_std, one.n_songs) == pytest.approx((other.seed_std, other.n_seeds))


def test_a_negative_variance_counts_as_none() -> None:
    song = np.random.default_rng(5).normal(0.3, 1, 20)
    opposite = 0.5 * np.where(
        np.arange(20) % 2, 1, -1
    )  # the same mean under both seeds: seeds differ less than by chance
    values = np.stack([song + opposite, song - opposite], axis=1)
    result = crossed_test(values)
    assert result.seed_std == 0 and result.residual_std > 0
    assert result.standard_error == pytest.approx(stats.sem(song))
    # and where songs and seeds both differ less than by chance, the residuals alone
    checkerboard = np.where(np.indices((4, 4)).sum(axis=0) % 2, 1.0, -1.0)
    result = crossed_test(checkerboard)
    assert (result.song_std, result.seed_std) == (0, 0)
    assert result.standard_error == pytest.approx(result.residual_std / 4)


@pytest.mark.parametrize(("seeds", "fewest"), [(2, 0.88), (3, 0.91), (5, 0.925)])
def test_intervals_cover_the_truth_and_the_variance_is_unbiased(seeds: int, fewest: float) -> None:
    rng = np.random.default_rng([6, seeds])
    stds = (0.8, 0.2, 0.3)
    results = [crossed_test(table(rng, 50, seeds, stds, 0.25)) for _ in range(2000)]
    covered = np.mean([low <= 0.25 <= high for low, high in (result.confidence_interval for result in results)])
    assert fewest <= covered <= 0.97
    variance = stds[0] ** 2 / 50 + stds[1] ** 2 / seeds + stds[2] ** 2 / (50 * seeds)
    assert np.mean([result.standard_error**2 for result in results]) == pytest.approx(variance, rel=0.1)


def cube(rng: np.random.Generator, shape: tuple[int, int, int], stds: dict[str, float]) -> np.ndarray:
    """Random effects of songs, draws and seeds; "sd" is of songs and draws together."""
    return sum(
        std * rng.standard_normal([n if factor in part else 1 for factor, n in zip("sdk", shape, strict=True)])
        for part, std in stds.items()
    )


def test_three_factors_have_the_mean_squares_of_the_three_way_table() -> None:
    stds = {"s": 0.8, "d": 0.6, "k": 0.5, "sd": 0.4, "sk": 0.3, "dk": 0.4, "sdk": 0.2}
    values = cube(np.random.default_rng(13), (7, 4, 3), stds)
    song, draw, seed = np.indices(values.shape)
    frame = pd.DataFrame({"d": values.ravel(), "song": song.ravel(), "draw": draw.ravel(), "seed": seed.ravel()})
    with np.errstate(divide="ignore"):  # nothing is left over for an F test
        squares = anova_lm(ols("d ~ C(song) * C(draw) * C(seed)", frame).fit())[:-1]
    song, draw, seed, song_draw, song_seed, draw_seed, residual = squares["mean_sq"]
    result = crossed_test(values)
    variance = (song + draw + seed - song_draw - song_seed - draw_seed + residual) / values.size
    assert result.standard_error**2 == pytest.approx(variance)
    spread = sum(square**2 / df for square, df in zip(squares["mean_sq"], squares["df"], strict=True))
    assert result.degrees_of_freedom == pytest.approx((values.size * variance) ** 2 / spread)
    assert result.song_std**2 == pytest.approx((song - song_draw - song_seed + residual) / 12)
    assert result.draw_std**2 == pytest.approx((draw - song_draw - draw_seed + residual) / 21)
    of_seed, of_seed_in_draw = (seed - song_seed - draw_seed + residual) / 28, (draw_seed - residual) / 7
    assert result.seed_std**2 == pytest.approx(of_seed + of_seed_in_draw)
    left = (song_draw - residual) / 3 + (song_seed - residual) / 4 + residual
    assert result.residual_std**2 == pytest.approx(left)


def test_one_draw_or_one_seed_is_the_test_of_two_factors() -> None:
    values = table(np.random.default_rng(14), 12, 4, (0.8, 0.3, 0.4), 0.5)
    two = crossed_test(values)
    assert crossed_test(values[:, None]) == two
    draws = crossed_test(values[:, :, None])
    assert (draws.p_value, draws.confidence_interval) == (two.p_value, two.confidence_interval)
    assert (draws.draw_std, draws.residual_std, draws.n_draws) == (two.seed_std, two.residual_std, 4)


NESTED = {"s": 0.8, "d": 0.2, "sd": 0.2, "dk": 0.2, "sdk": 0.3}
"""Each draw has seeds of its own."""
SHARED = {"s": 0.5, "d": 0.2, "k": 0.3, "sd": 0.1, "sk": 0.1, "sdk": 0.2}
"""One side is trained on all songs: its seeds are the same for all draws."""


@pytest.mark.parametrize("stds", [NESTED, SHARED], ids=["nested", "shared"])
@pytest.mark.parametrize(("draws", "seeds"), [(1, 5), (5, 1), (5, 3), (4, 4)])
def test_with_draws_too_one_in_twenty_finds_what_is_not_there(draws: int, seeds: int, stds: dict[str, float]) -> None:
    """At the nominal level, and the interval with it. What is not repeated is given no effect: no table can show it."""
    alone = {factor for factor, n in (("d", draws), ("k", seeds)) if n == 1}
    known = {part: std for part, std in stds.items() if part not in alone and set(part) <= {"s", "d", "k"} - alone}
    rng = np.random.default_rng([15, draws, seeds])
    tables = [cube(rng, (20, draws, seeds), known) + np.zeros((20, draws, seeds)) for _ in range(1000)]
    results = [crossed_test(values) for values in tables]
    found = sum(result.p_value < 0.05 for result in results)
    assert found == sum(not low <= 0 <= high for low, high in (result.confidence_interval for result in results))
    assert 0.03 <= found / 1000 <= 0.07
    if stds is SHARED and draws > 1 and seeds > 1:
        of_draws = sum(crossed_test(values.mean(axis=2)).p_value < 0.05 for values in tables)
        assert of_draws > 0.15 * 1000, "a test of the draws' means takes shared seeds for none"


@pytest.mark.parametrize("shape", [(30, 2), (12, 6)])
def test_draws_have_the_pigeonhole_variance(shape: tuple[int, int]) -> None:
    values = table(np.random.default_rng(7), *shape, (0.8, 0.3, 0.4), 0.5)
    song, seed, residual = anova_lm(ols("d ~ C(song) + C(seed)", long(values)).fit())["mean_sq"]
    result = bootstrap_songs_and_seeds(values, n_draws=40_000)
    assert result.standard_error**2 == pytest.approx((song + seed + residual) / values.size, rel=0.03)
    assert result.statistic == pytest.approx(values.mean())
    assert (result.n_songs, result.n_seeds) == shape


def test_with_many_songs_and_seeds_the_bootstrap_is_the_test() -> None:
    values = table(np.random.default_rng(8), 200, 60, (0.8, 0.4, 0.1), 0.1)
    drawn, tested = bootstrap_songs_and_seeds(values, n_draws=40_000), crossed_test(values)
    assert drawn.confidence_interval == pytest.approx(tested.confidence_interval, abs=0.08 * tested.standard_error)
    assert drawn.p_value == pytest.approx(tested.p_value, abs=0.02)


@pytest.mark.parametrize(("seeds", "fewest"), [(1, 0.92), (2, 0.87), (3, 0.91), (5, 0.91)])
def test_bootstrap_intervals_cover_the_truth(seeds: int, fewest: float) -> None:
    rng = np.random.default_rng([9, seeds])
    stds = (0.8, 0.1 if seeds > 1 else 0, 0.3)
    intervals = [
        bootstrap_songs_and_seeds(table(rng, 50, seeds, stds, 0.25), n_draws=500, seed=i).confidence_interval
        for i in range(500)
    ]
    assert fewest <= np.mean([low <= 0.25 <= high for low, high in intervals]) <= 0.985


def test_p_and_interval_of_the_bootstrap_agree() -> None:
    rng = np.random.default_rng(10)
    results = [bootstrap_songs_and_seeds(table(rng, 20, 3, (0.5, 0.1, 0.3), 0.2), n_draws=2000) for _ in range(100)]
    clear = [result for result in results if abs(result.p_value - 0.05) > 0.005]
    significant = [result.p_value < 0.05 for result in clear]
    assert significant == [
        min(result.confidence_interval) > 0 or max(result.confidence_interval) < 0 for result in clear
    ]
    assert 10 < sum(significant) < 90


def test_bootstrap_is_reproducible() -> None:
    values = table(np.random.default_rng(11), 10, 3, (0.8, 0.1, 0.3))
    assert bootstrap_songs_and_seeds(values, seed=1) == bootstrap_songs_and_seeds(values, seed=1)
    assert bootstrap_songs_and_seeds(values, seed=1) != bootstrap_songs_and_seeds(values, seed=2)


@pytest.mark.parametrize("analyse", [crossed_test, bootstrap_songs_and_seeds])
def test_songs_without_a_score_are_dropped_and_counted(analyse: type) -> None:
    values = table(np.random.default_rng(12), 10, 3, (0.8, 0.1, 0.3))
    with_gaps = np.insert(values, [3, 3], [[np.nan, 1, 1], [np.nan, np.nan, np.nan]], axis=0)
    whole, gaps = analyse(values), analyse(with_gaps)
    assert (gaps.n_songs, gaps.n_dropped, whole.n_dropped) == (10, 2, 0)
    assert gaps.confidence_interval == whole.confidence_interval


def test_a_model_against_itself_shows_no_difference() -> None:
    result = crossed_test(np.zeros((5, 3)))
    assert math.isnan(result.statistic) and math.isnan(result.p_value) and result.standard_error == 0
    assert bootstrap_songs_and_seeds(np.zeros((5, 3))).p_value == 1
    assert crossed_test(np.full((5, 3), 0.5)).p_value == 0


@pytest.mark.parametrize("analyse", [crossed_test, bootstrap_songs_and_seeds])
def test_bad_input_is_named(analyse: type) -> None:
    with pytest.raises(InputError, match=r"expected differences \(songs, seeds\).*, got the shape \(3,\)"):
        analyse([1, 2, 3])
    with pytest.raises(InputError, match="expected differences"):
        analyse(np.empty((3, 0)))
    with pytest.raises(InputError, match="at least 2 songs without NaN, got 1"):
        analyse([[1, 2], [3, np.nan]])
