"""Scores of one checkpoint on the songs of a part: per window, per song and summed up."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from tqdm import tqdm

from vocalremix.audio import SAMPLE_RATE, STEMS, Waveform, map_pcm16
from vocalremix.corpus import Song, songs
from vocalremix.errors import InputError
from vocalremix.files import publish
from vocalremix.metrics import AVERAGES, aggregate, song_scores, window_scores
from vocalremix.separation import Separator

WINDOW_METRICS = ("csdr_db", "usdr_db", "sisdr_db")


def evaluate(
    separator: Separator, target: str, music: Path, windows: pd.DataFrame, window_s: float, destination: Path
) -> dict[str, Any]:
    """Separate each song that has windows once, and score the model and, beside it, the untouched mixture.

    `windows` is a window table of songs (no copies). Writes to the folder `destination`:
    - `windows.csv`: part, song, start_sample, system ("model" or "mixture"), csdr_db, usdr_db, sisdr_db: the
      thesis's unit of analysis, n = 2,772 on MUSDB18-HQ's test songs;
    - `songs.csv`: part, song, system, one column per protocol of vocalremix.metrics, and excerpt_start_sample;
    - `excerpts/<song>.flac`: the model's estimate in the song's `loudest_window`, 16 bit, 44.1 kHz;
    - `summary.json`: by system, mean, std and n per window metric and the protocol's average over songs.

    Returns the summary. Raises InputError when a song of the table is not in `music`.
    """
    by_name = {(song.part, song.name): song for song in songs(music)}
    window_samples = round(window_s * SAMPLE_RATE)
    per_window: list[dict[str, Any]] = []
    per_song: list[dict[str, Any]] = []
    with publish(destination) as partial:
        (partial / "excerpts").mkdir(parents=True)
        for key, group in tqdm(list(windows.groupby(["part", "song"])), desc="evaluate", unit="song"):
            part, name = map(str, key)
            if (part, name) not in by_name:
                raise InputError(f"{music}: no song {part}/{name}, which the index names; make the index anew")
            mixture, reference = read_mixture_and_target(by_name[part, name], target)
            start = loudest_window(reference, group.start_sample, window_samples)
            estimates = {"model": separator.separate(mixture), "mixture": mixture}
            for system, estimate in estimates.items():
                identity = {"part": part, "song": name, "system": system}
                song_row, window_rows = score_song(estimate, reference, group.start_sample, window_samples)
                per_song.append(identity | song_row | {"excerpt_start_sample": start})
                per_window += [identity | row for row in window_rows]
            excerpt = estimates["model"][:, start : start + window_samples].clip(-1, 1)
            soundfile.write(partial / "excerpts" / f"{name}.flac", excerpt.T, SAMPLE_RATE, subtype="PCM_16")
        window_table, song_table = pd.DataFrame(per_window), pd.DataFrame(per_song)
        summary = {
            system: {
                "windows": _describe(window_table[window_table.system == system]),
                "songs": aggregate(song_table[song_table.system == system]),
            }
            for system in ("model", "mixture")
        }
        window_table.to_csv(partial / "windows.csv", index=False)
        song_table.to_csv(partial / "songs.csv", index=False)
        (partial / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def score_song(
    estimate: Waveform, reference: Waveform, starts: Iterable[int], window_samples: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """A song's scores and those of its windows; estimate and reference `(channels, samples)` of the whole song.

    Returns the columns of `song_scores`, and a row per window: `start_sample` and the columns of `window_scores`.
    Raises InputError when the shapes differ.
    """
    spans = [slice(start, start + window_samples) for start in starts]
    return song_scores(estimate, reference), [
        {"start_sample": span.start} | window_scores(estimate[:, span], reference[:, span]) for span in spans
    ]


def loudest_window(reference: Waveform, starts: Iterable[int], window_samples: int) -> int:
    """The start of the window in which `reference`, `(channels, samples)`, has most energy; the first of equals.

    It does not depend on any estimate, so that all runs keep the same excerpt.
    """
    return max(starts, key=lambda start: np.square(reference[:, start : start + window_samples], dtype=float).sum())


def song_metrics(summary: dict[str, Any], prefix: str) -> dict[str, float]:
    """A summary's figures over songs under flat names: with prefix "test", `test_usdr_db` and the other protocols.

    As a zero-effort baseline, `test_mixture_usdr_db`.
    """
    scores = {f"{prefix}_{name}": summary["model"]["songs"][name] for name in AVERAGES}
    return scores | {f"{prefix}_mixture_usdr_db": summary["mixture"]["songs"]["usdr_db"]}


def window_metrics(summary: dict[str, Any], prefix: str) -> dict[str, float]:
    """A summary's means over windows under flat names: with prefix "test", `test_window_usdr_db` and its like."""
    return {f"{prefix}_window_{name}": summary["model"]["windows"][name]["mean"] for name in WINDOW_METRICS}


def read_mixture_and_target(song: Song, target: str) -> tuple[Waveform, Waveform]:
    """A song's mixture (the sum of its stems) and one stem, `(channels, samples)` float32 in -1..1."""
    stems = {stem: np.divide(map_pcm16(song.folder / f"{stem}.wav").T, 32768, dtype=np.float32) for stem in STEMS}
    return np.sum(list(stems.values()), axis=0, dtype=np.float32), stems[target]


def _describe(window_table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean, std and n of each window metric; windows without a value (NaN: a silent reference) are only counted."""
    return {
        metric: {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "n": int(values.count()),
            "n_nan": int(values.isna().sum()),
        }
        for metric, values in ((metric, window_table[metric]) for metric in WINDOW_METRICS)
    }
