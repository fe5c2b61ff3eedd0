"""A lock that one process holds at a time, however its holder ends."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from vocalremix.util.lock import only_one

HOLD = """
import sys, time
from pathlib import Path
from vocalremix.util.lock import only_one
path = Path(sys.argv[1])
with only_one(path, "at this very training"):
    print("holding", flush=True)
    while not (path.parent / "end").exists():
        time.sleep(0.05)
"""


def test_the_second_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holding\n"
        with subprocess.Popen(command, **pipes) as second:
            assert second.stdout is not None
            assert second.stderr is not None
            assert second.stderr.readline() == f"waiting for process {first.pid}, which is at this very training\n"
            assert second.poll() is None
            (tmp_path / "end").touch()
            assert second.stdout.readline() == "holding\n"
            assert (first.wait(), second.wait()) == (0, 0)
    assert not path.exists()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        holder.kill()
    with only_one(tmp_path / "lock", "at this very test"):
        assert (tmp_path / "lock").is_file()
