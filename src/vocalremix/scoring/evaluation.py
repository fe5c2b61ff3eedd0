"""Scores of one checkpoint on the songs of a part: per window, per song and summed up."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from tqdm import tqdm

from vocalremix.audio.waveform import Waveform
from vocalremix.audio.writing import map_pcm16
from vocalremix.corpus import Song, songs
from vocalremix.scoring.metrics import SONG_PROTOCOLS, WINDOW_PROTOCOLS, aggregate, song_scores, window_scores
from vocalremix.separation import Separator
from vocalremix.statistics.effects import song_interval
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish
from vocalremix.util.values import SAMPLE_RATE, STEMS


def evaluate(
    separator: Separator,
    target: str,
    music: Path,
    windows: pd.DataFrame,
    window_s: float,
    destination: Path,
    part: str | None = None,
) -> dict[str, Any]:
    """Separate each song once, and score the model and, beside it, the untouched mixture.

    `windows` is a window table of songs (no copies). Beside its songs, all of `part` are scored, also those that have
    no salient window: a silent reference is counted, a short song has whole-song scores.

    Writes to the folder `destination`:
    - `windows.csv`: part, song, start_sample, system ("model" or "mixture"), csdr_db, usdr_db, sisdr_db: the
      thesis's unit of analysis, n = 2,772 on MUSDB18-HQ's test songs;
    - `songs.csv`: part, song, system, one column per protocol of vocalremix.scoring.metrics, and excerpt_start_sample;
    - `excerpts/<song>.flac`: the model's estimate in the song's `loudest_window`, 16 bit, 44.1 kHz;
    - `summary.json`: by system, mean, std and n per window metric, the protocol's average over songs, and for each
      of both the 95 % interval, had the songs been others, where `song_interval` has one.

    Returns the summary. Raises InputError when a song of the table is not in `music`.
    """
    by_name = {(song.part, song.name): song for song in songs(music)}
    starts_of_song: dict[tuple[str, str], list[int]] = {key: [] for key in by_name if key[0] == part}
    for key, group in windows.groupby(["part", "song"]):
        starts_of_song[str(key[0]), str(key[1])] = [int(start) for start in group.start_sample]
    window_samples = round(window_s * SAMPLE_RATE)
    per_window: list[dict[str, Any]] = []
    per_song: list[dict[str, Any]] = []
    with publish(destination) as partial:
        (partial / "excerpts").mkdir(parents=True)
        for (part, name), starts in tqdm(sorted(starts_of_song.items()), desc="evaluate", unit="song"):
            if (part, name) not in by_name:
                raise InputError(f"{music}: no song {part}/{name}, which the index names; make the index anew")
            mixture, reference = read_mixture_and_target(by_name[part, name], target)
            start = loudest_window(reference, starts, window_samples)
            estimates = {"model": separator.separate(mixture), "mixture": mixture}
            for system, estimate in estimates.items():
                identity = {"part": part, "song": name, "system": system}
                song_row, window_rows = score_song(estimate, reference, mixture, starts, window_samples)
                per_song.append(identity | song_row | {"excerpt_start_sample": start})
                per_window += [identity | row for row in window_rows]
            excerpt = estimates["model"][:, start : start + window_samples]
            # made quieter rather than distorted where it goes beyond full scale
            excerpt = excerpt / max(1.0, float(np.abs(excerpt).max(initial=0)))
            soundfile.write(partial / "excerpts" / f"{name}.flac", excerpt.T, SAMPLE_RATE, subtype="PCM_16")
        columns = ["part", "song", "system", "start_sample", *WINDOW_PROTOCOLS]
        window_table, song_table = pd.DataFrame(per_window, columns=columns), pd.DataFrame(per_song)
        summary = {
            system: {
                "windows": _describe_windows(window_table[window_table.system == system]),
                "songs": _describe_songs(song_table[song_table.system == system]),
            }
            for system in ("model", "mixture")
        }
        window_table.to_csv(partial / "windows.csv", index=False)
        song_table.to_csv(partial / "songs.csv", index=False)
        (partial / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def score_song(
    estimate: Waveform, reference: Waveform, mixture: Waveform, starts: Iterable[int], window_samples: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """A song's scores and those of its windows; all waveforms `(channels, samples)` of the whole song.

    Returns the columns of `song_scores`, and a row per window: `start_sample` and the columns of `window_scores`.
    Raises InputError when the shapes differ.
    """
    spans = [slice(start, start + window_samples) for start in starts]
    return song_scores(estimate, reference, mixture), [
        {"start_sample": span.start} | window_scores(estimate[:, span], reference[:, span], mixture[:, span])
        for span in spans
    ]


def loudest_window(reference: Waveform, starts: Iterable[int], window_samples: int) -> int:
    """The start of the window in which `reference`, `(channels, samples)`, has most energy; the first of equals.

    Without `starts`, all windows of the song compete, half a window apart. It does not depend on any estimate, so that
    all runs keep the same excerpt.
    """
    last = max(reference.shape[1] - window_samples, 0)
    competing = list(starts) or range(0, last + 1, max(window_samples // 2, 1))
    return max(competing, key=lambda start: np.square(reference[:, start : start + window_samples], dtype=float).sum())


def median_excerpt(scores: Path) -> Path | None:
    """Of what `evaluate` left in `scores`, the excerpt of the song whose untouched mixture has the median uSDR.

    Of an even number of songs, the lower of the two in the middle; None where no song has a uSDR. Every run on the
    same songs gets the same song.
    """
    table = pd.read_csv(scores / "songs.csv", dtype={"song": str}, keep_default_na=False, na_values=[""])
    mixtures = table[(table.system == "mixture") & table.usdr_db.notna()].sort_values(["usdr_db", "song"]).song
    return scores / "excerpts" / f"{mixtures.iloc[(len(mixtures) - 1) // 2]}.flac" if len(mixtures) else None


def song_metrics(summary: dict[str, Any], prefix: str) -> dict[str, float]:
    """A summary's figures over songs under flat names: with prefix "test", `test_usdr_db` and the other protocols.

    Beside each, `test_usdr_db_ci_low` and `_ci_high` and the songs without a score, `test_usdr_skipped`; once,
    `test_n_songs` and, as a zero-effort baseline, `test_mixture_usdr_db`.
    """
    scores = {f"{prefix}_{name}": value for name, value in summary["model"]["songs"].items()}
    return scores | {f"{prefix}_mixture_usdr_db": summary["mixture"]["songs"]["usdr_db"]}


def window_metrics(summary: dict[str, Any], prefix: str) -> dict[str, float]:
    """A summary's means over windows under flat names: with prefix "test", `test_window_usdr_db` and its like.

    With the same companions as over songs: `_ci_low`, `_ci_high`, `test_window_usdr_skipped`, `test_n_windows`.
    """
    scores: dict[str, float] = {}
    for name, described in summary["model"]["windows"].items():
        metric = f"{prefix}_window_{name}"
        scores[metric] = described["mean"]
        scores |= {f"{metric}_{end}": described[end] for end in ("ci_low", "ci_high") if end in described}
        scores[metric.removesuffix("_db") + "_skipped"] = described["n_nan"]
        scores[f"{prefix}_n_windows"] = described["n"] + described["n_nan"]
    return scores


def read_mixture_and_target(song: Song, target: str) -> tuple[Waveform, Waveform]:
    """A song's mixture (the sum of its stems) and one stem, `(channels, samples)` float32 in -1..1."""
    stems = {stem: np.divide(map_pcm16(song.folder / f"{stem}.wav").T, 32768, dtype=np.float32) for stem in STEMS}
    return np.sum(list(stems.values()), axis=0, dtype=np.float32), stems[target]


def _describe_songs(song_table: pd.DataFrame) -> dict[str, float]:
    """Each protocol's average, interval and number of songs left out, and the number of all songs."""
    described = aggregate(song_table)
    for name, protocol in SONG_PROTOCOLS.items():
        interval = _interval(song_table[name], song_table.song, protocol.average)
        described |= {f"{name}_{end}": value for end, value in interval.items()}
    return described | {"n_songs": len(song_table)}


def _describe_windows(window_table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean, std, n and interval of each window metric; windows without a value (a silent reference) are counted."""
    return {
        metric: {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "n": int(values.count()),
            "n_nan": int(values.isna().sum()),
            **_interval(values, window_table.song, np.mean),
        }
        for metric, values in ((metric, window_table[metric]) for metric in WINDOW_PROTOCOLS)
    }


def _interval(values: "pd.Series[float]", songs: "pd.Series[str]", average: Any) -> dict[str, float]:
    """Ends of the 95 % interval of a mean or median; none where `song_interval` has none."""
    low, high = song_interval(values, songs, "median" if average is np.median else "mean")
    return {} if math.isnan(low) else {"ci_low": low, "ci_high": high}
