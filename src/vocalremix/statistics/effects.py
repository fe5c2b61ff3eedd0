"""How much higher one system scores than another on the same songs, and the sentence that the data support."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from vocalremix.statistics import (
    CONFIDENCE,
    ConfidenceInterval,
    bootstrap_songs,
    crossed_test,
    holm,
    paired_song_test,
    songs_needed,
)
from vocalremix.util.errors import InputError

ALPHA = 0.05
FEWEST_SONGS_TO_DRAW = 50
"""With fewer songs a bootstrap interval is too narrow, by simulation (docs/statistics.md); Student's t is not."""
RELEVANT_DB = 0.25
"""The difference that the thesis set out to show (table 5.4), for which the number of songs needed is given."""
FEWEST_SONGS_TO_PLAN = 10
"""With fewer songs, how much songs differ is a guess: from 4, the number needed is off by a factor of 10 and more."""
UNKNOWN = math.nan

Direction = Literal["up", "down", "unknown"]


@dataclass(frozen=True)
class Effect:
    """A mean difference over songs (and seeds), as far as there are songs to test it; in `unit`.

    `method` says how the interval was made: "song bootstrap" (BCa), "paired t", "songs and seeds" (crossed random
    effects), with draws of the training songs "songs and draws" or "songs, draws and seeds", or "" where there is none.
    `adjusted_p` is Holm's over the family
    of `n_compared` comparisons that the effect was tested with, see `adjust`. `spread`: the standard deviations in dB
    that `songs_needed` plans with, None where songs do not differ or are too few to tell how much, and where both draws
    and seeds are several: it plans with one of the two.
    """

    difference: float
    confidence_interval: ConfidenceInterval
    method: str
    p_value: float
    adjusted_p: float
    wilcoxon_p_value: float
    cohens_d: float
    n_songs: int
    n_seeds: int
    n_dropped: int
    n_draws: int = 1
    n_compared: int = 1
    unit: str = "dB"
    spread: Mapping[str, float] | None = None

    @property
    def is_supported(self) -> bool:
        """Whether the data tell the direction: the adjusted test and the interval must both say so."""
        low, high = self.confidence_interval
        return self.adjusted_p < ALPHA and (low > 0 or high < 0)

    @property
    def direction(self) -> Direction:
        """Which way the data point."""
        if not self.is_supported:
            return "unknown"
        return "up" if self.difference > 0 else "down"

    @cached_property
    def songs_needed(self) -> int | None:
        """Songs for a difference of 0.25 dB to be found 4 times out of 5 beside as many other comparisons.

        None where there is no `spread`, and where no number of songs is enough because the seeds differ too much.
        """
        if self.spread is None:
            return None
        n_seeds = max(self.n_draws, self.n_seeds)  # one of them is 1 where there is a spread
        # the level of Holm's first step
        return songs_needed(RELEVANT_DB, **self.spread, n_seeds=n_seeds, alpha=ALPHA / self.n_compared)


def paired_effect(differences: npt.ArrayLike) -> Effect:
    """The effect behind differences of scores in dB, `(songs,)`, `(songs, seeds)` or `(songs, draws, seeds)`.

    Songs with a NaN are dropped and counted. With several seeds, both songs and seeds are taken as drawn at random;
    with one, nothing is known of other seeds. Fewer than two songs, or an infinite difference (a perfect estimate),
    leave all but the mean unknown. Raises InputError where no song has a score.

    Draws are those of the songs to train on, a factor of its own; see `crossed_test`.
    """
    values = np.asarray(differences, np.float64)
    values = values.reshape(len(values), *([1] * (3 - values.ndim)), *values.shape[1:])
    scored = values[~np.isnan(values).any(axis=(1, 2))]
    n_songs, n_draws, n_seeds = scored.shape
    if n_songs == 0:
        raise InputError("no song has a score from both systems")
    song_means = scored.mean(axis=(1, 2))
    unknown = Effect(
        difference=float(song_means.mean()),
        confidence_interval=ConfidenceInterval(UNKNOWN, UNKNOWN),
        method="",
        p_value=UNKNOWN,
        adjusted_p=UNKNOWN,
        wilcoxon_p_value=UNKNOWN,
        cohens_d=UNKNOWN,
        n_songs=n_songs,
        n_seeds=n_seeds,
        n_draws=n_draws,
        n_dropped=len(values) - n_songs,
    )
    if n_songs < 2 or not np.isfinite(scored).all():
        return unknown
    paired = paired_song_test(song_means, np.zeros(n_songs))
    known = replace(unknown, wilcoxon_p_value=paired.wilcoxon_p_value, cohens_d=paired.cohens_d)
    if n_draws * n_seeds > 1:
        crossed = crossed_test(scored)
        known = replace(
            known,
            confidence_interval=crossed.confidence_interval,
            p_value=crossed.p_value,
            adjusted_p=crossed.p_value,
        )
        if n_draws > 1 and n_seeds > 1:
            return replace(known, method="songs, draws and seeds")
        repeat, seed_std = ("draws", crossed.draw_std) if n_draws > 1 else ("seeds", crossed.seed_std)
        spread = _spread(n_songs, crossed.song_std, seed_std=seed_std, residual_std=crossed.residual_std)
        return replace(known, method=f"songs and {repeat}", spread=spread)
    return replace(
        known,
        confidence_interval=song_interval(song_means),
        method="song bootstrap" if n_songs >= FEWEST_SONGS_TO_DRAW else "paired t",
        p_value=paired.p_value,
        adjusted_p=paired.p_value,
        spread=_spread(n_songs, float(np.std(song_means, ddof=1))),
    )


def song_interval(
    values: npt.ArrayLike, songs: npt.ArrayLike | None = None, statistic: Literal["mean", "median"] = "mean"
) -> ConfidenceInterval:
    """The 95 % interval of a mean or median in dB, had the songs been others.

    `values` are one per song, or one per window with the song of each in `songs`; NaN is left out. From 50 songs on,
    BCa bootstrap over songs; below, Student's t around the mean, with a standard error that takes all windows of a
    song together (Cochran 1977, Sampling techniques, 6.4); of a median there is none then that covers what it promises.
    Both ends are NaN where there is no interval, fewer than two songs have a value or one is infinite.
    """
    scores = np.asarray(values, np.float64)
    labels = np.arange(len(scores)) if songs is None else np.asarray(songs)
    defined = ~np.isnan(scores)
    scores, labels = scores[defined], labels[defined]
    _, song_of_value = np.unique(labels, return_inverse=True)
    n_songs = int(song_of_value.max(initial=-1)) + 1
    if n_songs < 2 or not np.isfinite(scores).all():
        return ConfidenceInterval(UNKNOWN, UNKNOWN)
    if n_songs >= FEWEST_SONGS_TO_DRAW:
        return bootstrap_songs(scores, songs=labels, statistic=statistic).confidence_interval
    if statistic == "median":
        return ConfidenceInterval(UNKNOWN, UNKNOWN)
    mean = float(scores.mean())
    of_songs = np.bincount(song_of_value, weights=scores - mean)
    standard_error = math.sqrt(n_songs / (n_songs - 1) * float(np.sum(of_songs**2))) / len(scores)
    half_width = float(stats.t.isf((1 - CONFIDENCE) / 2, n_songs - 1)) * standard_error
    return ConfidenceInterval(mean - half_width, mean + half_width)


def _spread(
    n_songs: int, song_std: float, *, seed_std: float = 0, residual_std: float = 0
) -> Mapping[str, float] | None:
    if n_songs < FEWEST_SONGS_TO_PLAN or song_std + residual_std == 0:
        return None
    return dict(song_std=song_std, seed_std=seed_std, residual_std=residual_std)


def adjust(effects: Sequence[Effect]) -> list[Effect]:
    """The same effects with p values adjusted for being tested together (Holm)."""
    adjusted = holm([effect.p_value for effect in effects])
    return [
        replace(effect, adjusted_p=float(p), n_compared=len(effects))
        for effect, p in zip(effects, adjusted, strict=True)
    ]
