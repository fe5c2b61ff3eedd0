"""Planning: how many songs and seeds a difference takes to be found."""

import bisect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import stats

from vocalremix.statistics.seeds import MeanSquares
from vocalremix.util.errors import InputError

MOST = 10**7
"""More songs or seeds than anybody has: what they cannot show, no number can."""
NODES = 12


def power(
    difference: float,
    *,
    song_std: float,
    n_songs: int,
    seed_std: float = 0,
    residual_std: float = 0,
    n_seeds: int = 1,
    alpha: float = 0.05,
) -> float:
    r"""How likely is `crossed_test` (with one seed: the paired t test) to find a difference?

    Of songs and seeds. With several draws of the training songs and one seed each, the draws are the seeds here: give
    `draw_std` as `seed_std`. A study of several draws with several seeds each is not planned for.

    Parameters
    ----------
    difference
        The true mean difference in dB.
    song_std, seed_std, residual_std
        Standard deviations in dB of the difference's parts, as `crossed_test` reports them: between songs, between
        seeds, and what is left of a song under a seed.
    n_songs, n_seeds
        The size of the study.
    alpha
        The level of the two-sided test.

    Notes
    -----
    With one seed and `seed_std` 0 the question is whether these two checkpoints differ on other songs: the noncentral
    t distribution with n - 1 degrees of freedom, shifted by `difference / sqrt((song_std^2 + residual_std^2) / n)`.
    One seed cannot show how much seeds differ, so with one seed and `seed_std` above 0 the power is 0: no test of that
    study holds for other seeds.

    With several seeds, the chance that `|t|` is above its critical value, averaged over the mean squares that
    `crossed_test` may meet (independent scaled chi squares where songs, seeds and residuals are normal; Gauss's
    quadrature of their quantiles). A noncentral t distribution is wrong by up to 0.2 there, because the degrees of
    freedom are themselves estimated from few seeds.

    References
    ----------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2.

    Examples
    --------
    >>> round(power(0.25, song_std=0.8, n_songs=50), 2)
    0.58
    >>> round(power(0.25, song_std=0.8, seed_std=0.1, n_songs=50, n_seeds=5), 2)
    0.52
    """
    _check(alpha=alpha, n_songs=n_songs, n_seeds=n_seeds, stds=(song_std, seed_std, residual_std))
    if n_seeds == 1:
        if seed_std > 0:
            return 0.0
        shift = abs(difference) / math.sqrt((song_std**2 + residual_std**2) / n_songs)
        critical = stats.t.isf(alpha / 2, n_songs - 1)
        # scipy says NaN in the far tail, where nothing is left
        wrong_sign = np.nan_to_num(stats.nct.cdf(-critical, n_songs - 1, shift))
        return float(stats.nct.sf(critical, n_songs - 1, shift) + wrong_sign)
    rest = residual_std**2
    squares = {(0,): rest + n_seeds * song_std**2, (1,): rest + n_songs * seed_std**2, (0, 1): rest}
    expected = MeanSquares(squares, (n_songs, n_seeds))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    song, seed, residual = (
        stats.chi2.ppf((nodes + 1) / 2, freedom) / freedom
        for freedom in (n_songs - 1, n_seeds - 1, (n_songs - 1) * (n_seeds - 1))
    )
    met = replace(
        expected,
        squares={
            (0,): squares[(0,)] * song[:, None, None],
            (1,): squares[(1,)] * seed[:, None],
            (0, 1): squares[(0, 1)] * residual,
        },
    )
    threshold = stats.t.isf(alpha / 2, met.degrees_of_freedom) * met.standard_error
    found = sum(stats.norm.sf((threshold - side) / expected.standard_error) for side in (difference, -difference))
    return float(np.einsum("ijk,i,j,k", found, *[weights / 2] * 3))


def songs_needed(
    difference: float,
    *,
    song_std: float,
    seed_std: float = 0,
    residual_std: float = 0,
    n_seeds: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    r"""The smallest number of songs that finds a difference with the probability `power`.

    Parameters are those of `power`. None where no number of songs does, because this number of seeds differs too much.

    Examples
    --------
    >>> songs_needed(0.25, song_std=0.8)
    83
    >>> songs_needed(0.25, song_std=0.8, seed_std=0.1, n_seeds=5)
    116
    >>> songs_needed(0.1, song_std=0.8, seed_std=0.1, n_seeds=5) is None
    True
    """
    spread = dict(song_std=song_std, seed_std=seed_std, residual_std=residual_std)
    return _fewest(lambda n: _power(difference, n_songs=n, n_seeds=n_seeds, alpha=alpha, **spread), 2, power)


def seeds_needed(
    difference: float,
    *,
    song_std: float,
    n_songs: int,
    seed_std: float = 0,
    residual_std: float = 0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    r"""The smallest number of seeds that finds a difference with the probability `power` on `n_songs` songs.

    Parameters are those of `power`. None where no number of seeds does, because these are too few songs.

    Examples
    --------
    >>> seeds_needed(0.5, song_std=0.8, seed_std=0.2, n_songs=50)
    4
    >>> seeds_needed(0.25, song_std=0.8, seed_std=0.2, n_songs=50) is None
    True
    """
    spread = dict(song_std=song_std, seed_std=seed_std, residual_std=residual_std)
    return _fewest(lambda n: _power(difference, n_songs=n_songs, n_seeds=n, alpha=alpha, **spread), 1, power)


_power: Callable[..., float] = power


def _fewest(power_of: Callable[[int], float], start: int, target: float) -> int | None:
    if not 0 < target < 1:
        raise InputError(f"power must lie between 0 and 1, got {target}")
    below = start
    # small steps: with few seeds the power can fall again with more songs, as the seeds' few degrees of freedom decide
    for number in np.unique(np.geomspace(start, MOST, 100).astype(int)).tolist():
        if power_of(number) >= target:
            numbers = range(below, number + 1)
            return numbers[bisect.bisect_left(numbers, True, key=lambda n: power_of(n) >= target)]
        below = number
    return None


def _check(*, alpha: float, n_songs: int, n_seeds: int, stds: tuple[float, float, float]) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, got {alpha}")
    if n_songs < 2 or n_seeds < 1:
        raise InputError(f"a study needs at least 2 songs and 1 seed, got {n_songs} and {n_seeds}")
    song_std, seed_std, residual_std = stds
    if min(stds) < 0 or song_std + residual_std == 0:
        raise InputError(
            f"standard deviations are not negative, and songs differ: got song_std {song_std}, seed_std {seed_std}, "
            f"residual_std {residual_std}"
        )
