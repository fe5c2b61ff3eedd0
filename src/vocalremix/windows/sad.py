"""Source activity detection: which windows of a song hold enough of the target to learn from.

Both rules cut each window into 10 chunks and keep it when more than half of them are above a threshold (FACTS:
"Source activity detection").
"""

import json
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from vocalremix.audio.waveform import RMS_FLOOR, Waveform
from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus import PARTS, songs
from vocalremix.util.errors import InputError
from vocalremix.util.imports import deciding_files
from vocalremix.util.pieces import Piece, made
from vocalremix.util.values import SAMPLE_RATE

Rule = Literal["amanteur", "paper"]

CHUNKS = 10
SILENT = 1e-5
ENERGY_FLOOR = 1e-3
QUANTILE = 0.15
ACTIVE_SHARE = 0.5


def salient_starts(
    waveform: npt.ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    rule: Rule = "amanteur",
    window_s: float = 6.0,
    step_s: float = 3.0,
) -> list[int]:
    """First samples of the salient windows of `waveform`, a `(channels, samples)` array or tensor in -1..1.

    "amanteur" made the published index: the RMS of each chunk and channel, against the 15 % quantile of the window's
    own chunks; a window has to pass in every channel. "paper" (Luo & Yu 2022, arXiv 2209.15174): the energy of each
    chunk, the sum of squares over samples and channels, against the 15 % quantile over the chunks of all windows of
    the track. Quantiles interpolate linearly. Both floor theirs at 1e-3, which is an RMS in the one and an energy in
    the other (for a stereo chunk of 0.6 s, an RMS of 1.4e-4). What follows the last whole window is left out.
    """
    samples = np.asarray(waveform)
    chunk = round(window_s * sample_rate) // CHUNKS
    starts = range(0, samples.shape[1] - round(window_s * sample_rate) + 1, round(step_s * sample_rate))
    if not starts:
        return []
    energy = np.stack([_energies(samples[:, start : start + CHUNKS * chunk]) for start in starts])
    if rule == "amanteur":
        level = np.sqrt(energy / chunk)
        level[level == 0] = SILENT
        threshold = np.maximum(np.quantile(level, QUANTILE, axis=-1, keepdims=True), RMS_FLOOR)
    else:
        level = energy.sum(axis=1, keepdims=True)
        level[level == 0] = SILENT
        threshold = np.maximum(np.quantile(level, QUANTILE), ENERGY_FLOOR)
    active = (level > threshold).mean(axis=-1) > ACTIVE_SHARE
    return [start for start, keep in zip(starts, active.all(axis=1), strict=True) if keep]


def index_corpus(
    root: Path,
    target: str,
    rule: Rule = "amanteur",
    window_s: float = 6.0,
    step_s: float = 3.0,
    *,
    scratch: Path,
    jobs: int = -1,
) -> pd.DataFrame:
    """The window table of a corpus: columns part, song, copy ("" for the song itself) and start_sample.

    What `scratch` keeps of each song spares the next call all songs that have not changed. Raises InputError where
    train, valid or test has no salient window of `target`.
    """
    corpus = songs(root)
    pieces = [starts_piece(song.folder / f"{target}.wav", rule, window_s, step_s) for song in corpus]
    with made(pieces, scratch, "index", "song", jobs) as paths:
        rows = [
            (song.part, song.name, "", start)
            for song, path in zip(corpus, paths, strict=True)
            for start in read_starts(path)
        ]
    windows = pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"])
    for part in PARTS:
        if part not in set(windows["part"]):
            raise InputError(
                f"{root / part}: empty index: no window of {window_s:g} s has enough {target} in it; add songs with "
                f"audible {target} that are at least {window_s:g} s long, or lower sad.window_s in the profile"
            )
    return windows


def starts_piece(stem: Path, rule: Rule, window_s: float, step_s: float, shift: int = 0) -> Piece:
    """The `salient_starts` of a stem on disk as a piece of work for `read_starts`.

    With a `shift` in samples, those of the stem that much later, silent where it has nothing, told in the stem's own
    samples.
    """
    make = partial(_write_starts, stem, rule, window_s, step_s, shift)
    return Piece(make, (stem, *deciding_files(Path(__file__))), (rule, window_s, step_s, shift))


def read_starts(path: Path) -> list[int]:
    """What a `starts_piece` found."""
    starts: list[int] = json.loads(path.read_text(encoding="utf-8"))
    return starts


def _write_starts(stem: Path, rule: Rule, window_s: float, step_s: float, shift: int, path: Path) -> None:
    starts = salient_starts(_shift(load(stem), shift), SAMPLE_RATE, rule, window_s, step_s)
    path.write_text(json.dumps([start - shift for start in starts]), encoding="utf-8")


def _shift(waveform: Waveform, shift: int) -> Waveform:
    """The same length, `shift` samples later, zeros where nothing is left."""
    n_samples = waveform.shape[1]
    padded = np.pad(waveform, ((0, 0), (max(shift, 0), max(-shift, 0))))
    return padded[:, :n_samples] if shift > 0 else padded[:, -shift : n_samples - shift]


def load(stem: Path) -> Waveform:
    """A stem of the corpus as `(channels, samples)` in -1..1."""
    samples = map_pcm16(stem).T
    waveform: Waveform = np.multiply(samples, np.float32(1 / 32768), dtype=np.float32, order="C")
    return waveform


def _energies(window: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Sum of squares per channel and chunk, `(channels, CHUNKS)`."""
    chunks = window.reshape(len(window), CHUNKS, -1)
    energies: npt.NDArray[np.float64] = np.square(chunks, dtype=np.float64).sum(axis=-1)
    return energies
