"""Fixtures shared by all tests."""

import signal
from pathlib import Path

import pytest
import torch

from vocalremix.training.devices import has_bf16

# tests run side by side, and threads that wait for one another in turns are slower than none
torch.set_num_threads(1)
# a job in the background of a shell ignores SIGINT, and so would the programs that tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that one worker is not left with it when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The material beside the project that tests may use but the project does not hold."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("../shared is not beside this checkout: no real audio to compare with")
    return path


@pytest.fixture(scope="session")
def bf16() -> None:
    """Skips a test on hardware that cannot run it."""
    if not has_bf16("cpu"):
        pytest.skip("this CPU computes no LSTM in bf16: it has no AVX-512")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Exact values measured from the seed's code."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def real_data(shared: Path) -> Path:
    """Real songs and utterances."""
    return shared / "data"
