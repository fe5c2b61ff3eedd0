"""Mean differences over songs and seeds: both are samples of what the next study would draw anew."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from vocalremix.statistics.intervals import CONFIDENCE, ConfidenceInterval, Float64, enough, p_of_draws, ratio
from vocalremix.util.errors import InputError


@dataclass(frozen=True)
class CrossedResult:
    """A mean difference over songs and seeds; the stds are those of its parts, NaN where one seed cannot tell.

    With one seed, `song_std` is the std of the differences. `n_dropped` songs left out because of a NaN.
    """

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    difference: float
    degrees_of_freedom: float
    song_std: float
    seed_std: float
    residual_std: float
    n_songs: int
    n_seeds: int
    n_dropped: int


@dataclass(frozen=True)
class CrossedBootstrapResult:
    """A mean difference whose uncertainty comes from drawing songs and seeds anew; `n_dropped` songs had a NaN."""

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    n_songs: int
    n_seeds: int
    n_dropped: int


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of songs, seeds and what is left, one table's or those of many; with one seed, of songs alone."""

    song: float | Float64
    seed: float | Float64
    residual: float | Float64
    n_songs: int
    n_seeds: int

    @classmethod
    def of(cls, values: Float64) -> "MeanSquares":
        """Those of the table `(songs, seeds)`."""
        songs, seeds = values.shape
        of_song, of_seed = values.mean(axis=1), values.mean(axis=0)
        song = seeds * float(np.var(of_song, ddof=1))
        if seeds == 1:
            return cls(song, 0.0, 0.0, songs, seeds)
        rest = values - of_song[:, None] - of_seed + values.mean()
        residual = float(np.sum(rest**2)) / ((songs - 1) * (seeds - 1))
        return cls(song, songs * float(np.var(of_seed, ddof=1)), residual, songs, seeds)

    @property
    def standard_error(self) -> Float64:
        """Of the mean over songs and seeds; a negative variance of songs or seeds counts as none."""
        return np.asarray(np.sqrt(self._of_mean / (self.n_songs * self.n_seeds)))

    @property
    def degrees_of_freedom(self) -> Float64:
        """Satterthwaite's, of the squared standard error."""
        songs, seeds = self.n_songs - 1, max(self.n_seeds - 1, 1)
        spread = np.asarray(self.song**2 / songs + self.seed**2 / seeds + self.residual**2 / (songs * seeds))
        freedom: Float64 = np.full(spread.shape, float(songs))
        np.divide(self._of_mean**2, spread, out=freedom, where=spread > 0)
        return freedom

    @property
    def _of_mean(self) -> Float64:
        both = np.maximum(self.song, self.residual) + np.maximum(self.seed, self.residual)
        return np.asarray(both - self.residual)


def crossed_test(differences: npt.ArrayLike) -> CrossedResult:
    r"""Do two methods differ, on other songs and with other seeds too? Random effects of songs and seeds, crossed.

    Parameters
    ----------
    differences
        Differences of scores in dB, `(songs, seeds)`: method a minus method b on the same song, both trained with the
        same seed. Songs with a NaN under any seed are dropped and counted.

    Notes
    -----
    The model: `d[song, seed] = mean + song + seed + residual`, the three independent, with variances of their own.
    From the mean squares of songs, seeds and residuals of the two-way table with n songs and k seeds,
    `SE^2 = (MS_song + MS_seed - MS_residual) / (n k)`, which estimates
    `song_std^2 / n + seed_std^2 / k + residual_std^2 / (n k)`. A variance that comes out negative
    (`MS_seed < MS_residual`, say) counts as zero, so that SE is never below that of the songs alone or of the seeds
    alone. t = mean / SE has Satterthwaite's degrees of freedom,
    `(n k SE^2)^2 / (MS_song^2 / (n - 1) + MS_seed^2 / (k - 1) + MS_residual^2 / ((n - 1) (k - 1)))`.

    With one seed this is the paired t test, which says nothing about other seeds. Two or three seeds are few: where
    they differ as much as the standard error or more, the interval covers a little less than 95 % (measured in
    docs/statistics.md). Where residuals are most of the variance, it covers more.

    References
    ----------
    Satterthwaite 1946, An approximate distribution of estimates of variance components; Searle, Casella and McCulloch
    1992, Variance Components, chapter 4; Bouthillier et al. 2021, Accounting for variance in machine learning
    benchmarks.

    Examples
    --------
    >>> result = crossed_test([[0.5, 0.3], [0.2, 0.1], [0.9, 0.6], [0.4, 0.4]])
    >>> round(result.difference, 3), round(result.standard_error, 3), round(result.degrees_of_freedom, 1)
    (0.425, 0.141, 3.6)
    >>> round(result.song_std, 2), round(result.seed_std, 2), round(result.residual_std, 2)
    (0.24, 0.1, 0.09)
    """
    values, n_dropped = _complete_songs(differences)
    songs, seeds = values.shape
    squares = MeanSquares.of(values)
    mean, standard_error = float(values.mean()), float(squares.standard_error)
    freedom = float(squares.degrees_of_freedom)
    statistic = ratio(mean, standard_error)
    half_width = float(stats.t.isf((1 - CONFIDENCE) / 2, freedom)) * standard_error
    return CrossedResult(
        statistic=statistic,
        standard_error=standard_error,
        p_value=float(2 * stats.t.sf(abs(statistic), freedom)),
        confidence_interval=ConfidenceInterval(mean - half_width, mean + half_width),
        difference=mean,
        degrees_of_freedom=freedom,
        song_std=_component(squares.song - squares.residual, seeds),
        seed_std=_component(squares.seed - squares.residual, songs) if seeds > 1 else math.nan,
        residual_std=math.sqrt(squares.residual) if seeds > 1 else math.nan,
        n_songs=songs,
        n_seeds=seeds,
        n_dropped=n_dropped,
    )


def bootstrap_songs_and_seeds(
    differences: npt.ArrayLike, n_draws: int = 10_000, seed: int = 0
) -> CrossedBootstrapResult:
    r"""How sure is a mean difference, if songs and seeds had been others? Both are drawn with replacement.

    Parameters
    ----------
    differences
        Differences of scores in dB, `(songs, seeds)`, as for `crossed_test`.
    n_draws, seed
        Number of draws, and the seed of the draws.

    Notes
    -----
    The pigeonhole bootstrap: each draw takes songs and, independently, seeds, and averages the table's cells where
    they cross. Of n songs n - 1 are drawn and of k seeds k - 1, which makes the variance due to songs and to seeds
    unbiased, down to two seeds; the residuals' is counted three times, which is harmless unless they are most of the
    variance, and then the interval is too wide, never too narrow. Few seeds give few different draws, whose tails
    are too short. Therefore the interval is that of the percentiles, moved away from the mean by `t / z`, where t has
    the degrees of freedom of `crossed_test`. The p value is counted on draws moved likewise: at 5 % it agrees with the
    interval, far below it is only rough. With one seed only songs are drawn.

    It does not need normal songs; of two or three seeds, no bootstrap can know the distribution (measured coverage in
    docs/statistics.md).

    References
    ----------
    Owen 2007, The pigeonhole bootstrap; Rao and Wu 1988, Resampling inference with complex survey data; Hesterberg
    2015, What teachers should know about the bootstrap (on widening percentile intervals by t over z).

    Examples
    --------
    >>> result = bootstrap_songs_and_seeds([[0.5, 0.3], [0.2, 0.1], [0.9, 0.6], [0.4, 0.4]])
    >>> round(result.statistic, 3), round(result.standard_error, 2)
    (0.425, 0.15)
    """
    values, n_dropped = _complete_songs(differences)
    songs, seeds = values.shape
    mean = float(values.mean())
    rng = np.random.default_rng(seed)
    of_song = _shares(rng, songs, n_draws)
    of_seed = _shares(rng, seeds, n_draws) if seeds > 1 else np.ones((n_draws, 1))
    draws: Float64 = np.sum((of_song @ values) * of_seed, axis=1)
    tail = (1 - CONFIDENCE) / 2
    wider = float(stats.t.isf(tail, MeanSquares.of(values).degrees_of_freedom) / stats.norm.isf(tail))
    moved = mean + wider * (draws - mean)
    return CrossedBootstrapResult(
        statistic=mean,
        standard_error=float(np.std(draws, ddof=1)),
        p_value=p_of_draws(moved),
        confidence_interval=ConfidenceInterval(*map(float, np.quantile(moved, [tail, 1 - tail]))),
        n_songs=songs,
        n_seeds=seeds,
        n_dropped=n_dropped,
    )


def _complete_songs(differences: npt.ArrayLike) -> tuple[Float64, int]:
    """The songs with a number under every seed, and how many are not."""
    values: Float64 = np.asarray(differences, np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"expected differences (songs, seeds), got the shape {values.shape}")
    complete = values[~np.isnan(values).any(axis=1)]
    enough(len(complete), "songs without NaN")
    return complete, len(values) - len(complete)


def _component(excess: float | Float64, n: int) -> float:
    return math.sqrt(max(float(excess), 0) / n)


def _shares(rng: np.random.Generator, n: int, n_draws: int) -> Float64:
    """The share of each of n in each draw of n - 1, `(draws, n)`."""
    shares: Float64 = rng.multinomial(n - 1, np.full(n, 1 / n), size=n_draws) / (n - 1)
    return shares
