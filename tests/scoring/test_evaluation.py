"""Scores of a checkpoint: against known estimates and museval's protocol by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from scipy import stats

from vocalremix.audio.writing import write_pcm16
from vocalremix.scoring.evaluation import (
    evaluate,
    loudest_window,
    median_excerpt,
    score_song,
    song_metrics,
    window_metrics,
)
from vocalremix.separation import Separator
from vocalremix.tracking.view import sweep_view
from vocalremix.util.errors import InputError
from vocalremix.util.values import STEMS


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
    assert metrics["test_csdr_sisec_db"] == songs.xs("model", level="system").csdr_sisec_db.median()
    assert (metrics["test_n_songs"], metrics["test_n_windows"], metrics["test_usdr_skipped"]) == (3, len(windows), 0)
    (view,) = sweep_view().values()
    assert set(re.findall(r"test_\w+", view)) <= set(metrics), "MLflow's view names what is logged"


def test_intervals_are_over_songs(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    """Of few songs, Student's; each has four windows here. A median over so few has none that can be trusted."""
    music, windows = corpus
    for song, gain in zip("ABC", (0.5, 1, 2), strict=True):
        path = music / f"train/{song}/drums.wav"
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, (samples * gain).astype(np.int16), rate, subtype="PCM_16")
    summary = evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    songs = pd.read_csv(tmp_path / "scores/songs.csv").query("system == 'model'")
    of_windows = pd.read_csv(tmp_path / "scores/windows.csv").query("system == 'model'").groupby("song")
    metrics = song_metrics(summary, "test") | window_metrics(summary, "test")
    for metric, values in (
        ("test_usdr_db", songs.usdr_db),
        ("test_sisdr_db", songs.sisdr_db),
        ("test_window_usdr_db", of_windows.usdr_db.mean()),
    ):
        ends = metrics[f"{metric}_ci_low"], metrics[f"{metric}_ci_high"]
        assert ends == pytest.approx(stats.t.interval(0.95, 2, values.mean(), stats.sem(values)))
    assert metrics["test_csdr_sisec_db"] == songs.csdr_sisec_db.median()
    assert "test_csdr_sisec_db_ci_low" not in metrics


def test_a_song_without_salient_windows_is_counted(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    write_pcm16(music / "train/B/drums.wav", np.zeros((2, 3 * 44100)))
    salient = windows[~windows.song.isin(["B", "C"])]
    summary = evaluate(Separator(Half()), "drums", music, salient, tiny.WINDOW_S, tmp_path / "scores", part="train")
    songs = pd.read_csv(tmp_path / "scores/songs.csv").query("system == 'model'").set_index("song")
    assert songs.usdr_db.isna().to_dict() == {"A": False, "B": True, "C": False}
    assert summary["model"]["songs"]["usdr_skipped"] == 1 and summary["model"]["songs"]["n_songs"] == 3
    assert set(pd.read_csv(tmp_path / "scores/windows.csv").song) == {"A"}
    assert len(list((tmp_path / "scores/excerpts").iterdir())) == 3


def test_an_estimate_beyond_full_scale_is_kept_undistorted(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    class Loud(torch.nn.Module):
        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return 8 * mixture

    music, windows = corpus
    evaluate(Separator(Loud()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    kept, _ = soundfile.read(tmp_path / "scores/excerpts/A.flac")
    start = pd.read_csv(tmp_path / "scores/songs.csv").excerpt_start_sample[0]
    mixture = sum(soundfile.read(music / f"train/A/{stem}.wav")[0] for stem in STEMS)[start : start + len(kept)]
    assert kept == pytest.approx(mixture / np.abs(mixture).max(), abs=2 / 32768)


def test_one_song_has_no_interval(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    summary = evaluate(
        Separator(Half()), "drums", music, windows[windows.song == "A"], tiny.WINDOW_S, tmp_path / "scores"
    )
    metrics = song_metrics(summary, "test") | window_metrics(summary, "test")
    assert metrics["test_n_songs"] == 1
    assert np.isfinite([metrics["test_usdr_db"], metrics["test_window_usdr_db"]]).all()
    assert not [name for name in metrics if "_ci_" in name]


def test_a_perfect_estimate_has_no_interval(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    for path in music.rglob("*.wav"):
        if path.stem != "drums":
            write_pcm16(path, np.zeros((2, soundfile.info(path).frames)))
    summary = evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    assert summary["mixture"]["songs"]["csdr_thesis_db"] == np.inf
    assert summary["mixture"]["songs"]["csdr_sisec_skipped"] == 3, "there is no accompaniment"
    assert "csdr_thesis_db_ci_low" not in summary["mixture"]["songs"]


def test_a_silent_song_is_counted_and_not_averaged(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus
    write_pcm16(music / "train/B/drums.wav", np.zeros((2, 3 * 44100)))
    summary = evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    songs = pd.read_csv(tmp_path / "scores/songs.csv").query("system == 'model'").set_index("song")
    metrics = song_metrics(summary, "test") | window_metrics(summary, "test")
    for name in ("csdr_thesis", "csdr_sisec", "usdr", "sisdr"):
        assert metrics[f"test_{name}_db"] == pytest.approx(songs[f"{name}_db"][["A", "C"]].mean())
        assert metrics[f"test_{name}_skipped"] == 1
        if name != "csdr_sisec":
            assert metrics[f"test_{name}_db_ci_low"] < metrics[f"test_{name}_db"]
    assert metrics["test_n_songs"] == 3
    for name in ("csdr", "usdr", "sisdr"):
        assert metrics[f"test_window_{name}_skipped"] == 4
    assert metrics["test_n_windows"] == 12


def test_the_excerpt_for_mlflow_is_the_median_mixtures(tmp_path: Path) -> None:
    rows = [("model", "A", 1), ("model", "B", 2), ("model", "C", 9), ("model", "NA", 5), ("model", "E", 5)]
    rows += [
        ("mixture", "A", 5),
        ("mixture", "B", -1),
        ("mixture", "C", 2),
        ("mixture", "NA", 2),
        ("mixture", "E", None),
    ]
    table = pd.DataFrame(rows, columns=["system", "song", "usdr_db"])
    table.to_csv(tmp_path / "songs.csv", index=False)
    assert median_excerpt(tmp_path) == tmp_path / "excerpts/C.flac", "of B, C, NA and A; E has no score"
    table[table.song != "C"].to_csv(tmp_path / "songs.csv", index=False)
    assert median_excerpt(tmp_path) == tmp_path / "excerpts/NA.flac", "a song may be called so"
    table[table.song == "E"].to_csv(tmp_path / "songs.csv", index=False)
    assert median_excerpt(tmp_path) is None


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


@pytest.mark.parametrize("name", ["B", "AC_DC - It's (Live) 50% #2", "Ä.wav"])
def test_the_excerpt_is_the_estimate_where_the_target_is_loudest(
    corpus: tuple[Path, pd.DataFrame], tmp_path: Path, name: str
) -> None:
    music, windows = corpus
    (music / "train/B").rename(music / "train" / name)
    path = music / "train" / name / "drums.wav"
    samples, rate = soundfile.read(path, dtype="int16")
    samples[44100:66150] *= 4
    soundfile.write(path, samples, rate, subtype="PCM_16")
    windows = windows[windows.song == "B"].assign(song=name)
    evaluate(Separator(Half()), "drums", music, windows, tiny.WINDOW_S, tmp_path / "scores")
    songs = pd.read_csv(tmp_path / "scores/songs.csv")
    assert songs.excerpt_start_sample.tolist() == [44100, 44100]
    (file,) = (tmp_path / "scores/excerpts").iterdir()
    assert file.name == f"{name}.flac"
    assert soundfile.info(file).subtype == "PCM_16"
    excerpt, rate = soundfile.read(file)
    mixture = sum(soundfile.read(music / "train" / name / f"{stem}.wav")[0] for stem in STEMS)
    assert (rate, excerpt.shape) == (44100, (22050, 2))
    np.testing.assert_allclose(excerpt, mixture[44100:66150] / 2, atol=2e-4)
    assert np.abs(mixture[44100:66150]).max() > 1, "the mixture itself would not fit into the file"


def test_a_loud_estimate_is_clipped(corpus: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    music, windows = corpus

    class Loud(torch.nn.Module):
        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture * 1000

    first = windows[(windows.song == "A") & (windows.start_sample == 0)]
    evaluate(Separator(Loud()), "drums", music, first, tiny.WINDOW_S, tmp_path / "scores")
    excerpt, _ = soundfile.read(tmp_path / "scores/excerpts/A.flac")
    mixture = sum(soundfile.read(music / f"train/A/{stem}.wav")[0] for stem in STEMS)
    np.testing.assert_array_equal(np.sign(excerpt), np.sign(mixture[: len(excerpt)]), "a sample wraps around")


def test_of_windows_equally_loud_the_first_is_kept() -> None:
    reference = np.zeros((2, 40), np.float32)
    reference[0, 12] = reference[1, 33] = -0.5
    assert loudest_window(reference, [0, 10, 20, 30], 10) == 10
    assert loudest_window(reference, [0, 20], 10) == 0


def test_one_song_scored_by_hand() -> None:
    reference = np.tile(np.float32([[0.3, -0.1, 0.2]]), (2, 44100))
    estimate = reference * np.float32(0.9)
    estimate[:, 44100:] = reference[:, 44100:] * np.float32(0.5)
    song, windows = score_song(estimate, reference, 2 * reference, [0, 44100], 44100)
    assert [row["start_sample"] for row in windows] == [0, 44100]
    assert [row["usdr_db"] for row in windows] == pytest.approx([20, 20 * np.log10(2)], abs=1e-3)
    # a third of the energy with an error of 1 %, two thirds with 25 %
    assert song["usdr_db"] == pytest.approx(-10 * np.log10((0.01 + 2 * 0.25) / 3), abs=1e-3)
