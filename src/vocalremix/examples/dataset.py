"""Windows on disk -> training examples, each reproducible from (seed, training, epoch, index) alone."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocalremix.audio.waveform import RMS_FLOOR
from vocalremix.examples.matching import Matching
from vocalremix.examples.pcm import SpeechFiles, WindowFiles
from vocalremix.remix.base import Material, Remix, Source
from vocalremix.remix.mixing import mix, peak
from vocalremix.util.errors import InputError
from vocalremix.util.random import KeyedRandom
from vocalremix.util.values import STEMS
from vocalremix.windows.pulses import read_pulses

Key = tuple[int, int]
"""Epoch and index of an example."""


class Example(NamedTuple):
    """What a model is trained or validated on; a DataLoader adds a batch axis in front."""

    mixture: Tensor
    """`(channels, samples)` float32."""
    target: Tensor
    """`(channels, samples)` float32."""
    key: Tensor
    """`(2,)` int64: epoch and index."""


class Draws(NamedTuple):
    """All that is random in an example."""

    offset_samples: int
    """Where the crop starts inside its window."""
    remixes: dict[str, Any]
    """What each remix that takes place has drawn, by its name."""


class RemixDataset(Dataset[Example]):
    """Training examples: a random crop of each window, and what remixes make of it (FACTS "Training examples").

    An example is asked for by its key `(epoch, index)` and depends on nothing but the seed, the training's name and
    that key: not on workers, processes, or what was read before. The crop and each remix have random numbers of their
    own, so a change of one remix leaves all other decisions of an example as they were.

    - The crop's four stems come from window `index`, or from where remixes choose. The mixture is their sum. Indices
      beyond the windows count on from the first window, and are other examples of it.
    - Mixture and target are divided by their common peak, and multiplied by the levels that remixes give.

    Peaks and levels are measured on the crop, where the thesis measures them on the whole 6 s window: so only the crop
    is read from disk. A window may begin before its song or end after it (a shifted copy); it is padded with zeros.
    """

    def __init__(
        self,
        music: Path,
        copies: Path | None,
        windows: pd.DataFrame,
        speech: Path | None,
        *,
        target: str,
        crop_samples: int,
        window_s: float,
        remixes: Mapping[str, Remix],
        last: tuple[int, Mapping[str, Remix]] | None = None,
        beats: Path | None = None,
        seed: int,
        training: str,
    ):
        """Check the table and the headers of the files it names; no audio is read yet.

        Args:
            music: the songs' folder, `<part>/<song>/<stem>.wav`.
            copies: the folder of pitch and tempo copies, `<part>/<song>/<copy>/<stem>.wav`.
            windows: the windows to train on, columns part, song, copy, start_sample.
            speech: the folder of `<speaker>.wav` and utterances.csv; not touched where no remix needs it.
            target: one of STEMS.
            crop_samples: length of an example.
            window_s: length of a window.
            remixes: by name, in the order in which they take place.
            last: an epoch, and the remixes from there on.
            beats: the tempo and key of each song; not touched where no remix needs it.
            seed, training: of all draws. Trainings of one seed but of other names draw independently; otherwise, one
                that goes on from another's checkpoint would meet the same examples again.

        Raises:
            InputError: the table is empty or names files that are missing or damaged, the crop is longer than a
                window, or speech or beats are wanted and there are none.
        """
        self._phases = [(0, _taken(remixes)), *([(last[0], _taken(last[1]))] if last else [])]
        every = [(name, remix) for _, taken in self._phases for name, remix in taken.items()]
        needs_speech = [name for name, remix in every if remix.needs_speech]
        if needs_speech and speech is None:
            raise InputError(f"remix {needs_speech[0]}: there is no speech corpus; set its probability to 0")
        needs_pulses = [name for name, remix in every if remix.needs_pulses]
        if needs_pulses and beats is None:
            raise InputError(f"remix {needs_pulses[0]}: tempo and key of the songs are not known; run stage beats")
        self._windows = WindowFiles(music, copies, windows, target, crop_samples, window_s)
        self._speech = SpeechFiles(speech) if speech is not None and needs_speech else None
        self._matching = Matching(windows, read_pulses(beats)) if beats is not None and needs_pulses else None
        self._random = KeyedRandom(seed, zlib.crc32(training.encode()))

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._windows)

    def describe(self, key: Key) -> str:
        """Names an example for a message: the window its target comes from, and its key."""
        epoch, index = key
        return f"{self._windows.describe(index % len(self))} (epoch {epoch}, example {index})"

    def random(self, *key: int, name: str = "") -> np.random.Generator:
        """The random numbers of a key, those of two integers an example's; with a `name`, a remix's own.

        Good until the next call.
        """
        return self._random(*key, name=name)

    def draw(self, key: Key) -> Draws:
        """The random values of an example."""
        offset_samples = int(self.random(*key).integers(self._windows.slack_samples + 1))
        windows = self._windows
        material = Material(
            windows.target,
            key[1] % len(self),
            offset_samples,
            windows.crop_samples,
            windows.window_samples,
            windows.songs,
            self._speech,
            self._matching,
        )
        drawn = {}
        for name, remix in self._remixes(key[0]).items():
            rng = self.random(*key, name=name)
            if rng.random() < remix.prob:
                drawn[name] = remix.draw(rng, material)
        return Draws(offset_samples, drawn)

    def __getitem__(self, key: Key) -> Example:
        """The example of a key."""
        draws, remixes = self.draw(key), self._remixes(key[0])
        taken = [(remixes[name], drawn) for name, drawn in draws.remixes.items()]
        sources = {stem: [Source(key[1] % len(self), draws.offset_samples)] for stem in STEMS}
        for remix, drawn in taken:
            remix.choose(sources, drawn)
        stems = self._windows.read_stems(sources)
        level, target_gain = 1.0, 1.0
        for remix, drawn in taken:
            stems = remix.apply(stems, drawn)
            level *= remix.level(drawn)
            target_gain *= remix.target_gain(stems, drawn)
        target = stems[STEMS.index(self._windows.target)]
        example = _example(mix(list(stems)), target if target_gain == 1 else target * target_gain, key, level)
        for remix, drawn in taken:
            mixture, target = remix.master(example.mixture, example.target, drawn)
            example = example._replace(mixture=mixture, target=target)
        return example

    def _remixes(self, epoch: int) -> Mapping[str, Remix]:
        return next(remixes for first, remixes in reversed(self._phases) if epoch >= first)


class ValidationDataset(Dataset[Example]):
    """The unchanged centre crop of each window, at the level of a training example without gain.

    Windows of 6 s every 3 s give centre crops of 3 s that tile a song. Crops in which the target is silent are left
    out, for uSDR would measure there how loud the estimate is; where it is silent in all, all stay.
    """

    def __init__(self, music: Path, windows: pd.DataFrame, target: str, crop_samples: int, window_s: float) -> None:
        """Arguments and errors are those of RemixDataset."""
        self._windows = WindowFiles(music, None, windows, target, crop_samples, window_s)
        rows = range(len(self._windows))
        self._rows = [row for row in rows if self._read(row, target).square().mean().sqrt() > RMS_FLOOR] or list(rows)

    def __len__(self) -> int:
        """The number of crops."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The example of a crop; its key is epoch 0 and the window's row."""
        row = self._rows[index]
        others = [self._read(row, stem) for stem in self._windows.other_stems]
        target = self._read(row, self._windows.target)
        return _example(mix([target, *others]), target, (0, row))

    def _read(self, row: int, stem: str) -> Tensor:
        return self._windows.read(row, stem, self._windows.slack_samples // 2)


def _taken(remixes: Mapping[str, Remix]) -> dict[str, Remix]:
    return {name: remix for name, remix in remixes.items() if remix.prob > 0}


def _example(mixture: Tensor, target: Tensor, key: Key, level: float = 1.0) -> Example:
    """Divides both by their common peak, in place, and multiplies them by `level`."""
    factor = level / (max(peak(mixture), peak(target)) or 1)
    return Example(mixture.mul_(factor), target.mul_(factor), torch.tensor(key))
