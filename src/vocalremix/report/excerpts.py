"""What the listening page plays: excerpts of three test songs, chosen by rule, in the version of every run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from vocalremix.audio.waveform import Waveform
from vocalremix.config.params import shown
from vocalremix.corpus import songs
from vocalremix.report.listening import Excerpt, Track
from vocalremix.report.study import USDR, Scores, Study
from vocalremix.scoring.evaluation import read_mixture_and_target
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE


def songs_by_gain(gains_db: "pd.Series[float]") -> dict[Any, str]:
    """The songs with the largest, the median and the smallest gain, by rule; fewer where there are fewer songs.

    `gains_db` holds a gain per song; songs without one are left out, and ties go to the first. Returns each chosen
    song's label and the rule that chose it.
    """
    ordered = gains_db.dropna().sort_values(ascending=False, kind="stable").index
    if not len(ordered):
        return {}
    rules: dict[int, str] = {}
    for rule, position in (("largest", 0), ("smallest", len(ordered) - 1), ("median", len(ordered) // 2)):
        rules.setdefault(position, f"{rule} gain")
    return {ordered[position]: rules[position] for position in sorted(rules)}


def choose_excerpts(study: Study, music: Path) -> list[Excerpt]:
    """Excerpts of the songs that gained most, median and least from `initial` to `train_full` (whole-song uSDR).

    Of each song the window that evaluation kept, the loudest of the target. Of several seeds, the first is played.
    Raises InputError where a file that evaluation writes is missing.
    """
    before, after = (run.scores.songs[USDR.of_song] for run in (study.initial, study.train_full))
    found = {(song.part, song.name): song for song in songs(music)}
    systems = _systems(study)
    excerpts = []
    for (part, name), rule in songs_by_gain(after - before).items():
        start = int(study.initial.scores.songs["excerpt_start_sample"][part, name])
        n_samples = round(study.settings.profile.sad.window_s * SAMPLE_RATE)
        mixture, reference = read_mixture_and_target(found[part, name], study.settings.params.target)
        span = slice(start, start + n_samples)
        tracks = [
            Track("mixture", mixture[:, span], _usdr(study.mixture, part, name, start)),
            Track("reference", reference[:, span], None),
            *(
                Track(system, _estimate(scores, name), _usdr(scores, part, name, start))
                for system, scores in systems.items()
            ),
        ]
        detail = f"whole-song uSDR {before[part, name]:.2f} dB initial, {after[part, name]:.2f} dB train_full"
        excerpts.append(Excerpt(name, rule, detail, start / SAMPLE_RATE, tuple(tracks)))
    return excerpts


def _systems(study: Study) -> Mapping[str, Scores]:
    """Every run under the name it is played by; a cell is called by the axes that vary."""
    axes = study.asked_axes or ["speech_remix_prob"]
    # of all seeds, the first
    cells = {
        " ".join(f"{axis} {shown(getattr(cell, axis))}" for axis in axes): run.scores
        for cell, run in reversed(study.cells.items())
    }
    cells = dict(reversed(cells.items()))
    finals = {"train": study.train.scores, "train_full": study.train_full.scores}
    return {"initial": study.initial.scores} | cells | finals


def _estimate(scores: Scores, song: str) -> Waveform:
    path = scores.folder / "excerpts" / f"{song}.flac"
    try:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the evaluation again") from error
    waveform: Waveform = samples.T
    return waveform


def _usdr(scores: Scores, part: str, song: str, start: int) -> float:
    key = (part, song, start)
    return float(scores.windows[USDR.of_window].get(key, math.nan))
