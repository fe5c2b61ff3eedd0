"""Band-Split RNN (Luo and Yu, arXiv 2209.15174), in amanteur's flavour and in the paper's.

Shapes: B batch, C channels, F frequency bins, T frames, K bands, N features, G bands of one width, W that width.
Bands of one width share every operation: their parameters are stored stacked, `(G, ...)`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vocalremix.models.base import SeparationModel
from vocalremix.models.configs import BSRNNConfig, Flavour
from vocalremix.models.losses import spectrogram_and_waveform_l1

EPS = 1e-5
# oneDNN takes the sequences of a bf16 LSTM in equal blocks of this many at most. Where their number leaves it with odd
# blocks or with a single one, as 263 does, which is prime, a CPU with AMX takes two to four times as long.
ONEDNN_BLOCK, ONEDNN_MULTIPLE = 64, 8


class BandLinear(nn.Module):
    """A linear layer for each band, computed as one product: `(G, B, T, inputs)` to `(G, B, T, outputs)`."""

    def __init__(self, bands: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(bands, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(bands, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Apply band g's layer to `x[g]`."""
        return torch.baddbmm(self.bias[:, None], x.flatten(1, 2), self.weight).view(*x.shape[:3], -1)


class BandNorm(nn.Module):
    """A LayerNorm for each band of `(G, B, T, features)`, over features, or over frames and features if locked."""

    def __init__(self, bands: int, features: int, locked_frames: int | None) -> None:
        super().__init__()
        self.shape = (features,) if locked_frames is None else (locked_frames, features)
        self.weight = nn.Parameter(torch.ones(bands, locked_frames or 1, features))
        self.bias = nn.Parameter(torch.zeros(bands, locked_frames or 1, features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x[g]` with band g's scale and offset."""
        return torch.addcmul(self.bias[:, None], functional.layer_norm(x, self.shape, eps=EPS), self.weight[:, None])


class SequenceNorm(nn.Module):
    """Normalises each feature of each sequence `(length, sequences, N)` over its length, 2 at least, as N groups."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the shape of `x`."""
        # Each feature of each sequence as a channel of its own: many times faster than torch.var_mean along an axis
        # that is not the last.
        scale, offset = (parameter.repeat(x.shape[1]) for parameter in (self.weight, self.bias))
        return functional.batch_norm(x.flatten(1), None, None, scale, offset, training=True, eps=EPS).view_as(x)


class SequenceRNN(nn.Module):
    """Norm, bidirectional LSTM and linear layer along the first axis of `(length, others, B, N)`, with a residual."""

    def __init__(self, features: int, hidden: int, flavour: Flavour) -> None:
        super().__init__()
        self.norm = SequenceNorm(features) if flavour == "amanteur" else nn.LayerNorm(features, eps=EPS)
        self.rnn = nn.LSTM(features, hidden, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, features)

    def forward(self, z: Tensor) -> Tensor:
        """Returns the shape of `z`."""
        x = self.norm(z.flatten(1, 2))
        n_sequences = x.shape[1]
        n_spare = -n_sequences % ONEDNN_MULTIPLE if n_sequences > ONEDNN_BLOCK else 0
        if n_spare and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            x = functional.pad(x, (0, 0, 0, n_spare))
        sequences, _ = self.rnn(x)
        return torch.add(z, self.fc(sequences)[:, :n_sequences].view_as(z))


class BandSplit(nn.Module):
    """Complex spectrogram `(B, C, F, T)` to features of every band, `(T, K, B, N)`."""

    def __init__(
        self, widths: Sequence[int], groups: Sequence[Sequence[int]], channels: int, features: int, locked: int | None
    ) -> None:
        super().__init__()
        self.widths, self.groups = list(widths), groups
        sizes = [(len(group), 2 * channels * widths[group[0]]) for group in groups]
        self.norms = nn.ModuleList(BandNorm(bands, size, locked) for bands, size in sizes)
        self.linears = nn.ModuleList(BandLinear(bands, size, features) for bands, size in sizes)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """See the class."""
        bands = torch.split(spectrogram.permute(0, 3, 1, 2), self.widths, dim=-1)  # K of (B, T, C, W)
        features: dict[int, Tensor] = {}
        for group, norm, linear in zip(self.groups, self.norms, self.linears, strict=True):
            x = torch.view_as_real(torch.stack([bands[band] for band in group])).flatten(3)  # (G, B, T, C*W*2)
            features |= zip(group, linear(norm(x)).unbind(), strict=True)
        # float32, so that under autocast what runs past the residuals keeps its precision
        return torch.stack([features[band].transpose(0, 1) for band in range(len(bands))], dim=1).float()


class MaskEstimation(nn.Module):
    """Features `(T, K, B, N)` to a complex mask `(B, C, F, T)`."""

    def __init__(
        self,
        widths: Sequence[int],
        groups: Sequence[Sequence[int]],
        channels: int,
        features: int,
        mlp: int,
        locked: int | None,
        flavour: Flavour,
    ) -> None:
        super().__init__()
        self.groups, self.channels = groups, channels
        self.norm = BandNorm(len(widths), features, locked)
        self.hidden = BandLinear(len(widths), features, mlp)
        self.outputs = nn.ModuleList()
        for group in groups:
            size = 2 * channels * widths[group[0]]
            if flavour == "amanteur":
                layers = [BandLinear(len(group), mlp, size), BandLinear(len(group), size, 2 * size), nn.GLU()]
            else:
                layers = [BandLinear(len(group), mlp, 2 * size), nn.GLU()]
            self.outputs.append(nn.Sequential(*layers))

    def forward(self, z: Tensor) -> Tensor:
        """See the class; the mask is complex64 whatever autocast computes in."""
        bands = z.permute(1, 2, 0, 3).unbind()  # K of (B, T, N)
        x = torch.stack([bands[band] for group in self.groups for band in group])
        hidden = torch.split(torch.tanh(self.hidden(self.norm(x))), [len(group) for group in self.groups])
        masks: dict[int, Tensor] = {}
        for group, output, x in zip(self.groups, self.outputs, hidden, strict=True):
            mask = output(x).float()
            mask = mask.view(*mask.shape[:3], self.channels, -1, 2).transpose(2, 3)  # (G, B, C, T, W, 2)
            masks |= zip(group, mask.unbind(), strict=True)
        return torch.view_as_complex(torch.cat([masks[band] for band in range(len(bands))], dim=3)).mT


def _recomputed(sequence: nn.Module, z: Tensor) -> Tensor:
    # nothing in the network is random
    recomputed: Tensor = checkpoint(sequence, z, use_reentrant=False, preserve_rng_state=False)
    return recomputed


class AmanteurTensor(NamedTuple):
    """A tensor of amanteur's state dict: its name, its shape, and a view of where its values lie in our parameters.

    `view` has the same elements in the same order, with some axes of `shape` unfolded.
    """

    name: str
    shape: tuple[int, ...]
    view: Tensor


class BandSplitRNN(nn.Module):
    """Called with a complex spectrogram `(B, C, F, T)`, returns the target's, same shape.

    `widths`: bins of each band, lowest first, two bands at least. `locked_frames`: T, for amanteur's flavour, whose
    norms span time; None for the paper's, which takes any T. amanteur's flavour also standardises the input and puts
    another linear layer between the hidden layer of the mask estimator and its gated output.

    `keeps_activations`: set to False, training keeps of each SequenceRNN only its input for the backward pass.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        channels: int = 2,
        features: int = 128,
        layers: int = 12,
        hidden: int = 256,
        mlp: int = 512,
        locked_frames: int | None = None,
    ) -> None:
        super().__init__()
        flavour: Flavour = "paper" if locked_frames is None else "amanteur"
        self.flavour, self.channels, self.widths, self.locked_frames = flavour, channels, tuple(widths), locked_frames
        self.keeps_activations = True
        groups = [[band for band, other in enumerate(widths) if other == width] for width in dict.fromkeys(widths)]
        self.split = BandSplit(widths, groups, channels, features, locked_frames)
        self.sequences = nn.ModuleList(SequenceRNN(features, hidden, flavour) for _ in range(2 * layers))
        self.mask = MaskEstimation(widths, groups, channels, features, mlp, locked_frames, flavour)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Estimate a complex mask and apply it; raises ValueError for a shape this model is not made for."""
        channels, bins, frames = spectrogram.shape[1:]
        if (channels, bins) != (self.channels, sum(self.widths)) or self.locked_frames not in (None, frames):
            expected = (self.channels, sum(self.widths), self.locked_frames or "any")
            raise ValueError(f"spectrogram of (channels, frequency, frames) {(channels, bins, frames)}, not {expected}")
        if self.flavour == "paper":
            return self._mask(spectrogram) * spectrogram
        mean = spectrogram.mean(dim=(1, 2, 3), keepdim=True)
        deviation = spectrogram.std(dim=(1, 2, 3), keepdim=True)
        standardised = (spectrogram - mean) / (deviation + EPS)
        return self._mask(standardised) * standardised * deviation + mean

    def _mask(self, spectrogram: Tensor) -> Tensor:
        z = self.split(spectrogram)
        recompute = self.training and torch.is_grad_enabled() and not self.keeps_activations
        for sequence in self.sequences:
            # the first of each pair runs over frames, (T, K, B, N), the second over bands, (K, T, B, N)
            z = (_recomputed(sequence, z) if recompute else sequence(z)).transpose(0, 1).contiguous()
        mask: Tensor = self.mask(z)
        return mask

    def amanteur_tensors(self) -> Iterator[AmanteurTensor]:
        """What amanteur's state dict of this model holds, in its order; only for amanteur's flavour.

        There, the features of a band are ordered (channel, re/im, frequency), here (channel, frequency, re/im),
        and norms and linear layers are transposed.
        """
        own = self.get_parameter
        places = {band: (g, i) for g, group in enumerate(self.split.groups) for i, band in enumerate(group)}
        rows = {band: row for row, band in enumerate(band for group in self.split.groups for band in group)}
        kinds = ("weight", "bias")

        def features(tensor: Tensor) -> Tensor:
            """Unfold the last axis and put it into amanteur's order."""
            return tensor.view(*tensor.shape[:-1], self.channels, -1, 2).transpose(-1, -2)

        def entry(name: str, view: Tensor, *shape: int) -> AmanteurTensor:
            return AmanteurTensor(name, shape or tuple(view.shape), view)

        for band, (group, index) in sorted(places.items()):
            for kind in kinds:
                scale = own(f"split.norms.{group}.{kind}")[index]
                yield entry(f"bandsplit.layernorms.{band}.{kind}", features(scale).movedim(0, -1), *scale.T.shape)
        for band, (group, index) in sorted(places.items()):
            weight = own(f"split.linears.{group}.weight")[index].T
            yield entry(f"bandsplit.fcs.{band}.weight", features(weight), *weight.shape)
            yield entry(f"bandsplit.fcs.{band}.bias", own(f"split.linears.{group}.bias")[index])
        for number, sequence in enumerate(self.sequences):
            for name, tensor in sequence.named_parameters():
                theirs = name.replace("norm.", "groupnorm.")
                yield entry(f"bandsequence.bsrnn.{number // 2}.{number % 2}.{theirs}", tensor)
        for band, row in sorted(rows.items()):
            for kind in kinds:
                yield entry(f"maskest.layernorms.{band}.{kind}", own(f"mask.norm.{kind}")[row])
        for band, (group, index) in sorted(places.items()):
            prefix = f"maskest.mlp.{band}.mlp"
            for kind in kinds:
                yield entry(f"{prefix}.0.{kind}", own(f"mask.hidden.{kind}")[rows[band]].movedim(0, -1))
            for kind in kinds:
                yield entry(f"{prefix}.2.{kind}", own(f"mask.outputs.{group}.0.{kind}")[index].movedim(0, -1))
            weight, bias = (own(f"mask.outputs.{group}.1.{kind}")[index] for kind in kinds)
            values_and_gates = features(weight.view(len(weight), 2, -1)).movedim(0, -1)
            yield entry(f"{prefix}.3.linear.weight", values_and_gates, *weight.T.shape)
            yield entry(f"{prefix}.3.linear.bias", features(bias.view(2, -1)), len(bias))


class BandSplitSeparator(SeparationModel):
    """A Band-Split RNN between STFT and inverse STFT: mixture waveform in, target waveform out."""

    config: BSRNNConfig
    window: Tensor

    def __init__(self, config: BSRNNConfig, target: str) -> None:
        super().__init__(config, target)
        self.any_length = config.flavour == "paper"
        self.frame_samples = config.hop_samples
        widths = [end - first for first, end in config.band_edges(target)]
        self.chunk_activations = config.frames * len(widths) * config.features
        self.network = BandSplitRNN(
            widths,
            features=config.features,
            layers=config.layers,
            hidden=config.hidden,
            mlp=config.mlp,
            locked_frames=None if self.any_length else config.frames,
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def checkpoint_activations(self) -> None:
        """Only of the sequences: splitting and masks weigh little beside them."""
        self.network.keeps_activations = False

    def forward(self, mixture: Tensor) -> Tensor:
        """The target's waveform; raises ValueError for a length that the flavour does not take."""
        return self._estimate(mixture)[1]

    def loss(self, mixture: Tensor, target: Tensor) -> Tensor:
        """L1 of real part, imaginary part and waveform; see losses.py."""
        spectrogram, waveform = self._estimate(mixture)
        return spectrogram_and_waveform_l1(spectrogram, self._stft(target), waveform, target)

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        if not self.any_length and mixture.shape[-1] != self.chunk_samples:
            raise ValueError(f"{mixture.shape[-1]} samples, but this model takes chunks of {self.chunk_samples}")
        spectrogram = self.network(self._stft(mixture))
        return spectrogram, self._istft(spectrogram, mixture.shape[-1])

    def _stft(self, waveform: Tensor) -> Tensor:
        """Whole hops and at least one window, so that every sample is covered well and reflection has room."""
        n_fft, hop = self.config.n_fft, self.config.hop_samples
        samples = waveform.shape[-1]
        padded = functional.pad(waveform.float(), (0, max(n_fft, -(-samples // hop) * hop) - samples))
        with torch.autocast(waveform.device.type, enabled=False):
            spectrogram = torch.stft(padded.flatten(0, 1), n_fft, hop, window=self.window, return_complex=True)
        return spectrogram.view(*waveform.shape[:2], *spectrogram.shape[1:])

    def _istft(self, spectrogram: Tensor, samples: int) -> Tensor:
        with torch.autocast(spectrogram.device.type, enabled=False):
            waveform = torch.istft(
                spectrogram.flatten(0, 1),
                self.config.n_fft,
                self.config.hop_samples,
                window=self.window,
                length=samples,
            )
        return waveform.view(*spectrogram.shape[:2], -1)
