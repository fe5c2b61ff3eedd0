"""The rehearsal on a GPU: it runs where little is installed, and says so where something is wrong."""

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ON_A_BARE_MACHINE = ("torch", "lightning", "pandas", "scipy", "safetensors")


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu_check

    was = torch.backends.cudnn.allow_tf32
    yield gpu_check
    torch.backends.cudnn.allow_tf32 = was


def wheels() -> list[str]:
    """What scripts/gpu-wheels fetches."""
    found = re.search(r"\^\((.+)\)==", (ROOT / "scripts/gpu-wheels").read_text())
    assert found
    return found[1].split("|")


def with_needs(*names: str) -> set[str]:
    """Installed distributions and all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needs = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def bare_python(folder: Path) -> Path:
    """A Python that finds what a bare machine has, and the wheels; nothing else of this environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in with_needs(*ON_A_BARE_MACHINE) | set(wheels()):
        files = importlib.metadata.files(name) or []
        for part in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            target = site / part
            if not target.exists():
                target.symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(part))))
    return folder / "bin/python"


def test_runs_on_a_bare_machine(tmp_path: Path) -> None:
    python = bare_python(tmp_path / "bare")
    missing = subprocess.run([python, "-c", "import mlflow"], capture_output=True)
    assert missing.returncode
    done = subprocess.run(
        [python, "-m", "benchmarks.gpu_check", "--device", "cpu", "--only", "golden values", "killed and resumed"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src:tests"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert re.findall(r"^\| (.+?) \| pass \|", done.stdout, re.MULTILINE) == ["golden values", "killed and resumed"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(gpu_check: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main()
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_what_goes_wrong_is_a_line_and_an_exit_code(
    gpu_check: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def broken(place: Any) -> Any:
        raise RuntimeError("no kernel image\nmore of it")

    def too_large(place: Any) -> Any:
        raise torch.OutOfMemoryError("2 GB more")

    checks = {"broken": broken, "too large": too_large, "golden values": gpu_check.golden}
    monkeypatch.setattr(gpu_check, "CHECKS", checks)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--device", "cpu"])
    assert gpu_check.main() == 1
    table = capsys.readouterr().out
    assert "| broken | FAIL | RuntimeError: no kernel image |  |" in table
    assert "| too large | left out |" in table and "| golden values | pass |" in table


def test_other_weights_are_seen(gpu_check: Any) -> None:
    """What a decay of 0.81 instead of 0.8 does to tiny.py's weights: 1e-4 in the median."""
    weights = tiny.weights(tiny.new_model())
    assert gpu_check.same(weights, weights) == ("pass", "the same weights, bit for bit", "")
    assert gpu_check.same(weights + 1e-6, weights).result == "pass"
    assert gpu_check.same(weights + 1e-4, weights).result == "FAIL"


def test_a_speed_below_its_target_is_slow_on_a_gpu_only(gpu_check: Any, tmp_path: Path) -> None:
    results = [
        gpu_check.fast(gpu_check.Place(device, tmp_path), good, "", "").result
        for device in ("cuda", "cpu")
        for good in (True, False)
    ]
    assert results == ["pass", "slow", "pass", "pass"]


def test_without_bf16_the_other_checks_stand(gpu_check: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choose = gpu_check.choose_devices

    def no_bf16(compute: Any) -> Any:
        if compute.precision == "bf16":
            raise gpu_check.InputError("precision: bf16, but there is none")
        return choose(compute)

    monkeypatch.setattr(gpu_check, "choose_devices", no_bf16)
    place = gpu_check.Place("cpu", tmp_path)
    assert {gpu_check.run(name, place).result for name in gpu_check.IN_BF16} == {"left out"}
    assert gpu_check.run("golden values", place).result == "pass"
