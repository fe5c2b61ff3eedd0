"""Windows on disk -> training examples, each reproducible from (seed, training, epoch, index) alone."""

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vocalremix.audio import RMS_FLOOR, SAMPLE_RATE, STEMS, map_pcm16
from vocalremix.errors import InputError
from vocalremix.remix.base import Material, Remix, Source, Sources
from vocalremix.remix.mixing import mix, peak

CHANNELS = 2
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

    - The crop's four stems come from window `index`, or from where remixes choose. The mixture is their sum.
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
            seed, training: of all draws. Trainings of one seed but of other names draw independently; otherwise, one
                that goes on from another's checkpoint would meet the same examples again.

        Raises:
            InputError: the table is empty or names files that are missing or damaged, the crop is longer than a
                window, or speech is wanted and there is none.
        """
        self._remixes = {name: remix for name, remix in remixes.items() if remix.prob > 0}
        needs_speech = [name for name, remix in self._remixes.items() if remix.needs_speech]
        if needs_speech and speech is None:
            raise InputError(f"remix {needs_speech[0]}: there is no speech corpus; set its probability to 0")
        self._windows = _Windows(music, copies, windows, target, crop_samples, window_s)
        self._speech = _Speech(speech) if speech is not None and needs_speech else None
        self._origin = (seed, zlib.crc32(training.encode()))

    def __len__(self) -> int:
        """The number of windows: an epoch visits each once."""
        return len(self._windows)

    def describe(self, key: Key) -> str:
        """Names an example for a message: the window its target comes from, and its key."""
        epoch, index = key
        return f"{self._windows.describe(index)} (epoch {epoch}, example {index})"

    def random(self, *key: int, name: str = "") -> np.random.Generator:
        """The random numbers of a key, those of two integers an example's; with a `name`, a remix's own."""
        return np.random.default_rng((*self._origin, *key, *([zlib.crc32(name.encode())] if name else [])))

    def draw(self, key: Key) -> Draws:
        """The random values of an example."""
        offset_samples = int(self.random(*key).integers(self._windows.slack_samples + 1))
        windows = self._windows
        material = Material(
            windows.target,
            key[1],
            offset_samples,
            windows.crop_samples,
            windows.window_samples,
            windows.songs,
            self._speech,
        )
        drawn = {}
        for name, remix in self._remixes.items():
            rng = self.random(*key, name=name)
            if rng.random() < remix.prob:
                drawn[name] = remix.draw(rng, material)
        return Draws(offset_samples, drawn)

    def __getitem__(self, key: Key) -> Example:
        """The example of a key."""
        draws = self.draw(key)
        taken = [(self._remixes[name], drawn) for name, drawn in draws.remixes.items()]
        sources = {stem: [Source(key[1], draws.offset_samples)] for stem in STEMS}
        for remix, drawn in taken:
            remix.choose(sources, drawn)
        stems = self._windows.read_stems(sources)
        level, target_gain = 1.0, 1.0
        for remix, drawn in taken:
            stems = remix.apply(stems, drawn)
            level *= remix.level(drawn)
            target_gain *= remix.target_gain(stems, drawn)
        target = stems[STEMS.index(self._windows.target)]
        return _example(mix(list(stems)), target if target_gain == 1 else target * target_gain, key, level)


class ValidationDataset(Dataset[Example]):
    """The unchanged centre crop of each window, at the level of a training example without gain.

    Windows of 6 s every 3 s give centre crops of 3 s that tile a song. Crops in which the target is silent are left
    out, for uSDR would measure there how loud the estimate is; where it is silent in all, all stay.
    """

    def __init__(self, music: Path, windows: pd.DataFrame, target: str, crop_samples: int, window_s: float) -> None:
        """Arguments and errors are those of RemixDataset."""
        self._windows = _Windows(music, None, windows, target, crop_samples, window_s)
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


class EpochSampler(Sampler[Key]):
    """The keys of one process's examples; together, the processes go through every global batch side by side.

    An epoch has one order for all, from (seed, training, epoch). Its tail that does not fill a global batch is left
    out. Of `world` processes, number `rank` takes `order[rank::world]`: `world` consecutive examples go to the
    processes one each, so the k-th batches of `global_batch / world` of all processes are exactly the k-th
    `global_batch` examples, whatever `world` is, and training with more processes is the same training.
    """

    def __init__(self, examples: RemixDataset, global_batch: int, *, rank: int = 0, world: int = 1) -> None:
        """Start at epoch 0. Raises ValueError where `world` does not divide `global_batch`."""
        if global_batch % world:
            raise ValueError(f"a global batch of {global_batch} cannot be shared by {world} processes alike")
        self._examples = examples
        self._n_used = len(examples) // global_batch * global_batch
        self._rank, self._world = rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to go through next; Lightning calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        """The number of this process's examples in an epoch."""
        return self._n_used // self._world

    def __iter__(self) -> Iterator[Key]:
        """Yields (epoch, index)."""
        epoch, n_examples = self._epoch, len(self._examples)
        # no example has this key, so the order shares no random numbers with one
        order = self._examples.random(epoch, n_examples).permutation(n_examples)
        for index in order[: self._n_used][self._rank :: self._world].tolist():
            yield epoch, index


def read_utterances(speech: Path) -> pd.DataFrame:
    """The table of a speech corpus: columns speaker, utterance, start_sample, n_samples and peak.

    Raises InputError where it is missing, and where it lists no utterances or empty ones.
    """
    path = speech / "utterances.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file; make the speech corpus or set speech_remix_prob to 0")
    table = pd.read_csv(path, dtype={"speaker": str, "utterance": str}, keep_default_na=False)
    if table.empty or (table["n_samples"] < 1).any():
        raise InputError(f"{path}: lists no utterances or empty ones; make the speech corpus anew")
    return table


def training_songs(windows: pd.DataFrame, fraction: float, seed: int) -> list[str]:
    """A share of the songs of a window table: at least one, rounded up, sorted by name.

    Under one seed, the songs of a smaller fraction are among those of a larger one. Raises InputError for a fraction
    outside 0 < fraction <= 1.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"data_fraction: {fraction} is not a share of the songs; give a number above 0 and up to 1")
    songs = sorted(windows["song"].unique())
    # 0.07 * 100 is a little more than 7 in floating point
    n_chosen = math.ceil(fraction * len(songs) - 1e-9)
    chosen = np.random.default_rng(seed).permutation(len(songs))[:n_chosen]
    return [songs[i] for i in sorted(chosen)]


def _example(mixture: Tensor, target: Tensor, key: Key, level: float = 1.0) -> Example:
    """Divides both by their common peak, in place, and multiplies them by `level`."""
    factor = level / (max(peak(mixture), peak(target)) or 1)
    return Example(mixture.mul_(factor), target.mul_(factor), torch.tensor(key))


class _Windows:
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
        self._files = _PcmFiles()
        self._files.map(*(folder / f"{stem}.wav" for folder in self._folders for stem in STEMS))

    def __len__(self) -> int:
        return len(self._starts)

    def describe(self, row: int) -> str:
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
        self._files.read_into(waveform, self._folders[self._folder_of[source.row]] / f"{stem}.wav", start, source.gain)
        if source.swapped:
            waveform.copy_(waveform.flip(-1))


def _folder(music: Path, copies: Path | None, part: str, song: str, copy: str) -> Path:
    if not copy or copy.startswith("shift_"):
        return music / part / song
    if copies is None:
        raise InputError(f"{music}: the windows name {copy} of {part}/{song}, but there is no folder of copies")
    return copies / part / song / copy


class _Speech:
    """Utterances of a speech corpus, drawn at random and joined."""

    def __init__(self, root: Path) -> None:
        table = read_utterances(root)
        self._paths = [root / f"{speaker}.wav" for speaker in table["speaker"]]
        self._starts, self._lengths, self._peaks = (
            table[column].tolist() for column in ("start_sample", "n_samples", "peak")
        )
        self._files = _PcmFiles()
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


class _PcmFiles:
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

    def read(self, path: Path, start_sample: int, n_samples: int) -> Tensor:
        """Returns `(channels, n_samples)` float32, zero outside of the file."""
        self.map(path)
        waveform = torch.empty(n_samples, self._mapped[path].shape[1])
        self.read_into(waveform, path, start_sample)
        return waveform.T

    def read_into(self, waveform: Tensor, path: Path, start_sample: int, gain: float = 1.0) -> None:
        """Fill a float32 waveform, `(samples, channels)` like the file; zero outside of the file."""
        self.map(path)
        samples = self._mapped[path]
        n_samples = len(waveform)
        first, last = max(start_sample, 0), min(start_sample + n_samples, len(samples))
        if last - first < n_samples:
            waveform.zero_()
        if first < last:
            waveform[first - start_sample : last - start_sample] = samples[first:last]
        waveform.mul_(gain / 32768)
