"""Planning against statsmodels' power of the t test, and against the tests themselves on simulated studies."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from vocalremix.statistics import crossed_test, power, seeds_needed, songs_needed
from vocalremix.util.errors import InputError


@pytest.mark.parametrize("difference", [0, 0.05, 0.25, -0.25, 1, 20])
@pytest.mark.parametrize("n_songs", [2, 14, 50, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_one_seed_is_statsmodels_t_test(difference: float, n_songs: int, alpha: float) -> None:
    ours = power(difference, song_std=0.8, n_songs=n_songs, alpha=alpha)
    theirs = TTestPower().power(abs(difference) / 0.8, n_songs, alpha)
    if math.isnan(theirs):  # scipy's for the wrong sign's tail, where nothing is left
        theirs = TTestPower().power(abs(difference) / 0.8, n_songs, alpha / 2, alternative="larger")
    assert ours == pytest.approx(theirs, abs=1e-9)
    residual_too = power(difference, song_std=0.48, residual_std=0.64, n_songs=n_songs, alpha=alpha)
    assert residual_too == pytest.approx(ours)


@pytest.mark.parametrize("difference", [0.1, 0.25, 0.5, 2])
@pytest.mark.parametrize("target", [0.8, 0.95])
def test_songs_needed_is_statsmodels(difference: float, target: float) -> None:
    theirs = TTestPower().solve_power(difference / 0.8, power=target, alpha=0.05)
    assert songs_needed(difference, song_std=0.8, power=target) == math.ceil(theirs)


@pytest.mark.parametrize(
    ("difference", "n_songs", "n_seeds", "stds"),
    [
        (0.5, 50, 2, (0.8, 0.1, 0.3)),
        (0.25, 150, 2, (0.8, 0.2, 0.3)),
        (0.5, 20, 3, (0.5, 0.2, 0.5)),
        (-0.3, 50, 5, (0.8, 0.1, 0.3)),
        (0.25, 30, 10, (0.5, 0, 0.5)),
        (0, 50, 3, (0.8, 0.2, 0.3)),
    ],
)
def test_several_seeds_are_as_simulated(
    difference: float, n_songs: int, n_seeds: int, stds: tuple[float, float, float]
) -> None:
    song, seed, residual = stds
    rng = np.random.default_rng([1, n_songs, n_seeds])
    studies = 2500
    found = sum(
        crossed_test(
            difference
            + rng.normal(0, song, (n_songs, 1))
            + rng.normal(0, seed, (1, n_seeds))
            + rng.normal(0, residual, (n_songs, n_seeds))
        ).p_value
        < 0.05
        for _ in range(studies)
    )
    planned = power(difference, song_std=song, seed_std=seed, residual_std=residual, n_songs=n_songs, n_seeds=n_seeds)
    assert found / studies == pytest.approx(planned, abs=4 * math.sqrt(planned * (1 - planned) / studies))


def test_the_fewest_are_the_fewest() -> None:
    spread = dict(song_std=0.8, seed_std=0.1, residual_std=0.3)
    songs = songs_needed(0.25, n_seeds=5, **spread)
    assert songs is not None
    assert power(0.25, n_songs=songs, n_seeds=5, **spread) >= 0.8 > power(0.25, n_songs=songs - 1, n_seeds=5, **spread)
    seeds = seeds_needed(0.4, n_songs=50, **spread)
    assert seeds is not None and seeds > 2
    assert power(0.4, n_songs=50, n_seeds=seeds, **spread) >= 0.8 > power(0.4, n_songs=50, n_seeds=seeds - 1, **spread)


def test_the_fewest_are_found_where_the_power_falls_again() -> None:
    spread = dict(song_std=0.8, seed_std=0.1, residual_std=0.3)
    songs = songs_needed(0.5, n_seeds=2, **spread)
    assert songs is not None and power(0.5, n_songs=10**6, n_seeds=2, **spread) < 0.5
    assert songs == next(n for n in range(2, 100) if power(0.5, n_songs=n, n_seeds=2, **spread) >= 0.8)


def test_what_no_number_can_show() -> None:
    # with three seeds the mean is uncertain by 0.2 / sqrt(3) dB on any number of songs
    assert songs_needed(0.25, song_std=0.8, seed_std=0.2, n_seeds=3) is None
    assert songs_needed(0.25, song_std=0.8, seed_std=0.2, n_seeds=10) is not None
    # with 50 songs by 0.8 / sqrt(50) dB with any number of seeds
    assert seeds_needed(0.25, song_std=0.8, seed_std=0.2, n_songs=50) is None
    assert seeds_needed(0.25, song_std=0.8, seed_std=0.2, n_songs=120) is not None
    assert songs_needed(0, song_std=0.8) is None


def test_one_seed_shows_nothing_of_others() -> None:
    assert power(5, song_std=0.8, seed_std=0.1, n_songs=50) == 0
    assert songs_needed(5, song_std=0.8, seed_std=0.1) is None
    assert seeds_needed(5, song_std=0.8, seed_std=0.1, n_songs=50) == 2
    assert seeds_needed(5, song_std=0.8, n_songs=50) == 1


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="at least 2 songs and 1 seed, got 1 and 1"):
        power(1, song_std=1, n_songs=1)
    with pytest.raises(InputError, match="alpha must lie between 0 and 1"):
        power(1, song_std=1, n_songs=5, alpha=5)
    with pytest.raises(InputError, match="song_std -1"):
        power(1, song_std=-1, n_songs=5)
    with pytest.raises(InputError, match="songs differ"):
        songs_needed(1, song_std=0)
    with pytest.raises(InputError, match="power must lie between 0 and 1, got 80"):
        seeds_needed(1, song_std=1, n_songs=5, power=80)
