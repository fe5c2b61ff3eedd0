"""What the samples of one recording tell, gathered block by block."""

import math

import numpy as np
import numpy.typing as npt

from vocalremix.audio.waveform import Waveform
from vocalremix.windows.sad import salient_starts

ENVELOPE_HOP_S = 0.05
BLOCK_HOPS = 120
SILENT_PEAK = 1e-3
# so that the largest and the smallest value of 16 bits count as one level, and so does what a float holds beyond
FULL_SCALE = 32766 / 32768
WINDOW_S, STEP_S = 6.0, 3.0


def hop_samples(sample_rate: int) -> int:
    """Samples of one value of the envelope."""
    return max(1, round(ENVELOPE_HOP_S * sample_rate))


class Levels:
    """Peak, offset, clipping, faulty samples and envelope of one recording.

    `add` takes blocks of `(channels, samples)` float32, each but the last a whole number of envelope hops long.
    """

    def __init__(self, channels: int, sample_rate: int) -> None:
        self.n_samples = 0
        self.n_not_finite = 0
        self.first_not_finite: int | None = None
        self.peaks = np.zeros(channels)
        self._hop = hop_samples(sample_rate)
        self._sums = np.zeros(channels)
        self._tops = [FlatTops() for _ in range(channels)]
        self._envelope: list[npt.NDArray[np.float32]] = []

    def add(self, block: Waveform) -> Waveform:
        """Take in a block; returns it with zeros for what is not finite."""
        finite = np.isfinite(block)
        if not finite.all():
            faulty = np.flatnonzero(~finite.all(axis=0))
            self.n_not_finite += int((~finite).sum())
            if self.first_not_finite is None:
                self.first_not_finite = self.n_samples + int(faulty[0])
            block = np.where(finite, block, np.float32(0))
        size = np.abs(block)
        self.peaks = np.maximum(self.peaks, size.max(axis=1))
        self._sums += block.sum(axis=1, dtype=np.float64)
        for tops, channel in zip(self._tops, np.minimum(size, np.float32(FULL_SCALE)), strict=True):
            tops.add(channel)
        hops = block.shape[1] // self._hop
        frames = block[:, : hops * self._hop].reshape(len(block), hops, self._hop)
        self._envelope.append(np.einsum("chs,chs->h", frames, frames) / np.float32(len(block) * self._hop))
        self.n_samples += block.shape[1]
        return block

    def offset(self) -> float:
        """The largest mean of a channel, in absolute value."""
        return float(np.abs(self._sums).max() / max(1, self.n_samples))

    def envelope(self) -> npt.NDArray[np.float32]:
        """Mean square of every 0.05 s, over all channels; what follows the last whole hop is left out."""
        return np.concatenate(self._envelope) if self._envelope else np.zeros(0, dtype=np.float32)

    def flat_tops(self) -> tuple[float, int, int]:
        """The level of the worst channel's flat tops, in 0..1, all channels' samples in them, and the longest."""
        worst = max(self._tops, key=FlatTops.count)
        return worst.level, sum(tops.count() for tops in self._tops), max(tops.longest() for tops in self._tops)


class FlatTops:
    """Runs of samples at a channel's own peak, which is what clipping leaves, at whatever gain it was stored."""

    def __init__(self) -> None:
        self.level = 0.0
        self._n_samples = 0
        self._longest = 0
        self._open = 0

    def add(self, size: npt.NDArray[np.float32]) -> None:
        """Take in the absolute values of the channel's next samples, at most FULL_SCALE."""
        top = float(size.max(initial=0))
        if top > self.level:
            self.level, self._n_samples, self._longest, self._open = top, 0, 0, 0
        elif top < self.level or top == 0:
            self._close([])
            return
        at_top = size == np.float32(self.level)
        edges = np.flatnonzero(np.diff(at_top, prepend=False, append=False))
        runs = edges[1::2] - edges[::2]
        if at_top[0]:
            runs[0] += self._open
            self._open = 0
        self._close(runs[:-1] if at_top[-1] else runs)
        self._open = int(runs[-1]) if at_top[-1] else 0

    def count(self) -> int:
        """Samples in runs."""
        return self._n_samples + (self._open if self._open >= self._least() else 0)

    def longest(self) -> int:
        """Samples of the longest run."""
        return max(self._longest, self._open if self._open >= self._least() else 0)

    def _close(self, runs: npt.ArrayLike) -> None:
        closed = np.append(np.asarray(runs, dtype=np.int64), self._open)
        closed = closed[closed >= self._least()]
        self._n_samples += int(closed.sum())
        self._longest = max(self._longest, int(closed.max(initial=0)))
        self._open = 0

    def _least(self) -> int:
        """The shortest run that is not a waveform's own: in 16 bits, the top of a 20 Hz sine is half as long."""
        if self.level >= np.float32(FULL_SCALE):
            return 3
        return max(8, math.ceil(2000 / math.sqrt(32768 * self.level))) if self.level else 1


class SalientWindows:
    """How many windows `salient_starts` (rule "amanteur") finds in a recording that comes in blocks."""

    def __init__(self, sample_rate: int) -> None:
        self.count = 0
        self._sample_rate = sample_rate
        self._window, self._step = round(WINDOW_S * sample_rate), round(STEP_S * sample_rate)
        self._rest: Waveform | None = None

    def add(self, block: Waveform) -> None:
        """Take in the next `(channels, samples)`."""
        samples = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        self.count += len(salient_starts(samples, self._sample_rate, "amanteur", WINDOW_S, STEP_S))
        n_windows = max(0, (samples.shape[1] - self._window) // self._step + 1)
        self._rest = samples[:, n_windows * self._step :]
