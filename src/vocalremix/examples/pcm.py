"""Stems and speech on disk, mapped: parts of them as waveforms."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vocalremix.audio.writing import map_pcm16
from vocalremix.remix.base import Source, Sources
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE, STEMS
from vocalremix.windows.table import read_utterances

CHANNELS = 2


class WindowFiles:
    """A window table tied to the files it is about."""

    def __init__(
        self,
        music: Path,
        copies: Path | None,
        table: pd.DataFrame,
        target: str,
        crop_samples: int,
        window_s: float,
    ) -> None:
        if table.empty:
            raise InputError(f"{music}: no windows to take examples from; {target} may be silent in all songs")
        if target not in STEMS:
            raise InputError(f"target: {target!r} is no stem; choose one of {', '.join(STEMS)}")
        self.target = target
        self.other_stems = tuple(stem for stem in STEMS if stem != target)
        self.crop_samples = crop_samples
        self.window_samples = round(window_s * SAMPLE_RATE)
        self.slack_samples = self.window_samples - crop_samples
        if self.slack_samples < 0:
            raise InputError(
                f"crop_samples: {crop_samples} is longer than a window of {window_s:g} s, {self.window_samples} samples"
            )
        names = table[["part", "song", "copy"]]
        self.songs = table["song"].to_numpy(object)
        self._starts = table["start_sample"].to_numpy(dtype=np.int64)
        self._folder_of = names.groupby(["part", "song", "copy"], sort=False).ngroup().to_numpy()
        self._names = list(names.drop_duplicates().itertuples(index=False, name=None))
        self._folders = [_folder(music, copies, *name) for name in self._names]
        self._files = PcmFiles()
        self._files.map(*(folder / f"{stem}.wav" for folder in self._folders for stem in STEMS))

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._starts)

    def describe(self, row: int) -> str:
        """Names a window for a message."""
        name = "/".join(filter(None, self._names[self._folder_of[row]]))
        return f"{name} from sample {self._starts[row]}"

    def read(self, row: int, stem: str, offset_samples: int) -> Tensor:
        """A window's crop, `(channels, crop_samples)`."""
        waveform = torch.empty(self.crop_samples, CHANNELS)
        self._read_into(waveform, stem, Source(row, offset_samples))
        return waveform.T

    def read_stems(self, sources: Sources) -> Tensor:
        """What each stem's sources add up to, `(stem, channels, crop_samples)` in the order of STEMS."""
        # laid out as in the files, sample by sample: to transpose takes longer than to read, and batching does it
        stems = torch.empty(len(STEMS), self.crop_samples, CHANNELS)
        for stem, waveform in zip(STEMS, stems, strict=True):
            if not sources[stem]:
                waveform.zero_()
            for number, source in enumerate(sources[stem]):
                part = waveform if number == 0 else torch.empty_like(waveform)
                self._read_into(part, stem, source)
                if number:
                    waveform += part
        return stems.mT

    def _read_into(self, waveform: Tensor, stem: str, source: Source) -> None:
        start = int(self._starts[source.row]) + source.offset_samples
        path = self._folders[self._folder_of[source.row]] / f"{stem}.wav"
        if source.process:
            n_samples = math.ceil(self.crop_samples * source.speed) + 1
            whole = self._files.read(path, start, n_samples, source.gain, source.swapped)
            processed = source.process(whole)[:, : self.crop_samples]
            waveform[: processed.shape[1]] = processed.T
            waveform[processed.shape[1] :] = 0
        else:
            self._files.read_into(waveform, path, start, source.gain, source.swapped)


def _folder(music: Path, copies: Path | None, part: str, song: str, copy: str) -> Path:
    if not copy or copy.startswith("shift_"):
        return music / part / song
    if copies is None:
        raise InputError(f"{music}: the windows name {copy} of {part}/{song}, but there is no folder of copies")
    return copies / part / song / copy


class PcmFiles:
    """Reads parts of 16-bit WAV files, each of which is mapped once per process."""

    def __init__(self) -> None:
        self._mapped: dict[Path, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_mapped": {}}

    def map(self, *paths: Path) -> None:
        """Map files `(samples, channels)` int16; raises InputError where one is missing or of another format."""
        for path in paths:
            if path not in self._mapped:
                samples = map_pcm16(path)
                assert isinstance(samples, np.memmap)
                first = samples.offset // 2
                # NumPy holds a file descriptor per map, and a corpus with its copies has more files than a process
                # may open; torch closes the file.
                whole = torch.from_file(str(path), size=first + samples.size, dtype=torch.int16)
                self._mapped[path] = whole[first:].view(samples.shape)

    def n_samples(self, path: Path) -> int:
        """Length of a mapped file."""
        return len(self._mapped[path])

    def read(self, path: Path, start_sample: int, n_samples: int, gain: float = 1.0, swapped: bool = False) -> Tensor:
        """Returns `(channels, n_samples)` float32, zero outside of the file."""
        self.map(path)
        waveform = torch.empty(n_samples, self._mapped[path].shape[1])
        self.read_into(waveform, path, start_sample, gain, swapped)
        return waveform.T

    def read_into(
        self, waveform: Tensor, path: Path, start_sample: int, gain: float = 1.0, swapped: bool = False
    ) -> None:
        """Fill a float32 waveform, `(samples, channels)` like the file; zero outside of the file."""
        self.map(path)
        samples = self._mapped[path]
        n_samples = len(waveform)
        first, last = max(start_sample, 0), min(start_sample + n_samples, len(samples))
        if last - first < n_samples:
            waveform.zero_()
        if first < last:
            inside = waveform[first - start_sample : last - start_sample]
            if swapped:  # much faster than to flip
                inside[:, 0], inside[:, 1] = samples[first:last, 1], samples[first:last, 0]
            else:
                inside[:] = samples[first:last]
        waveform.mul_(gain / 32768)


class SpeechFiles:
    """Utterances of a speech corpus, drawn at random and joined."""

    def __init__(self, root: Path) -> None:
        table = read_utterances(root)
        self._paths = [root / f"{speaker}.wav" for speaker in table["speaker"]]
        self._starts, self._lengths, self._peaks = (
            table[column].tolist() for column in ("start_sample", "n_samples", "peak")
        )
        self._files = PcmFiles()
        self._files.map(*self._paths)
        for path, start, length in zip(self._paths, self._starts, self._lengths, strict=True):
            if start + length > (n_samples := self._files.n_samples(path)):
                raise InputError(f"{path}: ends after {n_samples} samples, within an utterance; make the corpus anew")

    def draw(
        self, rng: np.random.Generator, window_samples: int, offset_samples: int, crop_samples: int
    ) -> tuple[list[Tensor], list[float]]:
        """Utterances with replacement until a window is full: what of them falls in the crop, and their peaks."""
        crop_end = offset_samples + crop_samples
        parts, peaks = [], []
        end = 0
        while end < window_samples:
            row = int(rng.integers(len(self._paths)))
            begin, end = end, end + self._lengths[row]
            first, last = max(begin, offset_samples), min(end, crop_end)
            if first < last:
                parts.append(self._files.read(self._paths[row], self._starts[row] + first - begin, last - first))
                peaks.append(self._peaks[row])
        return parts, peaks
