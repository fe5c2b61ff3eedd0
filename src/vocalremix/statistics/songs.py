"""Tests of mean scores under one seed: the thesis's, which count windows, and those that hold, which count songs."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from vocalremix.statistics.intervals import CONFIDENCE, ConfidenceInterval, Float64, enough, p_of_draws, ratio
from vocalremix.util.errors import InputError

THRESHOLD_DB = 10 * math.log10(5)

Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class OneSampleResult:
    """A mean against a threshold; `n` values used, `n_dropped` left out because they were NaN."""

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    mean: float
    std: float
    n: int
    n_dropped: int


@dataclass(frozen=True)
class DifferenceResult:
    """A difference of two independent means, a minus b; `n_dropped` NaN values left out of both."""

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    difference: float
    n_a: int
    n_b: int
    n_dropped: int


@dataclass(frozen=True)
class PairedResult:
    """A mean difference over the same songs, a minus b; `n_dropped` pairs left out because of a NaN."""

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    difference: float
    wilcoxon_statistic: float
    wilcoxon_p_value: float
    cohens_d: float
    n: int
    n_dropped: int


@dataclass(frozen=True)
class BootstrapResult:
    """A mean or median whose uncertainty comes from drawing songs anew; `n` songs, `n_dropped` NaN values."""

    statistic: float
    standard_error: float
    p_value: float
    confidence_interval: ConfidenceInterval
    n: int
    n_dropped: int


def one_sample_test(
    samples: npt.ArrayLike | None = None,
    *,
    mean: float | None = None,
    std: float | None = None,
    n: int | None = None,
    threshold_db: float = THRESHOLD_DB,
) -> OneSampleResult:
    r"""Is the mean above a threshold? The thesis's one-sided z test (4.5.3).

    Parameters
    ----------
    samples
        Scores in dB, one per window or song; NaN is dropped and counted. Or give `mean`, `std` (n - 1 in its
        denominator) and `n` instead.
    threshold_db
        The mean under H0. Default `10 log10(5)` = 6.9897 dB: five times as much signal energy as distortion.

    Notes
    -----
    `z = (mean - threshold) / SE` with `SE = std / sqrt(n)`, and `p = 1 - Phi(z)`. Values must be independent for p
    to mean anything; the thesis's 2772 windows overlap by half and come from 50 songs, so its p is too small. With
    few values the normal distribution is too narrow as well. The interval is the two-sided 95 % one of the mean.

    References
    ----------
    Svystun 2024, The Impact of Remixing on Vocal Extraction in Low Data Regimes, section 4.5.3, equations 4.1-4.5.

    Examples
    --------
    >>> result = one_sample_test(mean=7.13, std=2.63, n=2772)  # table 5.3, uSDR
    >>> round(result.statistic, 3), round(result.standard_error, 3), round(result.p_value, 4)
    (2.809, 0.05, 0.0025)
    """
    mean, std, n, n_dropped = _moments(samples, mean, std, n, "")
    standard_error = std / math.sqrt(n)
    statistic = ratio(mean - threshold_db, standard_error)
    return OneSampleResult(
        statistic=statistic,
        standard_error=standard_error,
        p_value=float(stats.norm.sf(statistic)),
        confidence_interval=_normal_interval(mean, standard_error),
        mean=mean,
        std=std,
        n=n,
        n_dropped=n_dropped,
    )


def difference_test(
    samples_a: npt.ArrayLike | None = None,
    samples_b: npt.ArrayLike | None = None,
    *,
    mean_a: float | None = None,
    std_a: float | None = None,
    n_a: int | None = None,
    mean_b: float | None = None,
    std_b: float | None = None,
    n_b: int | None = None,
) -> DifferenceResult:
    r"""Is mean a above mean b? The thesis's right-sided z test of two independent means (4.5.4).

    Parameters
    ----------
    samples_a, mean_a, std_a, n_a
        The trained model's scores in dB, or their mean, standard deviation and number. NaN is dropped and counted.
    samples_b, mean_b, std_b, n_b
        The same of the initial model. A positive statistic says that a is better than b.

    Notes
    -----
    `z = (mean_a - mean_b) / SE` with `SE = sqrt(std_a^2 / n_a + std_b^2 / n_b)`, and `p = 1 - Phi(z)`. It treats the
    two sets as independent although both models are scored on the same songs; `paired_song_test` does not. The
    interval is the two-sided 95 % one of the difference.

    References
    ----------
    Svystun 2024, section 4.5.4.

    Examples
    --------
    >>> published = difference_test(mean_a=7.13, std_a=2.63, n_a=2772, mean_b=6.88, std_b=2.49, n_b=2772)
    >>> round(published.statistic, 2), round(published.p_value, 4)
    (3.63, 0.0001)
    >>> by_songs = difference_test(mean_a=7.13, std_a=2.63, n_a=50, mean_b=6.88, std_b=2.49, n_b=50)
    >>> round(by_songs.p_value, 2)
    0.31
    """
    mean_a, std_a, n_a, dropped_a = _moments(samples_a, mean_a, std_a, n_a, "_a")
    mean_b, std_b, n_b, dropped_b = _moments(samples_b, mean_b, std_b, n_b, "_b")
    difference = mean_a - mean_b
    standard_error = math.hypot(std_a / math.sqrt(n_a), std_b / math.sqrt(n_b))
    statistic = ratio(difference, standard_error)
    return DifferenceResult(
        statistic=statistic,
        standard_error=standard_error,
        p_value=float(stats.norm.sf(statistic)),
        confidence_interval=_normal_interval(difference, standard_error),
        difference=difference,
        n_a=n_a,
        n_b=n_b,
        n_dropped=dropped_a + dropped_b,
    )


def paired_song_test(a: npt.ArrayLike, b: npt.ArrayLike, alternative: Alternative = "two-sided") -> PairedResult:
    r"""Do two models differ on the same songs? Paired t test, Wilcoxon's signed-rank test and Cohen's d.

    Parameters
    ----------
    a, b
        One score in dB per song, the songs in the same order. Pairs with a NaN are dropped and counted.
    alternative
        As in scipy: "greater" asks whether a is better than b, as `difference_test` does.

    Notes
    -----
    With `d = a - b`: `t = mean(d) / SE`, `SE = std(d) / sqrt(n)`, n - 1 degrees of freedom; Cohen's d for pairs is
    `mean(d) / std(d)`. Pairing takes the songs' own difficulty out of the standard error. Wilcoxon's test asks the
    same of the ranks and does not need normal differences. Where all differences are equal t is infinite, or NaN
    where all are zero. The interval is the two-sided 95 % one of the mean difference.

    References
    ----------
    Student 1908, The probable error of a mean; Wilcoxon 1945, Individual comparisons by ranking methods;
    Lakens 2013, Calculating and reporting effect sizes (d_z).

    Examples
    --------
    >>> result = paired_song_test([7.1, 8.0, 5.2, 9.9], [6.9, 7.4, 5.1, 9.4])
    >>> round(result.difference, 2), round(result.p_value, 3), result.wilcoxon_p_value
    (0.35, 0.06, 0.125)
    """
    differences, n_dropped = _differences(a, b)
    n, mean, std = len(differences), float(np.mean(differences)), float(np.std(differences, ddof=1))
    standard_error = std / math.sqrt(n)
    half_width = float(stats.t.isf((1 - CONFIDENCE) / 2, n - 1)) * standard_error
    with warnings.catch_warnings():
        # scipy warns of differences that are all the same: then t is infinite, and right
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        student = stats.ttest_1samp(differences, 0, alternative=alternative)
    with np.errstate(invalid="ignore"):  # scipy divides zero by zero before it answers p = 1 for equal songs
        ranks = stats.wilcoxon(differences, alternative=alternative)
    return PairedResult(
        statistic=float(student.statistic),
        standard_error=standard_error,
        p_value=float(student.pvalue),
        confidence_interval=ConfidenceInterval(mean - half_width, mean + half_width),
        difference=mean,
        wilcoxon_statistic=float(ranks.statistic),
        wilcoxon_p_value=float(ranks.pvalue),
        cohens_d=ratio(mean, std),
        n=n,
        n_dropped=n_dropped,
    )


def bootstrap_songs(
    a: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    songs: npt.ArrayLike | None = None,
    statistic: Literal["mean", "median"] = "mean",
    n_draws: int = 10_000,
    seed: int = 0,
) -> BootstrapResult:
    r"""How sure is a mean or median, if the songs had been others? Songs are drawn with replacement.

    Parameters
    ----------
    a
        Values in dB: one per song, or one per window together with `songs`. Scores or differences of scores.
    b
        The other model's values in the same order; then a minus b is analysed. Values with a NaN in a or b are
        dropped and counted.
    songs
        The song that each value belongs to. All windows of a song are drawn together, so that neighbours that
        resemble each other do not count as independent; the statistic stays the mean over windows.
    statistic
        "mean" of the values, or their "median" over songs (SiSEC), which takes one value per song.
    n_draws, seed
        Number of draws of as many songs as there are, and the seed of the draws.

    Notes
    -----
    The p value, two-sided, belongs to a mean or median of zero and so is of use for differences: twice the smaller
    share of draws on either side of zero, `2 (1 + k) / (1 + n_draws)`, at most 1. The interval, two-sided, 95 %, is
    bias-corrected and accelerated (BCa) for the mean and that of the percentiles for the median: the acceleration
    comes from leaving out one song at a time, which moves a median by one of two steps only. Where all songs agree
    the interval has no width. With fewer than about ten songs there are too few different draws for interval or p to
    be taken at its word. The median of differences is not the difference of medians.

    References
    ----------
    Efron 1987, Better bootstrap confidence intervals; Efron 1979, Bootstrap methods, section 3 (median); Davison and
    Hinkley 1997, Bootstrap methods, sections 2.4, 3.8.

    Examples
    --------
    >>> result = bootstrap_songs([0.2, 0.6, 0.1, 0.5, 0.4, -0.1], seed=1)
    >>> round(result.statistic, 3), result.confidence_interval.low > 0
    (0.283, True)
    """
    values: Float64 = np.asarray(a, np.float64) if b is None else _paired(a, b)
    labels = np.arange(len(values)) if songs is None else np.asarray(songs)
    if values.ndim != 1 or labels.shape != values.shape:
        raise InputError(f"expected one song per value, got {values.shape} values and {labels.shape} songs")
    defined = ~np.isnan(values)
    _, song_of_value = np.unique(labels[defined], return_inverse=True)
    windows = np.bincount(song_of_value).astype(np.float64)
    sums = np.bincount(song_of_value, weights=values[defined])
    enough(len(sums), "songs")
    if statistic == "median" and len(sums) < windows.sum():
        raise InputError("the median over songs takes one value per song; average the windows of each song before")
    average = _mean_over_windows if statistic == "mean" else _median_over_songs
    center = float(average(sums, windows))
    if np.ptp(sums / windows) == 0:
        draws: Float64 = np.full(n_draws, center)
        interval = ConfidenceInterval(center, center)
    else:
        bootstrap = stats.bootstrap(
            (sums, windows),
            average,
            n_resamples=n_draws,
            vectorized=True,
            paired=True,
            confidence_level=CONFIDENCE,
            method="BCa" if statistic == "mean" else "percentile",
            rng=np.random.default_rng(seed),
        )
        draws = bootstrap.bootstrap_distribution
        interval = ConfidenceInterval(*map(float, bootstrap.confidence_interval))
    return BootstrapResult(
        statistic=center,
        standard_error=float(np.std(draws, ddof=1)),
        p_value=p_of_draws(draws),
        confidence_interval=interval,
        n=len(sums),
        n_dropped=len(values) - int(np.count_nonzero(defined)),
    )


def holm(p_values: npt.ArrayLike) -> Float64:
    r"""P values that can be taken one by one although several tests were made (Holm's step-down method).

    Parameters
    ----------
    p_values
        One per test of the family. NaN stays NaN and is not counted as a test.

    Notes
    -----
    The i-th smallest of m becomes `max over j <= i of (m - j + 1) p_j`, at most 1. Among results with an adjusted p
    of at most alpha, the chance of a single wrong one is at most alpha, however the tests depend on one another.

    References
    ----------
    Holm 1979, A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted: Float64 = np.array(p_values, np.float64)
    defined = np.flatnonzero(~np.isnan(adjusted))
    if adjusted.ndim != 1 or np.any((adjusted[defined] < 0) | (adjusted[defined] > 1)):
        raise InputError(f"expected a list of p values between 0 and 1, got {adjusted.tolist()}")
    ascending = defined[np.argsort(adjusted[defined])]
    weighted = adjusted[ascending] * np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(weighted))
    return adjusted


def _mean_over_windows(sums: npt.NDArray[Any], windows: npt.NDArray[Any], axis: int = -1) -> Any:
    return sums.sum(axis) / windows.sum(axis)


def _median_over_songs(values: npt.NDArray[Any], _: npt.NDArray[Any], axis: int = -1) -> Any:
    return np.median(values, axis)


def _moments(
    samples: npt.ArrayLike | None, mean: float | None, std: float | None, n: int | None, suffix: str
) -> tuple[float, float, int, int]:
    """Mean, standard deviation, number of values and number of NaN, from the values or as given."""
    if samples is None:
        if mean is None or std is None or n is None:
            raise InputError(f"give either samples{suffix} or all of mean{suffix}, std{suffix} and n{suffix}")
        enough(n, f"values (n{suffix})")
        return mean, std, n, 0
    if not (mean is None and std is None and n is None):
        raise InputError(f"give either samples{suffix} or mean{suffix}, std{suffix} and n{suffix}, not both")
    values: Float64 = np.asarray(samples, np.float64)
    defined = values[~np.isnan(values)]
    enough(len(defined), f"values in samples{suffix}")
    return float(np.mean(defined)), float(np.std(defined, ddof=1)), len(defined), len(values) - len(defined)


def _paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64:
    values_a: Float64 = np.asarray(a, np.float64)
    values_b: Float64 = np.asarray(b, np.float64)
    if values_a.shape != values_b.shape or values_a.ndim != 1:
        raise InputError(f"pairs need as many values in a as in b, got {values_a.shape} and {values_b.shape}")
    return values_a - values_b


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Float64, int]:
    """The differences that are numbers, and how many are not."""
    differences = _paired(a, b)
    defined = differences[~np.isnan(differences)]
    enough(len(defined), "pairs without NaN")
    return defined, len(differences) - len(defined)


def _normal_interval(center: float, standard_error: float) -> ConfidenceInterval:
    half_width = float(stats.norm.isf((1 - CONFIDENCE) / 2)) * standard_error
    return ConfidenceInterval(center - half_width, center + half_width)
