"""Fixtures of the report's tests."""

from pathlib import Path

import pytest
from fake_study import PROVENANCE, FakeStudy

from vocalremix.config.params import load
from vocalremix.report import write_report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_study(tmp_path: Path) -> FakeStudy:
    return in_folder(tmp_path)


@pytest.fixture
def fake_study(tmp_path: Path) -> FakeStudy:
    return in_folder(tmp_path).write()


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """A study with its report, to be looked at only."""
    study = in_folder(tmp_path_factory.mktemp("study")).write()
    write_report(study.settings, study.data, study.scores, study.report, PROVENANCE)
    return study


def in_folder(folder: Path) -> FakeStudy:
    return FakeStudy(folder, load(ROOT)).with_sweep(
        speech_remix_prob=[0, 0.1, 0.2, 0.3, 0.5, 1], mix_prob=[0.8], data_fraction=[1], seed=[42]
    )
