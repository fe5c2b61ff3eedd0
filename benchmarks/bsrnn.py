"""How long does a training step of the Band-Split RNN take? Bands of one width at once beside one band at a time."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.floor import operations, product_rate
from benchmarks.race import Row, duration, plain_process, race, without_bf16
from vocalremix.config.params import read_yaml
from vocalremix.models.bsrnn import BandSplitSeparator
from vocalremix.models.configs import BSRNNConfig
from vocalremix.training.checkpoint import export_amanteur
from vocalremix.training.devices import has_bf16, keep_freed_memory

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
TOLERANCE = 1e-3
BF16_TOLERANCE = 0.1
CURVE_TOLERANCE = 0.05
STEPS, LEARNING_RATE = 60, 2e-3


class BandSplit(nn.Module):
    """`(batch, channels, frequency, frames)`, complex, to `(batch, bands, frames, features)`."""

    def __init__(self, widths: Sequence[int], config: BSRNNConfig) -> None:
        super().__init__()
        self.widths = list(widths)
        self.layernorms = nn.ModuleList(nn.LayerNorm([4 * width, config.frames]) for width in widths)
        self.fcs = nn.ModuleList(nn.Linear(4 * width, config.features) for width in widths)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """See the class."""
        parts = []
        for band, norm, linear in zip(torch.split(spectrogram, self.widths, 2), self.layernorms, self.fcs, strict=True):
            part = torch.stack([band.real, band.imag], dim=2).flatten(1, 3)
            parts.append(linear(norm(part).mT))
        return torch.stack(parts, dim=1)


class Residual(nn.Module):
    """Norm, bidirectional LSTM and linear layer along the third axis of `(batch, bands, frames, features)`."""

    def __init__(self, config: BSRNNConfig) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(config.features, config.features)
        self.rnn = nn.LSTM(config.features, config.hidden, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * config.hidden, config.features)

    def forward(self, z: Tensor) -> Tensor:
        """Returns the shape of `z` with the second and third axis swapped."""
        x = z.flatten(0, 1)
        x = torch.add(x, self.fc(self.rnn(self.groupnorm(x.mT).mT)[0]))
        return x.view_as(z).transpose(1, 2)


class BandSequence(nn.Module):
    """Along frames and along bands in turn."""

    def __init__(self, config: BSRNNConfig) -> None:
        super().__init__()
        self.bsrnn = nn.ModuleList(nn.Sequential(Residual(config), Residual(config)) for _ in range(config.layers))

    def forward(self, z: Tensor) -> Tensor:
        """Returns the shape of `z`."""
        for pair in self.bsrnn:
            z = pair(z)
        return z


class GatedLinear(nn.Module):
    """A linear layer, half of whose output gates the other half."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 2 * size)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of `x`."""
        return functional.glu(self.linear(x))


class MaskMLP(nn.Module):
    """What comes after the norm."""

    def __init__(self, config: BSRNNConfig, size: int) -> None:
        super().__init__()
        hidden = config.mlp
        self.mlp = nn.Sequential(
            nn.Linear(config.features, hidden), nn.Tanh(), nn.Linear(hidden, size), GatedLinear(size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, frames, features)` to `(batch, frames, size)`."""
        return torch.as_tensor(self.mlp(x))


class MaskEstimation(nn.Module):
    """`(batch, bands, frames, features)` to a complex mask, `(batch, channels, frequency, frames)`."""

    def __init__(self, widths: Sequence[int], config: BSRNNConfig) -> None:
        super().__init__()
        self.layernorms = nn.ModuleList(nn.LayerNorm([config.frames, config.features]) for _ in widths)
        self.mlp = nn.ModuleList(MaskMLP(config, 4 * width) for width in widths)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        masks = []
        for part, norm, mlp in zip(z.unbind(1), self.layernorms, self.mlp, strict=True):
            y = mlp(norm(part)).unflatten(2, (2, 2, -1))
            masks.append(torch.complex(y[:, :, :, 0], y[:, :, :, 1]).permute(0, 2, 3, 1))
        return torch.cat(masks, dim=2)


class TextbookBSRNN(nn.Module):
    """amanteur's network as one would write it down: modules for each band, loops over bands, its state dict."""

    def __init__(self, widths: Sequence[int], config: BSRNNConfig) -> None:
        super().__init__()
        self.bandsplit = BandSplit(widths, config)
        self.bandsequence = BandSequence(config)
        self.maskest = MaskEstimation(widths, config)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Complex spectrogram `(batch, channels, frequency, frames)` in, the target's out."""
        mean, std = spectrogram.mean((1, 2, 3), keepdim=True), spectrogram.std((1, 2, 3), keepdim=True)
        x = (spectrogram - mean) / (std + 1e-5)
        mask: Tensor = self.maskest(self.bandsequence(self.bandsplit(x)))
        return mask * x * std + mean


class Pair(NamedTuple):
    """Two models with the same weights, and a batch, `(examples, channels, samples)` each."""

    textbook: BandSplitSeparator
    ours: BandSplitSeparator
    mixture: Tensor
    target: Tensor

    def to(self, device: str) -> "Pair":
        """The same on another device."""
        return Pair(self.textbook.to(device), self.ours.to(device), self.mixture.to(device), self.target.to(device))

    def step(self, model: BandSplitSeparator, bf16: bool = False) -> Tensor:
        """Loss and gradients."""
        model.zero_grad()
        with torch.autocast(self.mixture.device.type, torch.bfloat16, enabled=bf16):
            loss = model.loss(self.mixture, self.target)
        torch.autograd.backward(loss)
        return loss.detach()


def pair(config: BSRNNConfig, examples: int) -> Pair:
    """Noise, and models that differ in nothing but the network's code."""
    torch.manual_seed(0)
    ours = BandSplitSeparator(config, "vocals")
    textbook = BandSplitSeparator(config, "vocals")
    network = TextbookBSRNN(ours.network.widths, config)
    network.load_state_dict(export_amanteur(ours.network))
    textbook.network = network  # type: ignore[assignment]
    mixture, target = 0.1 * torch.randn(2, examples, 2, config.chunk_samples)
    return Pair(textbook, ours, mixture, target)


def textbook_step(config: BSRNNConfig, examples: int) -> Callable[[], Tensor]:
    """The textbook's step of `pair`."""
    models = pair(config, examples)
    return partial(models.step, models.textbook)


def check(models: Pair, bf16: bool = False) -> str:
    """Assert that loss and gradients are the same, ours computed in bf16 or not; says how close."""
    losses = [models.step(models.textbook), models.step(models.ours, bf16)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-2 if bf16 else 1e-5, atol=0)
    theirs = torch.cat([gradient(parameter).flatten() for parameter in models.textbook.network.parameters()])
    gradients = copy.deepcopy(models.ours.network)
    for place, parameter in zip(gradients.parameters(), models.ours.network.parameters(), strict=True):
        place.data = gradient(parameter)
    named = export_amanteur(gradients)
    ours = torch.cat([named[name].flatten() for name, _ in models.textbook.network.named_parameters()])
    error = float((ours - theirs).norm() / theirs.norm())
    assert error < (BF16_TOLERANCE if bf16 else TOLERANCE), f"the gradients differ by {error:.1e} of their norm"
    return f"{error:.0e} of the gradient's norm"


def learn(models: Pair, model: BandSplitSeparator, bf16: bool = False) -> list[float]:
    """The losses of steps on one batch, by Adam; the weights stay as they were."""
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        losses.append(float(models.step(model, bf16)))
        optimizer.step()
    model.load_state_dict(before)
    return losses


def curves(models: Pair) -> Row:
    """Whether a training in bf16 goes as one in float32."""
    question = f"Loss after {STEPS} steps on one batch, demo size, ours in bf16"
    if not has_bf16("cpu"):
        return without_bf16(question)
    theirs, ours = learn(models, models.textbook), learn(models, models.ours, bf16=True)
    apart = max(abs(a - b) / a for a, b in zip(theirs, ours, strict=True))
    assert apart < CURVE_TOLERANCE, f"the losses differ by up to {100 * apart:.1f} %"
    there, here = (f"{losses[0]:.3f} to {losses[-1]:.3f}" for losses in (theirs, ours))
    return Row(question, there, here, "", "", f"{100 * apart:.1f} % or closer at every step")


def gradient(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient, which must be there."""
    assert parameter.grad is not None
    return parameter.grad


def rows(full: bool = False) -> Iterator[Row]:
    """A row for each size, and one with ours in bf16; memory is kept as in a training."""
    keep_freed_memory()
    for size, profile, examples in [("demo", "demo", 4), ("mid", "musdb7s", 1), ("full", "thesis", 1)][: 2 + full]:
        settings = read_yaml(PROFILES / f"{profile}.yaml")["model"]
        # amanteur's flavour, the thesis's, whatever the profile trains
        config = BSRNNConfig(**settings | {"flavour": "amanteur"})
        models = pair(config, examples)
        with plain_process(textbook_step, config, examples) as textbook:
            for bf16 in (False, True):
                question = f"BSRNN step, {size} size, {len(models.ours.network.widths)} bands, batch of {examples}"
                question += ", ours in bf16" if bf16 else ""
                if bf16 and not has_bf16("cpu"):
                    yield without_bf16(question)
                    continue
                agreement = check(models, bf16)
                times = race(textbook, partial(models.step, models.ours, bf16))
                work = operations(partial(models.step, models.ours, bf16))
                least = duration(work / product_rate(bf16))
                yield Row(question, *times.medians(duration), least, times.speedup, agreement)
        if size == "demo":
            yield curves(models)
