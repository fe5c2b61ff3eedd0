"""What does a GPU make of the full-size model? A training step and separation, beside the textbook's in float32."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import yaml

from benchmarks import bsrnn, separation
from benchmarks.floor import operations
from benchmarks.race import Row, duration, number, race
from vocalremix.audio import SAMPLE_RATE
from vocalremix.models.bsrnn import BandSplitSeparator
from vocalremix.models.configs import BSRNNConfig
from vocalremix.separation import Separator

COMMAND = "empty: no CUDA GPU here; `make bench` on a machine with one fills it"
BATCHES = (5, 20)
SONG_S = 240
CHUNKS = 32


def rows() -> Iterator[Row]:
    """A step at each batch size, and separation; empty without a GPU."""
    steps = [f"GPU: step of the 32.4 M model, batch of {batch}, ours in bf16" for batch in BATCHES]
    song = f"GPU: separation of {SONG_S} s by the 32.4 M model, textbook at hop 0.5 s, ours in bf16 at the default hop"
    if not torch.cuda.is_available():
        yield from (Row(question, "", "", "", "", COMMAND) for question in [*steps, song])
        return
    settings = yaml.safe_load((bsrnn.PROFILES / "thesis.yaml").read_text())["model"] | {"flavour": "amanteur"}
    config = BSRNNConfig(**settings)
    for question, batch in zip(steps, BATCHES, strict=True):
        yield step(question, config, batch, "cuda")
    yield separate(song, config, SONG_S, "cuda")


def step(question: str, config: BSRNNConfig, batch: int, device: str) -> Row:
    """Loss and gradients; examples per second, and the share of the card's own rate of bf16 products."""
    models = bsrnn.pair(config, batch).to(device)
    agreement = bsrnn.check(models, bf16=True)
    textbook = finished(partial(models.step, models.textbook))
    ours = finished(partial(models.step, models.ours, True))
    times = race(textbook, ours)
    rates = times.medians(lambda seconds: f"{duration(seconds)}, {number(batch / seconds)} examples/s")
    least_s = work(config, batch) / product_rate(device)
    return Row(question, *rates, duration(least_s), times.speedup, agreement)


def separate(question: str, config: BSRNNConfig, seconds: int, device: str) -> Row:
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
    times = race(textbook, partial(separator.separate, mixture))
    rates = times.medians(lambda taken: f"{duration(taken)}, {number(seconds / taken)} times real time")
    chunks = len(range(0, seconds * SAMPLE_RATE, separator.hop_samples))
    least_s = chunks * work(config, 1, training=False) / product_rate(device)
    return Row(question, *rates, duration(least_s), times.speedup, "another hop and precision")


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
