"""The window table: salient windows of songs and of their static copies."""

from pathlib import Path

import pandas as pd


def read_windows(path: Path) -> pd.DataFrame:
    """Read a window table: columns part, song, copy ("" for the song itself) and start_sample.

    A pitch or tempo copy counts start_sample in its own files; a shifted copy counts it in the song's files, where
    a window may begin before the first sample or end after the last: reading pads with zeros.
    """
    return pd.read_csv(path, dtype={"part": str, "song": str, "copy": str}, keep_default_na=False)
