"""What a training is made of: its settings, its songs and its windows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from vocalremix.config.params import Params, Phase
from vocalremix.remix.base import Remix
from vocalremix.remix.classic import Classic
from vocalremix.remix.gain import Gain
from vocalremix.remix.speech import Speech
from vocalremix.util.errors import InputError
from vocalremix.util.values import SAMPLE_RATE
from vocalremix.windows.table import read_windows, training_songs

OVERFIT_ROUNDS = 8


@dataclass(frozen=True)
class Recipe:
    """What sets one training apart from the others of its study."""

    name: str
    """Of its folder of results."""
    stage: str
    schedule: tuple[Phase, ...]
    remixes: Mapping[str, Remix]
    seed: int
    last: tuple[int, Mapping[str, Remix]] | None = None
    """How many of the last epochs have other remixes, and which. All epochs are then gone through: no early end."""
    data_fraction: float = 1
    songs_seed: int = 0
    """Draws the songs of `data_fraction`: one for all trainings of a study, so that theirs are nested."""
    parts: tuple[str, ...] = ("train",)
    overfit: bool = False
    policy: str = ""
    """The name of what `remixes` were made by, if not the thesis's own."""
    cell: str = ""
    """Of a sweep, what sets it apart from the others."""

    @property
    def title(self) -> str:
        """What MLflow's table calls it."""
        return f"{self.stage} {self.cell}".strip()


def thesis_remixes(params: Params, mix_prob: float, speech_remix_prob: float) -> dict[str, Remix]:
    """Those of the thesis (chapter 4), in their order."""
    return {
        "classic": Classic(prob=mix_prob),
        "speech": Speech(
            prob=speech_remix_prob, snr_db=params.speech_snr_db, target_scaling=params.speech_target_scaling
        ),
        "gain": Gain(prob=params.gain_prob, db=params.gain_db),
    }


@dataclass(frozen=True)
class Data:
    """Where the training reads: songs, their salient windows, and where wanted static copies and speech.

    `name` is what MLflow calls the corpus. `digests`, by folder name ("music", ...), tell one state of the audio from
    another; without them, only windows are told apart when an interrupted training is taken up again.
    """

    music: Path
    windows: Path
    copies: Path | None = None
    speech: Path | None = None
    name: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    beats: Path | None = None
    """Tempo and key of each song, for a remix that matches them."""


def select_windows(recipe: Recipe, data: Data, step_s: float, batch: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The windows a recipe trains on, static copies included, and those it is validated on.

    A copy follows its song: into `data_fraction` and into the part it belongs to. The overfit recipe trains and
    validates on the first three windows of one training song that follow one another by `step_s` (thesis 5.3: 12 s).
    An epoch of it goes over them several times, at least until they fill one `batch`: of once it would spend most of
    its time on start-up and validation.
    """
    windows = read_windows(data.windows)
    if recipe.overfit:
        excerpt = _three_in_a_row(windows[windows.part == "train"], round(step_s * SAMPLE_RATE))
        rounds = max(OVERFIT_ROUNDS, math.ceil(batch / len(excerpt)))
        return pd.concat([excerpt] * rounds, ignore_index=True), excerpt
    if data.copies:
        windows = pd.concat([windows, read_windows(data.copies / "windows.csv")], ignore_index=True)
    train_windows = windows[windows.part.isin(recipe.parts)]
    songs = training_songs(train_windows, recipe.data_fraction, recipe.songs_seed)
    train_windows = train_windows[train_windows.song.isin(songs)].reset_index(drop=True)
    held_out = (windows.part == "valid") & (windows["copy"] == "") & ("valid" not in recipe.parts)
    return train_windows, windows[held_out].reset_index(drop=True)


def _three_in_a_row(windows: pd.DataFrame, step_samples: int) -> pd.DataFrame:
    for _, song in windows.groupby("song"):
        for first in range(len(song) - 2):
            three = song.iloc[first : first + 3]
            if (three.start_sample.diff().dropna() == step_samples).all():
                return three.reset_index(drop=True)
    raise InputError("overfit: no training song has three salient windows in a row; lower sad.step_s or add songs")
