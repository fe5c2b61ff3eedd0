"""Scores of a checkpoint: against known estimates and museval's protocol by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch

from vocalremix.audio import STEMS
from vocalremix.errors import InputError
from vocalremix.evaluation import evaluate, song_metrics, window_metrics
from vocalremix.separation import Separator


class Half(torch.nn.Module):
    """Takes half of the mixture for the target."""

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return mixture / 2


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    windows = tiny.write_music(tmp_path / "music")
    return tmp_path / "music", windows[windows.part == "train"]


def test_scores_are_those_of_the_estimate(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    summary = evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    stems = {stem: soundfile.read(music / f"train/B/{stem}.wav")[0] for stem in STEMS}
    mixture = sum(stems.values())
    songs = pd.read_csv(tmp_path / "scores/songs.csv").set_index(["song", "system"])
    table = pd.read_csv(tmp_path / "scores/windows.csv")
    for system, estimate in (("model", mixture / 2), ("mixture", mixture)):
        error = estimate - stems["drums"]
        usdr = 10 * np.log10(np.sum(stems["drums"] ** 2) / np.sum(error**2))
        assert songs.usdr_db["B", system] == pytest.approx(usdr, abs=1e-4)
        window = slice(22050, 22050 + 22050)
        expected = 10 * np.log10(np.sum(stems["drums"][window] ** 2) / np.sum(error[window] ** 2))
        row = table[(table.song == "B") & (table.start_sample == 22050) & (table.system == system)]
        assert row.usdr_db.item() == pytest.approx(expected, abs=1e-4)
        of_system = table[table.system == system]
        described = summary[system]["windows"]["usdr_db"]
        assert described["mean"] == pytest.approx(of_system.usdr_db.mean())
        assert described["std"] == pytest.approx(of_system.usdr_db.std())
        assert described["n"] == len(windows)
    assert json.loads((tmp_path / "scores/summary.json").read_text()) == summary
    metrics = song_metrics(summary, "test") | window_metrics(summary, "test")
    assert metrics["test_usdr_db"] == pytest.approx(songs.xs("model", level="system").usdr_db.mean())
    assert metrics["test_mixture_usdr_db"] < metrics["test_usdr_db"]


def test_a_silent_window_is_counted_and_not_averaged(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    path = music / "train/B/drums.wav"
    samples, rate = soundfile.read(path, dtype="int16")
    samples[:44100] = 0
    soundfile.write(path, samples, rate, subtype="PCM_16")
    summary = evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    csdr = summary["model"]["windows"]["csdr_db"]
    assert (csdr["n"], csdr["n_nan"]) == (len(windows) - 2, 2)
    assert np.isfinite(csdr["mean"])


def test_an_index_of_other_songs_is_refused(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    with pytest.raises(InputError, match="no song train/Z, which the index names"):
        evaluate(Separator(Half()), "drums", music, windows.assign(song="Z"), tiny.WINDOW_S, tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
