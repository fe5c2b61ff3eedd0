"""The window table: salient windows of songs and of their static copies."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from vocalremix.util.errors import InputError


def read_windows(path: Path) -> pd.DataFrame:
    """Read a window table: columns part, song, copy ("" for the song itself) and start_sample.

    A pitch or tempo copy counts start_sample in its own files; a shifted copy counts it in the song's files, where
    a window may begin before the first sample or end after the last: reading pads with zeros.
    """
    return pd.read_csv(path, dtype={"part": str, "song": str, "copy": str}, keep_default_na=False)


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
