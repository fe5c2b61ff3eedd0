"""The set-up scripts where they cannot do their work: one line that says what to do by hand."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / script], cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_a_zip_without_git_is_told_how_to_become_a_repository(tmp_path: Path) -> None:
    done = run("check-git", tmp_path)
    assert done.returncode == 2
    assert "no git checkout" in done.stderr
    advice = done.stderr.splitlines()[1].strip()
    (tmp_path / "params.yaml").write_text("")
    subprocess.run(advice, shell=True, cwd=tmp_path, check=True, capture_output=True)
    assert run("check-git", tmp_path).returncode == 0


def test_programs_that_cannot_be_installed_are_named(tmp_path: Path) -> None:
    done = run("install-programs", tmp_path, PATH=str(tmp_path))
    assert done.returncode == 2
    assert "missing programs: ffmpeg ffprobe rubberband; install them by hand" in done.stderr


@pytest.mark.skipif(shutil.which("rubberband") is None, reason="the programs are not installed")
def test_programs_that_are_there_are_left_alone(tmp_path: Path) -> None:
    done = run("install-programs", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unfit_python_is_refused(tmp_path: Path) -> None:
    done = run("make-venv", tmp_path, PATH=str(tmp_path), PYTHON="/no/such/python")
    assert done.returncode == 2
    assert "no Python 3.11 to 3.13 found" in done.stderr
    assert not (tmp_path / ".venv").exists()
