"""How long does a training step of the Band-Split RNN take? Bands of one width at once beside one band at a time."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.race import Row, duration, race
from vocalremix.checkpoint import export_amanteur
from vocalremix.models.bsrnn import BandSplitSeparator
from vocalremix.models.configs import BSRNNConfig

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
TOLERANCE = 1e-3


class Residual(nn.Module):
    """Norm, bidirectional LSTM and linear layer along the frames of `(batch, frames, features)`."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(features, features)
        self.rnn = nn.LSTM(features, hidden, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of `x`."""
        return x + self.fc(self.rnn(self.groupnorm(x.mT).mT)[0])


class GatedLinear(nn.Module):
    """A linear layer whose output is halved by its gates."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 2 * size)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of `x`."""
        return functional.glu(self.linear(x))


def mask_estimator(inputs: int, hidden: int, outputs: int) -> nn.ModuleDict:
    """The layers after the norm."""
    layers = [nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs), GatedLinear(outputs)]
    return nn.ModuleDict({"mlp": nn.Sequential(*layers)})


class TextbookBSRNN(nn.Module):
    """amanteur's network as one would write it down: modules for each band, a loop over bands, its state dict."""

    def __init__(self, widths: list[int], config: BSRNNConfig) -> None:
        super().__init__()
        self.widths = widths
        features, frames, sizes = config.features, config.frames, [4 * width for width in widths]
        self.bandsplit = nn.ModuleDict(
            {
                "layernorms": nn.ModuleList(nn.LayerNorm([size, frames]) for size in sizes),
                "fcs": nn.ModuleList(nn.Linear(size, features) for size in sizes),
            }
        )
        pairs = [nn.ModuleList(Residual(features, config.hidden) for _ in range(2)) for _ in range(config.layers)]
        self.bandsequence = nn.ModuleDict({"bsrnn": nn.ModuleList(pairs)})
        self.maskest = nn.ModuleDict(
            {
                "layernorms": nn.ModuleList(nn.LayerNorm([frames, features]) for _ in sizes),
                "mlp": nn.ModuleList(mask_estimator(features, config.mlp, size) for size in sizes),
            }
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Complex spectrogram `(batch, channels, frequency, frames)` in, the target's out."""
        mean, std = spectrogram.mean((1, 2, 3), keepdim=True), spectrogram.std((1, 2, 3), keepdim=True)
        x = (spectrogram - mean) / (std + 1e-5)
        batch, channels, _, frames = x.shape
        parts = []
        for band, norm, linear in zip(x.split(self.widths, dim=2), *self.bandsplit.values(), strict=True):
            part = torch.stack([band.real, band.imag], dim=2).flatten(1, 3)
            parts.append(linear(norm(part).mT))
        z = torch.stack(parts, dim=1)
        for pair in self.bandsequence["bsrnn"]:
            for residual in pair:
                z = residual(z.flatten(0, 1)).view_as(z).transpose(1, 2)
        masks = []
        for part, width, norm, estimator in zip(z.unbind(1), self.widths, *self.maskest.values(), strict=True):
            y = estimator["mlp"](norm(part)).view(batch, frames, channels, 2, width)
            masks.append(torch.complex(y[..., 0, :], y[..., 1, :]).permute(0, 2, 3, 1))
        return torch.cat(masks, dim=2) * x * std + mean


class Pair(NamedTuple):
    """Two models with the same weights, and a batch, `(examples, channels, samples)` each."""

    textbook: BandSplitSeparator
    ours: BandSplitSeparator
    mixture: Tensor
    target: Tensor

    def step(self, model: BandSplitSeparator) -> Tensor:
        """Loss and gradients."""
        model.zero_grad()
        loss = model.loss(self.mixture, self.target)
        loss.backward()
        return loss.detach()


def pair(config: BSRNNConfig, examples: int) -> Pair:
    """Noise, and models that differ in nothing but the network's code."""
    torch.manual_seed(0)
    ours = BandSplitSeparator(config, "vocals")
    textbook = BandSplitSeparator(config, "vocals")
    textbook.network = TextbookBSRNN(list(ours.network.widths), config)
    textbook.network.load_state_dict(export_amanteur(ours.network))
    mixture, target = 0.1 * torch.randn(2, examples, 2, config.chunk_samples)
    return Pair(textbook, ours, mixture, target)


def check(models: Pair) -> str:
    """Assert that loss and gradients are the same; says how close."""
    losses = [models.step(models.textbook), models.step(models.ours)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    gradients = copy.deepcopy(models.ours.network)
    for gradient, parameter in zip(gradients.parameters(), models.ours.network.parameters(), strict=True):
        gradient.data = parameter.grad
    named = export_amanteur(gradients)
    theirs = torch.cat([parameter.grad.flatten() for parameter in models.textbook.network.parameters()])
    ours = torch.cat([named[name].flatten() for name, _ in models.textbook.network.named_parameters()])
    error = float((ours - theirs).norm() / theirs.norm())
    assert error < TOLERANCE, f"the gradients differ by {error:.1e} of their norm"
    return f"{error:.0e} of the gradient's norm"


def rows(full: bool = False) -> Iterator[Row]:
    """A row for each size."""
    for size, profile, examples in [("demo", "demo", 4), ("mid", "musdb7s", 1), ("full", "thesis", 1)][: 2 + full]:
        settings = yaml.safe_load((PROFILES / f"{profile}.yaml").read_text())["model"]
        # amanteur's flavour, the thesis's, whatever the profile trains
        config = BSRNNConfig(**settings | {"flavour": "amanteur"})
        models = pair(config, examples)
        agreement = check(models)
        times = race(lambda m=models: m.step(m.textbook), lambda m=models: m.step(m.ours))
        question = f"BSRNN step, {size} size, {len(models.ours.network.widths)} bands, batch of {examples}"
        yield Row(question, *map(duration, times.medians_s), times.speedup, agreement)
