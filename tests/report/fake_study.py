"""A study with made-up numbers, laid out as the stages lay it out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import Cell, Settings, Sweep
from vocalremix.scoring.metrics import SONG_PROTOCOLS, WINDOW_PROTOCOLS
from vocalremix.util.values import SAMPLE_RATE, STEMS

SONGS = ("Al James - Schoolboy Facination With Friends", "NA", "Öde", "Zeno $\\foo$ #1 & <50 %>")
WINDOWS_PER_SONG = 6
PROVENANCE = {"git.commit": "0123abc", "dvc.experiment": "", "profile": "demo"}
EXCERPT_SAMPLES = 6 * SAMPLE_RATE


@dataclass
class FakeStudy:
    """Writes runs and scores of a study below `root`, which is laid out like the repository."""

    root: Path
    settings: Settings
    songs: Sequence[str] = SONGS

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def scores(self) -> Path:
        return self.report / "scores"

    @property
    def report(self) -> Path:
        return self.root / "reports" / "demo"

    def with_sweep(self, **axes: list[Any]) -> "FakeStudy":
        sweep = Sweep.model_validate(self.settings.params.sweep.model_dump() | axes)
        params = self.settings.params.model_copy(update={"sweep": sweep})
        return replace(self, settings=Settings(params, self.settings.profile))

    def write(self) -> "FakeStudy":
        """All runs; validation likes a speech_remix_prob of 0.2 best, the test songs one of 0."""
        self.add_music()
        self.add("initial", test_db=4.0, valid_db=3.0, epochs=8)
        self.add("overfit", test_db=None, valid_db=16.0, epochs=40)
        self.add_scores("overfit/initial", 5.0, n_songs=1, windows_per_song=3, part="train")
        self.add_scores("overfit/overfit", 15.0, n_songs=1, windows_per_song=3, part="train")
        for cell in self.settings.params.sweep.cells():
            self.add_cell(cell)
        self.add("train", test_db=6.5, valid_db=5.5, epochs=3)
        self.add("train_full", test_db=7.5, valid_db=None, epochs=4)
        return self

    def add_music(self) -> None:
        """As much of each test song as its excerpt needs: a tone of its own per stem."""
        time_s = np.arange(EXCERPT_SAMPLES) / SAMPLE_RATE
        for number, song in enumerate(self.songs):
            folder = self.data / "music" / "test" / song
            folder.mkdir(parents=True, exist_ok=True)
            for harmonic, stem in enumerate(STEMS, start=1):
                tone = 0.2 * np.sin(2 * np.pi * 200 * (number + 1) * harmonic * time_s)
                write_pcm16(folder / f"{stem}.wav", np.stack([tone, tone]))

    def add_excerpts(self, name: str) -> None:
        """Estimates: the target, a little louder than it should be."""
        folder = self.scores / name / "excerpts"
        folder.mkdir(exist_ok=True)
        for song in self.songs:
            samples, rate = soundfile.read(self.data / "music" / "test" / song / "vocals.wav")
            soundfile.write(folder / f"{song}.flac", 1.1 * samples, rate, subtype="PCM_16")

    def add_cell(self, cell: Cell, test_db: float | None = None, valid_db: float | None = None) -> None:
        probability = float(cell.speech_remix_prob)
        test_db = 6.0 - 3 * probability + cell.data_fraction if test_db is None else test_db
        valid_db = 5.0 - (probability - 0.2) ** 2 + cell.data_fraction if valid_db is None else valid_db
        self.add(f"sweep/{cell.name}", test_db=test_db, valid_db=valid_db, epochs=5, speech=probability)

    def add(self, name: str, test_db: float | None, valid_db: float | None, epochs: int, speech: float = 0) -> None:
        folder = self.data / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        epoch = np.arange(epochs)
        rng = _rng(name)
        history = pd.DataFrame(
            {
                "epoch": epoch,
                "learning_rate": 1e-3 * 0.9**epoch,
                "train_loss": 0.3 + np.exp(-epoch / 3) + 0.02 * rng.random(epochs),
            }
        )
        metadata = {
            "epochs": epochs,
            "mix_prob": 0.8,
            "speech_remix_prob": speech,
            "n_train_windows": 100,
            "n_train_songs": 8,
        }
        if valid_db is not None:
            history["valid_loss"] = history.train_loss + 0.1
            history["valid_usdr_db"] = valid_db * (1 - 0.5 * np.exp(-(epoch + 1) / 2)) + 0.1 * rng.random(epochs)
            metadata["best_valid_usdr_db"] = valid_db
            metadata["best_epoch"] = int(history.valid_usdr_db.argmax())
        history.assign(seconds=1.5).to_csv(folder / "history.csv", index=False)
        profile = self.settings.profile
        description = {
            "model": profile.model.model_dump(mode="json"),
            "sample_rate": 44100,
            "target": "vocals",
            "metadata": metadata,
        }
        (folder / "model.json").write_text(json.dumps(description))
        if test_db is not None:
            self.add_scores(name, test_db)
            self.add_excerpts(name)

    def add_scores(
        self,
        name: str,
        mean_db: float,
        n_songs: int | None = None,
        windows_per_song: int = WINDOWS_PER_SONG,
        part: str = "test",
    ) -> None:
        """Scores around a mean; the second window of the first song has no siSDR, as where a window is silent."""
        rng, others = _rng(name), _rng(f"others of {name}")
        windows, per_song = [], []
        for system, level in (("model", mean_db), ("mixture", 0.5)):
            for number, song in enumerate(self.songs[:n_songs]):
                identity = {"part": part, "song": song, "system": system}
                level_db = level + 1.5 * (number % 4 - 1.5)
                sdr = [key for key in SONG_PROTOCOLS if key.endswith("_db")]
                scored = {key: level_db + others.normal(0, 0.5) for key in SONG_PROTOCOLS}
                scored |= {key: level_db + rng.normal(0, 0.5) for key in sdr}
                per_song.append(identity | scored | {"excerpt_start_sample": 0})
                for window in range(windows_per_song):
                    scores = {key: level_db + rng.normal(0, 1) for key in WINDOW_PROTOCOLS}
                    if (number, window) == (0, 1):
                        scores["sisdr_db"] = np.nan
                    windows.append(identity | {"start_sample": window * 132300} | scores)
        folder = self.scores / name
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(windows).to_csv(folder / "windows.csv", index=False)
        pd.DataFrame(per_song).to_csv(folder / "songs.csv", index=False)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))
