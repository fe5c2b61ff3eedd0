"""The report as a whole: files, figures, few numbers, and that it appears whole or not at all."""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from fake_study import PROVENANCE, SONGS, FakeStudy

from vocalremix.report import summary, write_report
from vocalremix.report.figures import draw_all
from vocalremix.report.study import read_study

FIGURES = ["figure_5_2_speech", "figure_5_3_songs", "training", "training_sweep"]


@pytest.fixture
def small_study(empty_study: FakeStudy) -> FakeStudy:
    """Of one song: less to draw and to play."""
    return replace(empty_study, songs=SONGS[:1])


def written(report: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(report)): path.read_bytes()
        for path in sorted(report.rglob("*"))
        if path.is_file() and path.relative_to(report).parts[0] != "scores"
    }


def test_figures_can_be_read_and_show_something(reported: FakeStudy) -> None:
    files = sorted(path.name for path in (reported.report / "figures").iterdir())
    assert files == sorted(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg"))
    for name in FIGURES:
        image = matplotlib.image.imread(reported.report / "figures" / f"{name}.png")
        assert image.shape[1] == 1200
        assert 0.01 < np.mean(image[..., :3].min(axis=-1) < 0.9) < 0.5  # ink on white paper


def test_every_file_is_there(reported: FakeStudy) -> None:
    folders = [Path(name).parts[0] for name in written(reported.report)]
    assert Counter(folders) == {
        "tables": 2 * 10,
        "figures": 2 * len(FIGURES),
        "plots": 3,
        "listening": 3 * (1 + 2 + 1 + 6 + 2),
        **dict.fromkeys(("index.html", "verdicts.md", "metrics.json"), 1),
    }


def test_same_study_same_bytes_whatever_the_locale(fake_study: FakeStudy, reported: FakeStudy) -> None:
    """Python warns where text is read or written in the locale's encoding."""
    ours = (fake_study.settings, fake_study.data, fake_study.scores, fake_study.report, PROVENANCE)
    program = """if True:
        import pickle, sys, warnings
        from vocalremix.report import write_report
        warnings.filterwarnings("error", category=EncodingWarning, module="vocalremix")
        write_report(*pickle.load(sys.stdin.buffer))
    """
    command = [sys.executable, "-X", "warn_default_encoding", "-c", program]
    subprocess.run(command, input=pickle.dumps(ours), env=os.environ | {"PYTHONPATH": "src"}, check=True)
    assert written(fake_study.report) == written(reported.report)


def test_two_axes_make_a_map(small_study: FakeStudy) -> None:
    study = small_study.with_sweep(speech_remix_prob=[0, 0.5, 1], data_fraction=[0.4, 1]).write()
    write_report(study.settings, study.data, study.scores, study.report, PROVENANCE)
    svg = (study.report.parent / "index.html").read_text().split('id="sweep_heat_map"')[1].split("</figure>")[0]
    points = pd.read_csv(study.report / "plots" / "sweep.csv")
    for value in points[["cSDR_db", "uSDR_db", "siSDR_db"]].to_numpy().flatten():
        assert f">{value:.2f}<" in svg


def test_policies_are_an_axis_as_any_other(empty_study: FakeStudy) -> None:
    """Its values are words, and all others are compared with the first."""
    study = empty_study.with_sweep(remix=["thesis", "umx", "msst"], speech_remix_prob=[0, 0.5], seed=[1, 2]).write()
    write_report(study.settings, study.data, study.scores, study.report, PROVENANCE)
    assert json.loads((study.report / "metrics.json").read_text())["best_cell"]["remix"] in ("thesis", "umx", "msst")
    verdicts = (study.report / "verdicts.md").read_text()
    asked = verdicts.split("## Which remixes help?\n")[1].split("\n## ")[0]
    assert "emix umx on average over speech_remix_prob" in asked and "against thesis" in asked
    assert set(pd.read_csv(study.report / "plots" / "sweep.csv").remix) == {"thesis", "umx", "msst"}
    svg = (study.report.parent / "index.html").read_text().split('id="sweep_remix"')[1].split("</figure>")[0]
    assert all(f">{name}<" in svg for name in ("thesis", "umx", "msst"))


def test_nothing_changes_when_it_fails(small_study: FakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_study.write()
    (study.report / "tables").mkdir()
    (study.report / "tables" / "table.md").write_text("an earlier report")
    monkeypatch.setattr(summary, "metrics", lambda _: {"not": object()})  # written last
    with pytest.raises(TypeError):
        write_report(study.settings, study.data, study.scores, study.report, PROVENANCE)
    assert written(study.report) == {"tables/table.md": b"an earlier report"}


def test_metrics_are_few_and_window_means(reported: FakeStudy) -> None:
    metrics = json.loads((reported.report / "metrics.json").read_text())
    assert {system: list(values) for system, values in metrics.items()} == {
        "mixture": ["uSDR_db"],
        "initial": ["uSDR_db"],
        "overfit": ["initial_uSDR_db", "uSDR_db"],
        "best_cell": ["speech_remix_prob", "uSDR_db"],
        "train": ["uSDR_db"],
        "train_full": ["cSDR_db", "uSDR_db", "siSDR_db"],
    }
    assert metrics["best_cell"]["speech_remix_prob"] == 0.2
    windows = pd.read_csv(reported.scores / "train_full" / "windows.csv").groupby("system").mean(numeric_only=True)
    assert metrics["train_full"] == pytest.approx(
        {
            "cSDR_db": windows.csdr_db["model"],
            "uSDR_db": windows.usdr_db["model"],
            "siSDR_db": windows.sisdr_db["model"],
        },
        abs=1e-4,
    )


def test_points_behind_the_plots(reported: FakeStudy) -> None:
    sweep = pd.read_csv(reported.report / "plots" / "sweep.csv")
    assert sweep.speech_remix_prob.tolist() == [0, 0.1, 0.2, 0.3, 0.5, 1]
    assert sweep.valid_uSDR_db.tolist() == pytest.approx([6 - (p - 0.2) ** 2 for p in sweep.speech_remix_prob])
    training = pd.read_csv(reported.report / "plots" / "training.csv")
    assert training.groupby("run").size().to_dict() == {
        "initial": 8,
        "overfit": 40,
        "train": 3,
        "train_full": 4,
        **{f"sweep/{cell.name}": 5 for cell in reported.settings.params.sweep.cells()},
    }
    assert training[training.run == "train_full"].valid_uSDR_db.isna().all()


def test_an_imported_checkpoint_has_no_curve(fake_study: FakeStudy) -> None:
    (fake_study.data / "runs" / "initial" / "history.csv").unlink()
    study = read_study(fake_study.settings, fake_study.data, fake_study.scores)
    drawn = set(summary.training_points(study).run)
    assert "initial" not in drawn and "train" in drawn
    assert {drawing.name for drawing in draw_all(study)} == set(FIGURES)


def test_sweep_over_several_axes(empty_study: FakeStudy) -> None:
    written = empty_study.with_sweep(speech_remix_prob=[0, 0.2], data_fraction=[0.25, 1], seed=[1, 2]).write()
    study = read_study(written.settings, written.data, written.scores)
    assert len(summary.sweep_points(study)) == 8
    chosen = summary.metrics(study)["best_cell"]
    assert {**chosen, "uSDR_db": None} == {"speech_remix_prob": 0.2, "data_fraction": 1, "seed": 1, "uSDR_db": None}
