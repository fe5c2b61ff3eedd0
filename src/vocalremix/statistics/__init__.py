"""Tests of mean scores: the thesis's, which count windows, and those that hold, which count songs and seeds."""

from vocalremix.statistics.intervals import CONFIDENCE, ConfidenceInterval, Float64
from vocalremix.statistics.planning import power, seeds_needed, songs_needed
from vocalremix.statistics.seeds import CrossedBootstrapResult, CrossedResult, bootstrap_songs_and_seeds, crossed_test
from vocalremix.statistics.songs import (
    THRESHOLD_DB,
    Alternative,
    BootstrapResult,
    DifferenceResult,
    OneSampleResult,
    PairedResult,
    bootstrap_songs,
    difference_test,
    holm,
    one_sample_test,
    paired_song_test,
)

__all__ = [
    "CONFIDENCE",
    "THRESHOLD_DB",
    "Alternative",
    "BootstrapResult",
    "ConfidenceInterval",
    "CrossedBootstrapResult",
    "CrossedResult",
    "DifferenceResult",
    "Float64",
    "OneSampleResult",
    "PairedResult",
    "bootstrap_songs",
    "bootstrap_songs_and_seeds",
    "crossed_test",
    "difference_test",
    "holm",
    "one_sample_test",
    "paired_song_test",
    "power",
    "seeds_needed",
    "songs_needed",
]
