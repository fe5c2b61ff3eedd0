"""What does a GPU make of the full-size model? A training step and separation, beside the textbook's in float32."""

import itertools
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import bsrnn, separation
from benchmarks.floor import operations
from benchmarks.race import Race, Row, duration, number, race
from vocalremix.config.params import read_yaml
from vocalremix.models.bsrnn import BandSplitSeparator
from vocalremix.models.configs import BSRNNConfig
from vocalremix.separation import Separator
from vocalremix.util.values import SAMPLE_RATE

COMMAND = "empty: no CUDA GPU here; `make bench` on a machine with one fills it"
# of 20, the textbook's activations in float32 would not fit 80 GB
BATCHES = (5, 10)
SONG_S = 240
CHUNKS = 32


class Speed(NamedTuple):
    """A row of the table, and its numbers."""

    row: Row
    rate: float
    """Of ours: examples per second, or times real time."""
    speedup: float
    """The textbook's median time over ours."""
    share: float
    """Of the card's rate of bf16 products, that ours reaches."""


def rows() -> Iterator[Row]:
    """A step at each batch size, and separation; empty without a GPU."""
    steps = [f"GPU: step of the 32.4 M model, batch of {batch}, ours in bf16" for batch in BATCHES]
    song = f"GPU: separation of {SONG_S} s by the 32.4 M model, textbook at hop 0.5 s, ours in bf16 at the default hop"
    if not torch.cuda.is_available():
        yield from (Row(question, "", "", "", "", COMMAND) for question in [*steps, song])
        return
    config = full_size()
    for question, batch in zip(steps, BATCHES, strict=True):
        yield step(question, config, batch, "cuda").row
    yield separate(song, config, SONG_S, "cuda").row


def full_size() -> BSRNNConfig:
    """The thesis's model, of 32,414,628 parameters."""
    settings = read_yaml(bsrnn.PROFILES / "thesis.yaml")["model"]
    return BSRNNConfig(**settings | {"flavour": "amanteur"})


def step(question: str, config: BSRNNConfig, batch: int, device: str, budget_s: float = 6.0) -> Speed:
    """Loss and gradients; examples per second, and the share of the card's own rate of bf16 products."""
    models = bsrnn.pair(config, batch).to(device)
    agreement = bsrnn.check(models, bf16=True)
    textbook = finished(partial(models.step, models.textbook))
    ours = finished(partial(models.step, models.ours, True))
    times = race(textbook, ours, budget_s)
    least_s = work(config, batch) / product_rate(device)
    return speed(question, times, batch, "examples/s", least_s, agreement)


def separate(question: str, config: BSRNNConfig, seconds: int, device: str, budget_s: float = 6.0) -> Speed:
    """A song of noise through fresh weights: the time is that of any song and any weights."""
    torch.manual_seed(0)
    network = BandSplitSeparator(config, "vocals").to(device).eval()
    mixture = np.random.default_rng(0).normal(0, 0.1, (2, seconds * SAMPLE_RATE)).astype(np.float32)
    separator = Separator(network, device=device, batch_size=CHUNKS, precision="bf16")
    hop_samples = round(separation.PAPER_HOP_S * SAMPLE_RATE)

    def textbook() -> None:
        separation.textbook(network, mixture, hop_samples, device)

    for call in (textbook, partial(separator.separate, mixture)):
        call()
    times = race(textbook, partial(separator.separate, mixture), budget_s)
    chunks = len(range(0, seconds * SAMPLE_RATE, separator.hop_samples))
    least_s = chunks * work(config, 1, training=False) / product_rate(device)
    return speed(question, times, seconds, "times real time", least_s, "another hop and precision")


def speed(question: str, times: Race, amount: float, unit: str, least_s: float, agreement: str) -> Speed:
    """Of a race over an amount of examples or seconds, which takes `least_s` at the card's rate of products."""
    shown = times.medians(lambda seconds: f"{duration(seconds)}, {number(amount / seconds)} {unit}")
    theirs_s, ours_s = map(statistics.median, times)
    row = Row(question, *shown, duration(least_s), times.speedup, agreement)
    return Speed(row, amount / ours_s, theirs_s / ours_s, least_s / ours_s)


def work(config: BSRNNConfig, batch: int, training: bool = True) -> float:
    """Floating-point operations of a step or of an estimate; counted on the CPU, whose LSTMs can be counted."""
    models = bsrnn.pair(config, 1)
    if training:
        return batch * operations(partial(models.step, models.ours))
    with torch.inference_mode():
        return batch * operations(partial(models.ours, models.mixture))


def product_rate(device: str) -> float:
    """Operations per second of a large product in bf16."""
    size = 8192 if device == "cuda" else 256
    left, right = torch.randn(2, size, size, device=device).bfloat16()
    product = finished(lambda: left @ right)
    product()
    times = race(product, product, budget_s=1)
    return 2 * size**3 / min(itertools.chain(*times))


def finished(call: Callable[[], object]) -> Callable[[], object]:
    """The same call, which returns when the GPU is done."""

    def run() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run
