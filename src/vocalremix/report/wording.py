"""Effects in words."""

from typing import NamedTuple

from vocalremix.statistics.effects import RELEVANT_DB, Direction, Effect
from vocalremix.util.errors import counted


def verdict(effect: Effect, subject: str, metric: str) -> str:
    """One sentence: that `subject` raises or lowers the metric and by how much, or that the data cannot tell.

    >>> effect = paired_effect([0.3, 0.5, 0.4, 0.2])
    >>> verdict(effect, "speech_remix_prob 0.2", "uSDR")
    'speech_remix_prob 0.2 raises uSDR by 0.35 dB, 95 % CI [0.14, 0.56], 4 songs.'
    """
    if effect.is_supported:
        verb = "raises" if effect.difference > 0 else "lowers"
        return f"{subject} {verb} {metric} by {size(effect)}, {evidence(effect)}."
    return f"Cannot tell whether {subject} changes {metric}: {what_is_known(effect)}."


def size(effect: Effect) -> str:
    """How large a difference is; what is supported is not nothing, however small."""
    amount = abs(effect.difference)
    return (f"{amount:.2f}" if amount >= 0.005 else f"{amount:.1g}") + _unit(effect)


def what_is_known(effect: Effect) -> str:
    """Of an effect that is not supported: difference, evidence and, where that can be planned, what it would take."""
    needed = ""
    if effect.unit != "dB":
        pass  # what is relevant is known in dB only
    elif effect.spread and effect.songs_needed is None:
        needed = f"; to find {RELEVANT_DB:g} dB takes more seeds, on any number of songs"
    elif effect.songs_needed and effect.songs_needed > effect.n_songs:
        needed = f"; to find {RELEVANT_DB:g} dB takes about {effect.songs_needed:,} songs"
    return f"{effect.difference:+.2f}{_unit(effect)}, {evidence(effect)}{needed}"


def _unit(effect: Effect) -> str:
    return f" {effect.unit}" if effect.unit else ""


def evidence(effect: Effect) -> str:
    """Interval and numbers of songs and seeds, as words in a sentence; the p value where it overrules the interval."""
    low, high = effect.confidence_interval
    interval = f"95 % CI [{low:.2f}, {high:.2f}]" if effect.method else "no interval"
    if not effect.is_supported and (low > 0 or high < 0):
        interval += f" but {'adjusted ' * (effect.n_compared > 1)}p {effect.adjusted_p:.2g}"
    draws = f", {effect.n_draws} draws of the training songs" if effect.n_draws > 1 else ""
    seeds = f", {effect.n_seeds} seeds" if effect.n_seeds > 1 else ""
    return f"{interval}, {counted(effect.n_songs, 'song')}{draws}{seeds}"


class Verdict(NamedTuple):
    """What the data say, in a sentence, and which way they point."""

    text: str
    direction: Direction
