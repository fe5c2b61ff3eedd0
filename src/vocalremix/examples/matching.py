"""Which windows go together: like tempo, like key, and beats that fall together."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vocalremix.remix.base import Match
from vocalremix.util.values import SAMPLE_RATE
from vocalremix.windows.pulses import Pulse, of_copy

OCTAVES = 2.0 ** np.arange(-2, 3)


class Matching:
    """The windows of a table by tempo and key (demucs, tools/automix)."""

    def __init__(self, windows: pd.DataFrame, pulses: Mapping[str, Mapping[str, Pulse]]) -> None:
        """`windows` has columns part, song, copy and start_sample; a song without a pulse matches none."""
        names = windows[["part", "song", "copy"]]
        self._group_of = names.groupby(["part", "song", "copy"], sort=False).ngroup().to_numpy()
        groups = names.drop_duplicates()
        known = [of_copy(pulses[part][song], copy) for part, song, copy in groups.itertuples(index=False)]
        self._songs = groups["song"].to_numpy(object)
        self._tempos = np.array([pulse.tempo_bpm or np.nan for pulse in known])
        self._keys = np.array([np.nan if pulse.key is None else pulse.key for pulse in known])
        self._beats = [np.array(pulse.beats_s) for pulse in known]
        self._starts = windows["start_sample"].to_numpy(np.int64)

    def draw(
        self, rng: np.random.Generator, row: int, offset_samples: int, tempo: float, semitones: float
    ) -> Match | None:
        """A window of another song, each that fits as likely as the next; None where none does.

        `row` and `offset_samples` say where the example begins. A song fits whose tempo, doubled or halved up to twice,
        is within the share `tempo` of the example's, and whose key is at most `semitones` away.
        """
        own = self._group_of[row]
        ratios = self._tempos[own] / self._tempos[:, None] / OCTAVES
        best = ratios[np.arange(len(ratios)), np.abs(np.log(ratios)).argmin(axis=1)]
        higher = (self._keys[own] - self._keys + 6) % 12 - 6
        fits = (np.abs(best - 1) <= tempo) & (np.abs(higher) <= semitones) & (self._songs != self._songs[own])
        rows = fits[self._group_of].nonzero()[0]
        if not len(rows):
            return None
        partner = int(rng.choice(rows))
        group = self._group_of[partner]
        until_own, until_its = self._until_beat(row, offset_samples), self._until_beat(partner, offset_samples)
        later = round((until_its - until_own * best[group]) * SAMPLE_RATE)
        return Match(partner, offset_samples + later, float(best[group]), float(higher[group]))

    def _until_beat(self, row: int, offset_samples: int) -> float:
        """Seconds from a place to the first beat after it, or back to the last one where none follows."""
        beats, place_s = self._beats[self._group_of[row]], (self._starts[row] + offset_samples) / SAMPLE_RATE
        return float(beats[min(np.searchsorted(beats, place_s), len(beats) - 1)] - place_s)
