"""Mean differences over songs, draws of the training songs, and seeds: the next study would draw all of them anew."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from vocalremix.statistics.intervals import CONFIDENCE, ConfidenceInterval, Float64, enough, p_of_draws, ratio
from vocalremix.util.errors import InputError

TABLES = {2: "(songs, seeds)", 3: "(songs, draws, seeds)"}


@dataclass(frozen=True)
class CrossedResult:
    """A mean difference over songs, draws of the training songs, and seeds.

    The stds in dB are those of its parts: between songs, between draws, between seeds of one draw, and what is left of
    a song under one training; NaN where one draw or seed cannot tell. With one training, `song_std` is the std of the
    differences. With one seed, draws differ by their seeds too. `n_dropped` songs left out because of a NaN.
    """

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    difference: float
    degrees_of_freedom: float
    song_std: float
    draw_std: float
    seed_std: float
    residual_std: float
    n_songs: int
    n_draws: int
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
    """Mean squares of a table whose axes are crossed factors, one table's or those of many.

    `squares` has those of each factor and each interaction, called by the axes that they vary along; axes of length 1
    are no factors. `shape` is the table's.
    """

    squares: Mapping[tuple[int, ...], float | Float64]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, values: Float64) -> "MeanSquares":
        """Those of a table."""
        factors = [axis for axis, size in enumerate(values.shape) if size > 1]
        squares = {}
        for varied in chain.from_iterable(combinations(factors, n) for n in range(1, len(factors) + 1)):
            effect = values.mean(axis=tuple(set(range(values.ndim)).difference(varied)), keepdims=True)
            for axis in varied:
                effect = effect - effect.mean(axis=axis, keepdims=True)
            freedom = math.prod(values.shape[axis] - 1 for axis in varied)
            squares[varied] = values.size / effect.size * float(np.sum(effect**2)) / freedom
        return cls(squares, values.shape)

    @property
    def standard_error(self) -> Float64:
        """Of the mean over the table; a negative variance of a factor or an interaction counts as none."""
        return np.asarray(np.sqrt(self._of_mean / math.prod(self.shape)))

    @property
    def degrees_of_freedom(self) -> Float64:
        """Satterthwaite's, of the squared standard error."""
        spread = np.asarray(sum(square**2 / self._freedom(varied) for varied, square in self.squares.items()))
        freedom: Float64 = np.full(spread.shape, float(self.shape[0] - 1))
        np.divide(self._of_mean**2, spread, out=freedom, where=spread > 0)
        return freedom

    def variance(self, *varied: int) -> Float64:
        """The variance component of a factor or an interaction, called by its axes; a negative one counts as none."""
        levels = math.prod(self.shape[axis] for axis in varied)
        return np.asarray(self._excess(varied) * levels / math.prod(self.shape))

    @property
    def _of_mean(self) -> Float64:
        return np.asarray(sum(self._excess(varied) for varied in self.squares))

    def _excess(self, varied: tuple[int, ...]) -> Float64:
        """What a component alone adds to its mean square: expected mean squares, inverted."""
        signed = [
            (-1) ** (len(other) - len(varied)) * square
            for other, square in self.squares.items()
            if set(varied) <= set(other)
        ]
        return np.asarray(np.maximum(sum(signed), 0))

    def _freedom(self, varied: tuple[int, ...]) -> int:
        return math.prod(self.shape[axis] - 1 for axis in varied)


def crossed_test(differences: npt.ArrayLike) -> CrossedResult:
    r"""Do two methods differ, on other songs and trained anew? Crossed random effects.

    Parameters
    ----------
    differences
        Differences of scores in dB, method a minus method b on the same song: `(songs, seeds)`, both trained with the
        same seed; or `(songs, draws, seeds)`, both trained on the same draw of training songs, with the same seed.
        Songs with a NaN under any training are dropped and counted.

    Notes
    -----
    The model: the mean, plus a random effect of each factor, plus one of each interaction, all independent. The last
    interaction is the residual. The mean squares estimate the variance components; a component that comes out negative
    counts as zero. With N differences, `N SE^2` is the sum over factors and interactions of
    `N var / (number of its levels)`. Of songs and seeds alone, that is
    `MS_song + MS_seed - MS_residual`, which estimates `N (song_std^2 / n + seed_std^2 / k + residual_std^2 / (n k))`;
    of three factors, `MS_song + MS_draw + MS_seed - MS_song_draw - MS_song_seed - MS_draw_seed + MS_residual`.
    t = mean / SE has Satterthwaite's degrees of freedom, `(N SE^2)^2 / sum(MS^2 / df)`.

    Seeds that are nested in draws have no effect of their own, only one within their draw: that is the same model with
    two variances of zero. Where one side has no draw (it is trained on all songs), its seeds are the same for all
    draws, and their effect is there. So the crossed model is right for both.

    With one draw and one seed this is the paired t test, which says nothing about other trainings. Two or three draws
    or seeds are few: where they differ as much as the standard error or more, the interval covers less than 95 %
    (measured in docs/statistics.md). Where residuals are most of the variance, it covers more.

    References
    ----------
    Cornfield and Tukey 1956, Average values of mean squares in factorials; Satterthwaite 1946, An approximate
    distribution of estimates of variance components; Searle, Casella and McCulloch 1992, Variance Components, chapter
    4; Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks.

    Examples
    --------
    >>> result = crossed_test([[0.5, 0.3], [0.2, 0.1], [0.9, 0.6], [0.4, 0.4]])
    >>> round(result.difference, 3), round(result.standard_error, 3), round(result.degrees_of_freedom, 1)
    (0.425, 0.141, 3.6)
    >>> round(result.song_std, 2), round(result.seed_std, 2), round(result.residual_std, 2)
    (0.24, 0.1, 0.09)
    """
    values, n_dropped = _complete_songs(differences, 2, 3)
    values = values.reshape(len(values), -1, values.shape[-1])
    squares = MeanSquares.of(values)
    songs, draws, seeds = values.shape
    mean, standard_error = float(values.mean()), float(squares.standard_error)
    freedom = float(squares.degrees_of_freedom)
    statistic = ratio(mean, standard_error)
    half_width = float(stats.t.isf((1 - CONFIDENCE) / 2, freedom)) * standard_error

    def std(*parts: tuple[int, ...]) -> float:
        known = [float(squares.variance(*part)) for part in parts if part in squares.squares]
        return math.sqrt(sum(known)) if known else math.nan

    return CrossedResult(
        statistic=statistic,
        standard_error=standard_error,
        p_value=float(2 * stats.t.sf(abs(statistic), freedom)),
        confidence_interval=ConfidenceInterval(mean - half_width, mean + half_width),
        difference=mean,
        degrees_of_freedom=freedom,
        song_std=std((0,)),
        draw_std=std((1,)),
        seed_std=std((2,), (1, 2)),
        residual_std=std((0, 1), (0, 2), (0, 1, 2)),
        n_songs=songs,
        n_draws=draws,
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
    values, n_dropped = _complete_songs(differences, 2)
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


def _complete_songs(differences: npt.ArrayLike, *n_axes: int) -> tuple[Float64, int]:
    """The songs with a number under every training, and how many are not."""
    values: Float64 = np.asarray(differences, np.float64)
    if values.ndim not in n_axes or 0 in values.shape[1:]:
        expected = " or ".join(TABLES[n] for n in n_axes)
        raise InputError(f"expected differences {expected}, got the shape {values.shape}")
    complete = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    enough(len(complete), "songs without NaN")
    return complete, len(values) - len(complete)


def _shares(rng: np.random.Generator, n: int, n_draws: int) -> Float64:
    """The share of each of n in each draw of n - 1, `(draws, n)`."""
    shares: Float64 = rng.multinomial(n - 1, np.full(n, 1 / n), size=n_draws) / (n - 1)
    return shares
