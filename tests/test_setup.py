"""The set-up scripts where they cannot do their work: one line that says what to do by hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import ON_A_MAC

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(script: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [SCRIPTS / script, *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def add_program(folder: Path, name: str, lines: str) -> None:
    """A program of that name; `new NAME` in it adds one more to the folder, `told WORDS` keeps the words."""
    (folder / name).write_text(
        f"#!/bin/sh\nnew() {{ printf '#!/bin/sh\\necho Chromium 1' >{folder}/$1; /bin/chmod +x {folder}/$1; }}\n"
        f'told() {{ echo "$@" >>{folder}/told; }}\n{lines}\n'
    )
    (folder / name).chmod(0o755)


def install_chromium(folder: Path, *, playwright: str) -> subprocess.CompletedProcess[str]:
    """On a machine with the programs in `folder` alone, where installing Playwright's browser does `playwright`."""
    add_program(
        folder, "python", f'[ "$2" = playwright ] && {{ told "$@"; {playwright}; }}\nexec {sys.executable} "$@"'
    )
    return run("install-programs", folder, "chromium", PATH=str(folder), PLAYWRIGHT_BROWSERS_PATH=str(folder))


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


def test_a_chromium_that_is_there_is_left_alone(tmp_path: Path) -> None:
    add_program(tmp_path, "google-chrome", "echo Google Chrome 1")
    done = install_chromium(tmp_path, playwright="exit 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


needs_no_chrome = pytest.mark.skipif(Path(ON_A_MAC).exists(), reason="Google Chrome is where it is always found")


@needs_no_chrome
@pytest.mark.parametrize(
    "chromium",
    ["echo Chromium 1 snap", "echo requires the chromium snap to be installed >&2; exit 1"],
    ids=["snap", "stub of a snap"],
)
def test_chromium_comes_from_apt(tmp_path: Path, chromium: str) -> None:
    add_program(tmp_path, "chromium-browser", chromium)
    add_program(tmp_path, "id", "echo 0")
    add_program(tmp_path, "apt-get", '[ "$2" = update ] || { told "$@"; new chromium; }')
    done = install_chromium(tmp_path, playwright="exit 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "told").read_text() == "-qq install -y chromium\n"


@needs_no_chrome
@pytest.mark.parametrize(("user", "options"), [("0", " --with-deps"), ("1000", "")])
def test_chromium_comes_from_playwright_where_apt_has_none(tmp_path: Path, user: str, options: str) -> None:
    add_program(tmp_path, "id", f"echo {user}")
    add_program(tmp_path, "apt-get", '[ "$2" = update ]')
    done = install_chromium(tmp_path, playwright="new chromium; exit 0")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "told").read_text() == f"-m playwright install{options} chromium\n"


@needs_no_chrome
def test_chromium_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    add_program(tmp_path, "id", "echo 1000")
    done = install_chromium(tmp_path, playwright="exit 1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: missing programs: chromium; install them by hand, for example: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unfit_python_is_refused(tmp_path: Path) -> None:
    done = run("make-venv", tmp_path, PATH=str(tmp_path), PYTHON="/no/such/python")
    assert done.returncode == 2
    assert "no Python 3.11 to 3.13 found" in done.stderr
    assert not (tmp_path / ".venv").exists()
