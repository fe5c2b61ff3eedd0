"""How many training examples does one process make? `RemixDataset` beside a loader of whole windows."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, get_start_method
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.floor import copy_rate
from benchmarks.race import Row, closeness, number, race
from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import load
from vocalremix.examples.dataset import Key, RemixDataset
from vocalremix.remix.base import Remix
from vocalremix.remix.classic import Classic
from vocalremix.remix.gain import Gain
from vocalremix.remix.policies import by_policy
from vocalremix.remix.speech import Speech
from vocalremix.util.values import SAMPLE_RATE, STEMS

TARGET = "vocals"
WINDOW_SAMPLES = 6 * SAMPLE_RATE
CROP_SAMPLES = 134144
SEED = 3
MIX_PROB, SPEECH_PROB = 0.8, 0.2
ROOT = Path(__file__).resolve().parents[1]
WORKERS, BATCH, EPOCHS = 8, 4, 150
Samples = npt.NDArray[np.float32]


def write_corpus(root: Path, songs: int, song_s: int) -> None:
    """Songs, windows every 3 s, and utterances of 2 to 15 s: all noise, the files as the pipeline writes them."""
    rng = np.random.default_rng(0)
    windows, utterances = [], []
    for song in map(str, range(songs)):
        folder = root / "music" / "train" / song
        folder.mkdir(parents=True)
        for stem in STEMS:
            write_pcm16(folder / f"{stem}.wav", rng.uniform(-0.3, 0.3, (2, song_s * SAMPLE_RATE)))
        starts = range(0, song_s * SAMPLE_RATE - WINDOW_SAMPLES + 1, WINDOW_SAMPLES // 2)
        windows += [("train", song, "", start) for start in starts]
    (root / "speech").mkdir()
    for speaker in ("1", "2"):
        lengths = rng.integers(2 * SAMPLE_RATE, 15 * SAMPLE_RATE, 6)
        speech = np.rint(rng.uniform(-0.5, 0.5, lengths.sum()) * 32768) / 32768
        write_pcm16(root / "speech" / f"{speaker}.wav", speech[None])
        for end, length in zip(np.cumsum(lengths), lengths, strict=True):
            utterances.append((speaker, end - length, length, np.abs(speech[end - length : end]).max()))
    columns = ["speaker", "start_sample", "n_samples", "peak"]
    pd.DataFrame(utterances, columns=columns).to_csv(root / "speech" / "utterances.csv", index=False)
    pulses = {str(song): (118 + song, (np.arange(60) / 2).tolist(), song) for song in range(songs)}
    (root / "beats.json").write_text(json.dumps({"train": pulses}))
    columns = ["part", "song", "copy", "start_sample"]
    pd.DataFrame(windows, columns=columns).to_csv(root / "windows.csv", index=False)


class TextbookLoader:
    """Reads whole windows of four stems, and utterances until they fill a window; crops afterwards.

    What is random it is told by `RemixDataset.draw`.
    """

    def __init__(self, root: Path, dataset: RemixDataset) -> None:
        self.root, self.dataset = root, dataset
        self.windows = pd.read_csv(root / "windows.csv", dtype={"song": str}).to_dict("records")
        self.utterances = pd.read_csv(root / "speech" / "utterances.csv", dtype={"speaker": str}).to_dict("records")

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Mixture and target, `(channels, samples)` float32."""
        draws = self.dataset.draw(key)
        _, index = key
        remixed, speech = draws.remixes.get("classic", {}), draws.remixes.get("speech")
        rows = [remixed[stem].row if stem in remixed else index for stem in STEMS]
        vocals, drums, bass, other = (self.stem(*place) for place in zip(rows, STEMS, strict=True))
        if speech:
            vocals = self.speech(key)
        crop = slice(draws.offset_samples, draws.offset_samples + CROP_SAMPLES)
        target, accompaniment = vocals[crop].T, (drums + bass + other)[crop].T
        if speech:
            target = np.broadcast_to(target, accompaniment.shape)
            energy_ratio = np.sum(target**2) / np.sum(accompaniment**2)
            accompaniment = accompaniment * np.sqrt(energy_ratio / 10 ** (speech.snr_db / 10))
        mixture = target + accompaniment
        factor = 10 ** (draws.remixes.get("gain", 0.0) / 20) / max(np.abs(mixture).max(), np.abs(target).max())
        mixture, target = (np.ascontiguousarray(factor * waveform, np.float32) for waveform in (mixture, target))
        return torch.from_numpy(mixture), torch.from_numpy(target)

    def stem(self, row: int, stem: str) -> Samples:
        """One stem of a window, `(samples, channels)`."""
        window = self.windows[row]
        path = self.root / "music" / window["part"] / window["song"] / f"{stem}.wav"
        samples: Samples = soundfile.read(path, WINDOW_SAMPLES, window["start_sample"], dtype="float32")[0]
        return samples

    def speech(self, key: Key) -> Samples:
        """Utterances at full scale that fill a window, `(samples, 1)`."""
        parts: list[Samples] = []
        rng = self.dataset.random(*key, name="speech")
        rng.random(2)  # whether, and how loud
        while sum(map(len, parts)) < WINDOW_SAMPLES:
            utterance = self.utterances[rng.integers(len(self.utterances))]
            path = self.root / "speech" / f"{utterance['speaker']}.wav"
            start, n_samples = utterance["start_sample"], utterance["n_samples"]
            part = soundfile.read(path, n_samples, start, dtype="float32", always_2d=True)[0]
            parts.append(part / np.abs(part).max())
        return np.concatenate(parts)[:WINDOW_SAMPLES]


def dataset(root: Path, remixes: Mapping[str, Remix]) -> RemixDataset:
    """Examples of the corpus at `root`."""
    return RemixDataset(
        root / "music",
        None,
        pd.read_csv(root / "windows.csv", dtype={"song": str}, keep_default_na=False),
        root / "speech",
        target=TARGET,
        crop_samples=CROP_SAMPLES,
        window_s=WINDOW_SAMPLES / SAMPLE_RATE,
        remixes=remixes,
        beats=root / "beats.json",
        seed=SEED,
        training="benchmark",
    )


def thesis(speech_remix_prob: float) -> dict[str, Remix]:
    """Its remixes."""
    return {"classic": Classic(prob=MIX_PROB), "speech": Speech(prob=speech_remix_prob), "gain": Gain(prob=0.5)}


def pair(root: Path, speech_remix_prob: float) -> tuple[TextbookLoader, RemixDataset]:
    """Both loaders of the corpus at `root`."""
    ours = dataset(root, thesis(speech_remix_prob))
    return TextbookLoader(root, ours), ours


def check(textbook: TextbookLoader, ours: RemixDataset, keys: list[Key]) -> str:
    """Assert that both make the same examples; says how close."""
    worst = 0.0
    for key in keys:
        for theirs, waveform in zip(textbook[key], ours[key][:2], strict=True):
            torch.testing.assert_close(waveform, theirs, atol=1e-5, rtol=0)
            worst = max(worst, float((waveform - theirs).abs().max()))
    return f"{closeness(worst)} in {len(keys)} examples"


def rows() -> Iterator[Row]:
    """A row without speech and one with nothing but speech."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root, songs=4, song_s=30)
        for speech_remix_prob in (0, 1):
            textbook, ours = pair(root, speech_remix_prob)
            keys = [(epoch, index) for epoch in range(2) for index in range(len(ours))]
            agreement = check(textbook, ours, keys)
            times = race(partial(read, textbook, keys), partial(read, ours, keys))
            rates = times.medians(partial(per_second, len(keys)))
            # four stems of 16 bits are read, mixture and target of 32 written
            n_bytes = CROP_SAMPLES * 2 * (len(STEMS) * 2 + 2 * 4)
            most = per_second(1, n_bytes / copy_rate())
            question = f"Training examples, `speech_remix_prob` {speech_remix_prob}"
            yield Row(question, *rates, most, times.speedup, agreement)
        yield from policies(root)
        keys = [(epoch, index) for epoch in range(EPOCHS) for index in range(len(ours))]
        question = f"Memory of {WORKERS} loader processes of their own, at half and at the end of {len(keys)} examples"
        # in a new process: workers inherit what the earlier benchmarks left in the allocator
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            there, here = (
                fresh.submit(memory, loader, keys, get_start_method()).result() for loader in (textbook, ours)
            )
        yield Row(question, there, here, "", "", "")


def policies(root: Path) -> Iterator[Row]:
    """A row for each policy of params.yaml, beside the thesis's."""
    own = thesis(SPEECH_PROB)
    usual = dataset(root, own)
    keys = [(epoch, index) for epoch in range(2) for index in range(len(usual))]
    for name, policy in load(ROOT).params.remixes.items():
        if name != "thesis":
            remixes, _ = by_policy(own, policy)
            times = race(partial(read, usual, keys), partial(read, dataset(root, remixes), keys))
            rates = times.medians(partial(per_second, len(keys)))
            yield Row(f"Training examples, policy `thesis` and `{name}`", *rates, "", times.speedup, "")


def memory(loader: TextbookLoader | RemixDataset, keys: list[Key], start: str) -> str:
    """What the processes of a DataLoader, started by a method, share with no other, at half and at the end."""
    batches: DataLoader[Any] = DataLoader(
        loader,  # type: ignore[arg-type]
        batch_size=BATCH,
        sampler=keys,
        num_workers=WORKERS,
        multiprocessing_context=start,
    )
    found = []
    for number_of_batch, _ in enumerate(batches, start=1):
        if number_of_batch in (len(batches) // 2, len(batches) - WORKERS):
            found.append(sum(worker.memory_full_info().uss for worker in psutil.Process().children()))
    return " to ".join(f"{n_bytes / 1e6:.0f}" for n_bytes in found) + " MB"


def read(loader: TextbookLoader | RemixDataset, keys: list[Key]) -> None:
    """Make the examples of `keys`."""
    for key in keys:
        loader[key]


def per_second(examples: int, seconds: float) -> str:
    """The rate at which a process makes examples."""
    return f"{number(examples / seconds)} examples/s"
