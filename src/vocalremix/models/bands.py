"""Band tables: which frequency bins a Band-Split RNN handles together."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from types import MappingProxyType

from vocalremix.util.errors import InputError

BandTable = Sequence[tuple[float, float]]
"""Rows of (limit_hz, width_hz): bands of that width up to that limit; one last band takes what is left."""

V7: BandTable = ((1000, 100), (4000, 250), (8000, 500), (16000, 1000), (20000, 2000))

PAPER_TABLES: Mapping[str, BandTable] = MappingProxyType(
    {
        "vocals": V7,
        "drums": ((1000, 50), (2000, 100), (4000, 250), (8000, 500), (16000, 1000)),
        "bass": ((500, 50), (1000, 100), (4000, 500), (8000, 1000), (16000, 2000)),
        "other": V7,
    }
)
"""The tables of Luo and Yu, Music Source Separation with Band-split RNN (arXiv 2209.15174)."""


def band_edges(table: BandTable, n_fft: int, sample_rate: int) -> list[tuple[int, int]]:
    """First bin and bin after the last of every band; together they hold all `n_fft // 2 + 1` bins.

    A bin belongs to the first band whose upper limit lies above the bin's frequency. Raises InputError where
    the limits do not rise, a width does not divide its section, a band is empty or a limit exceeds half the
    sample rate.
    """
    edges: list[tuple[int, int]] = []
    low_hz, first_bin = 0.0, 0
    for limit_hz, width_hz in table:
        if limit_hz <= low_hz:
            raise InputError(f"bands: limit {limit_hz:g} Hz does not lie above the one before it ({low_hz:g} Hz)")
        if 2 * limit_hz > sample_rate:
            raise InputError(f"bands: limit {limit_hz:g} Hz lies above half the sample rate ({sample_rate / 2:g} Hz)")
        count = (Fraction(limit_hz) - Fraction(low_hz)) / Fraction(width_hz)
        if count.denominator != 1:
            raise InputError(f"bands: {low_hz:g} to {limit_hz:g} Hz is not a whole number of {width_hz:g} Hz bands")
        for index in range(1, int(count) + 1):
            high_hz = Fraction(low_hz) + index * Fraction(width_hz)
            end_bin = ceil(high_hz * n_fft / sample_rate)
            if end_bin == first_bin:
                raise InputError(
                    f"bands: the {width_hz:g} Hz band below {float(high_hz):g} Hz is empty, as bins are "
                    f"{sample_rate / n_fft:.1f} Hz apart; widen the band or raise n_fft"
                )
            edges.append((first_bin, end_bin))
            first_bin = end_bin
        low_hz = limit_hz
    return [*edges, (first_bin, n_fft // 2 + 1)]
