"""How long does separation take? `Separator` beside an overlap-add at the paper's hop."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml

from benchmarks.floor import operations, product_rate
from benchmarks.race import Row, closeness, duration, number, race
from vocalremix import checkpoint
from vocalremix.audio import SAMPLE_RATE, Waveform
from vocalremix.corpus.demo.song import plan_song
from vocalremix.corpus.demo.stems import make_stems
from vocalremix.metrics import usdr
from vocalremix.models import build
from vocalremix.models.base import SeparationModel
from vocalremix.models.configs import BSRNNConfig
from vocalremix.separation import CHUNK_SAMPLES, Separator

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ROOT / "data/demo/runs/train_full"
PAPER_HOP_S = 0.5
PRECISIONS: tuple[Literal["32", "bf16"], ...] = ("32", "bf16")
SEED = 1  # the demo profile's songs have 0


def model() -> tuple[str, SeparationModel]:
    """The demo's final model where it has been trained, else one of its size, and which of the two."""
    if TRAINED.is_dir():
        return "trained", checkpoint.load(TRAINED)
    settings = yaml.safe_load((ROOT / "profiles/demo.yaml").read_text())["model"]
    torch.manual_seed(0)
    return "untrained", build(BSRNNConfig(**settings), "vocals")


def song(seconds: float) -> tuple[Waveform, Waveform]:
    """Mixture and vocals of a demo song, `(channels, samples)`."""
    stems = make_stems(plan_song(SEED, 0, seconds), np.random.default_rng(SEED))
    mixture: Waveform = np.sum(list(stems.values()), axis=0)
    return mixture, stems["vocals"]


@torch.inference_mode()
def textbook(network: torch.nn.Module, mixture: Waveform, hop_samples: int, device: str = "cpu") -> Waveform:
    """Overlap-add of whole-song sums, one chunk at a time; Hann windows, divided by their sum."""
    waveform = torch.from_numpy(mixture).to(device)
    last = waveform.shape[1] - CHUNK_SAMPLES
    places = torch.arange(CHUNK_SAMPLES, dtype=torch.float64, device=device)
    window = torch.sin(torch.pi * (places + 0.5) / CHUNK_SAMPLES) ** 2
    weighted = torch.zeros_like(waveform, dtype=torch.float64)
    weights = torch.zeros_like(weighted[0])
    for start in [*range(0, last, hop_samples), last]:
        chunk = slice(start, start + CHUNK_SAMPLES)
        weighted[:, chunk] += window * network(waveform[None, :, chunk])[0]
        weights[chunk] += window
    target: Waveform = (weighted / weights).float().cpu().numpy()
    return target


def check(network: SeparationModel, mixture: Waveform) -> str:
    """Assert that both give the same target at the paper's hop; says how close."""
    separator = Separator(network, hop_s=PAPER_HOP_S, chunk_samples=CHUNK_SAMPLES)
    theirs, ours = textbook(network, mixture, separator.hop_samples), separator.separate(mixture)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    return closeness(float(np.abs(ours - theirs).max()))


def full_size(seconds: int = 4) -> Iterator[Row]:
    """The 32.4 M model with fresh weights; how much faster than the sound lasts."""
    settings = yaml.safe_load((ROOT / "profiles/thesis.yaml").read_text())["model"]
    torch.manual_seed(0)
    network = build(BSRNNConfig(**settings), "vocals")
    mixture, _ = song(seconds)
    reference = partial(textbook, network, mixture, round(PAPER_HOP_S * SAMPLE_RATE))
    reference()
    for precision in PRECISIONS:
        separator = Separator(network, precision=precision, batch_size=2)
        separator.separate(mixture)
        times = race(reference, partial(separator.separate, mixture))
        shown = times.medians(lambda taken: f"{duration(taken)}, {number(seconds / taken)} times real time")
        least = operations(partial(separator.separate, mixture)) / rate(precision)
        question = f"Separation of {seconds} s by the 32.4 M model, ours at half a chunk" + ", bf16" * (
            precision == "bf16"
        )
        yield Row(question, *shown, duration(least), times.speedup, "another hop")


def rate(precision: str) -> float:
    """Operations per second in that precision."""
    return product_rate(torch.bfloat16 if precision == "bf16" else torch.float32)


def rows() -> Iterator[Row]:
    """At the paper's hop, at a third of a chunk, and at our default, half a chunk; each in float32 and in bf16."""
    state, network = model()
    seconds = 30
    mixture, vocals = song(seconds)
    papers_hop = Separator(network, hop_s=PAPER_HOP_S, chunk_samples=CHUNK_SAMPLES)
    papers = papers_hop.separate(mixture)
    reference = partial(textbook, network, mixture, papers_hop.hop_samples)
    for hop_s in (PAPER_HOP_S, CHUNK_SAMPLES / SAMPLE_RATE / 3, None):
        for precision in PRECISIONS:
            separator = Separator(network, hop_s=hop_s, chunk_samples=CHUNK_SAMPLES, precision=precision)
            ours = separator.separate(mixture)
            is_like_for_like = hop_s == PAPER_HOP_S and precision == "32"
            remark = check(network, mixture) if is_like_for_like else f"{usdr(ours, papers):.1f} dB apart"
            if state == "trained":
                remark += f"; uSDR {usdr(papers, vocals):.3f} dB there, {usdr(ours, vocals):.3f} dB here"
            times = race(reference, partial(separator.separate, mixture))
            question = f"Separation of {seconds} s ({state} demo model), ours at hop "
            question += f"{separator.hop_samples / separator.sample_rate:.2f} s" + (", bf16" * (precision == "bf16"))
            least = operations(partial(separator.separate, mixture)) / rate(precision)
            yield Row(question, *times.medians(duration), duration(least), times.speedup, remark)
