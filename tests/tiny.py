"""A corpus and a model small enough to train in a test, also as a program of its own (python tests/tiny.py)."""

import argparse
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vocalremix.audio.writing import write_pcm16
from vocalremix.config.params import Common, Compute, Phase
from vocalremix.examples.dataset import RemixDataset, ValidationDataset
from vocalremix.examples.sampler import EpochSampler
from vocalremix.models.base import SeparationModel
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.remix.classic import Classic
from vocalremix.remix.gain import Gain
from vocalremix.training import loop
from vocalremix.training.devices import choose_devices
from vocalremix.training.loop import fit
from vocalremix.util.errors import one_line_errors
from vocalremix.util.values import SAMPLE_RATE, STEMS

CONFIG = BSRNNConfig(
    flavour="paper",
    bands=((4000, 2000), (12000, 8000)),
    n_fft=512,
    hop_samples=256,
    features=4,
    layers=1,
    hidden=4,
    mlp=4,
    chunk_samples=8192,
)
WINDOW_S = 0.5
SCHEDULE = (Phase(epochs=2, learning_rate=1e-2, decay=0.9), Phase(epochs=1, learning_rate=5e-3))
COMMON = Common(batch_size=2, clip_norm=0.05, ema_decay=0.8, ema_examples=4, patience=10)


def write_music(root: Path, song_s: int = 3) -> pd.DataFrame:
    """Three training songs and one for validation, of noise; returns their window table."""
    rng = np.random.default_rng(0)
    rows = []
    for part, song in (("train", "A"), ("train", "B"), ("train", "C"), ("valid", "D")):
        folder = root / part / song
        folder.mkdir(parents=True)
        for stem in STEMS:
            write_pcm16(folder / f"{stem}.wav", rng.uniform(-0.2, 0.2, (2, song_s * SAMPLE_RATE)))
        rows += [(part, song, "", start) for start in range(0, (song_s - 1) * SAMPLE_RATE, SAMPLE_RATE // 2)]
    return pd.DataFrame(rows, columns=["part", "song", "copy", "start_sample"])


def datasets(
    music: Path,
    windows: pd.DataFrame,
    n_valid: int = 4,
    crop_samples: int = CONFIG.chunk_samples,
    window_s: float = WINDOW_S,
) -> tuple[RemixDataset, ValidationDataset]:
    examples = RemixDataset(
        music,
        None,
        windows[windows.part == "train"],
        None,
        target="vocals",
        crop_samples=crop_samples,
        window_s=window_s,
        remixes={"classic": Classic(prob=0.5), "gain": Gain(prob=0.5)},
        seed=7,
        training="tiny",
    )
    valid = windows[windows.part == "valid"][:n_valid]
    return examples, ValidationDataset(music, valid, "vocals", crop_samples, window_s)


def new_model() -> SeparationModel:
    torch.manual_seed(1)
    return build(CONFIG, "vocals")


def use_sgd() -> None:
    """Train by SGD from now on: Adam blows the rounding of gradients next to zero up to whole steps."""
    loop.Adam = torch.optim.SGD  # type: ignore[misc, assignment]


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def textbook_loop(
    training: RemixDataset, device: str = "cpu", method: type[torch.optim.Optimizer] = torch.optim.Adam
) -> tuple[SeparationModel, list[float]]:
    """Steps, clipping and averaging written out by hand: the averaged weights, and the loss of every step."""
    model = new_model().to(device)
    average: SeparationModel | None = None
    optimizer = method(model.parameters())
    sampler = EpochSampler(training, COMMON.batch_size)
    decay = COMMON.ema_decay ** (COMMON.batch_size / COMMON.ema_examples)
    losses = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for group in optimizer.param_groups:
            group["lr"] = [1e-2, 9e-3, 5e-3][epoch]
        for batch in DataLoader(training, sampler=sampler, batch_size=COMMON.batch_size):
            optimizer.zero_grad()
            loss = model.loss(batch.mixture.to(device), batch.target.to(device))
            loss.backward()
            gradients = [parameter.grad for parameter in model.parameters()]
            norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
            for gradient in gradients:
                gradient *= min(1.0, COMMON.clip_norm / (float(norm) + 1e-6))
            optimizer.step()
            losses.append(float(loss.detach()))
            if average is None:
                average = deepcopy(model)
                continue
            with torch.no_grad():
                for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(parameter, 1 - decay)
    assert average is not None
    return average, losses


def main() -> None:
    """Train on the corpus in a folder and leave weights and history beside it; prints a line per epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--n-valid", type=int, default=4)
    parser.add_argument("--sgd", action="store_true")
    parser.add_argument("--clip-norm", type=float, default=COMMON.clip_norm)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sgd:
        use_sgd()
    model = new_model()
    if options.recompute:
        model.checkpoint_activations()
    examples, validation = datasets(
        options.root / "music", pd.read_csv(options.root / "windows.csv", keep_default_na=False), options.n_valid
    )
    with one_line_errors():
        outcome = fit(
            model,
            examples,
            validation,
            schedule=SCHEDULE,
            common=COMMON.model_copy(
                update={
                    "batch_size": options.batch_size,
                    "accumulate": options.accumulate,
                    "clip_norm": options.clip_norm,
                }
            ),
            devices=choose_devices(Compute(accelerator="cpu", devices=options.devices, precision="32")),
            workers=options.workers,
            scratch=options.root / "scratch",
            name="tiny",
            on_epoch=lambda row: print(json.dumps(row), flush=True),
        )
    if outcome is None:
        return
    torch.save({"weights": weights(model), "best_epoch": outcome.best_epoch}, options.root / "weights.pt")


if __name__ == "__main__":
    main()
