"""What tests and bootstraps share: the 95 % interval and checks of their input."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vocalremix.util.errors import InputError

CONFIDENCE = 0.95

Float64 = npt.NDArray[np.float64]


class ConfidenceInterval(NamedTuple):
    """Both ends of a two-sided 95 % interval, in dB."""

    low: float
    high: float


def enough(n: int, what: str) -> None:
    """Refuse what has no spread."""
    if n < 2:
        raise InputError(f"a test needs at least 2 {what}, got {n}")


def ratio(effect: float, spread: float) -> float:
    """Effect over spread, infinite where nothing spreads, NaN for no effect and no spread."""
    if spread:
        return effect / spread
    return math.copysign(math.inf, effect) if effect else math.nan


def p_of_draws(draws: Float64) -> float:
    """Two-sided p of a difference of zero: twice the smaller share of draws on either side, at most 1."""
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return min(1.0, float(2 * (1 + tail) / (1 + len(draws))))
