"""Band-Split RNN: against a loop over bands, and what must hold for any weights."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.signal import get_window
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import vocalremix
from vocalremix.models.base import SeparationModel
from vocalremix.models.bsrnn import BandSplitRNN, SequenceRNN
from vocalremix.models.configs import BSRNNConfig
from vocalremix.models.registry import build
from vocalremix.training.checkpoint import export_amanteur
from vocalremix.util.errors import InputError

WIDTHS = (3, 5, 3, 4, 5, 3, 10)  # equal widths lie apart, and two stand alone
FRAMES = 9
SIZES = {"features": 6, "layers": 2, "hidden": 5, "mlp": 7}
BANDS = ((2000, 500), (8000, 2000))


def network(locked_frames: int | None, channels: int = 2) -> BandSplitRNN:
    """A network whose norms are random too, so that every parameter shows in the output."""
    torch.manual_seed(0)
    model = BandSplitRNN(WIDTHS, channels=channels, locked_frames=locked_frames, **SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def separator(flavour: str, **changes: Any) -> SeparationModel:
    torch.manual_seed(0)
    sizes = {"n_fft": 256, "hop_samples": 64, "chunk_samples": 2048, "bands": BANDS, **SIZES, **changes}
    return build(BSRNNConfig(flavour=flavour, **sizes), "vocals")


def spectrogram(channels: int = 2, frames: int = FRAMES, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, sum(WIDTHS), frames, dtype=torch.complex64, generator=generator)


def bilstm(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    rnn = nn.LSTM(SIZES["features"], SIZES["hidden"], batch_first=True, bidirectional=True)
    rnn.load_state_dict({name.removeprefix("rnn."): tensor for name, tensor in weights.items() if "rnn." in name})
    return functional.linear(rnn(x)[0], weights["fc.weight"], weights["fc.bias"])


def below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def amanteur_band_by_band(model: BandSplitRNN, spectrogram: Tensor) -> Tensor:
    """FACTS.md's description of amanteur, one module per band, on amanteur's own state dict."""
    weights = export_amanteur(model)
    batch, channels, _, frames = spectrogram.shape
    mean, std = spectrogram.mean((1, 2, 3), keepdim=True), spectrogram.std((1, 2, 3), keepdim=True)
    x = (spectrogram - mean) / (std + 1e-5)
    parts = []
    for k, band in enumerate(x.split(WIDTHS, dim=2)):
        part = torch.cat([torch.cat([band[:, c].real, band[:, c].imag], dim=1) for c in range(channels)], dim=1)
        norm = below(weights, f"bandsplit.layernorms.{k}.")
        part = functional.layer_norm(part, part.shape[1:], norm["weight"], norm["bias"])
        parts.append(functional.linear(part.mT, *below(weights, f"bandsplit.fcs.{k}.").values()))
    z = torch.stack(parts, dim=1)  # (batch, bands, frames, features)
    for layer in range(SIZES["layers"]):
        for axis in range(2):
            rnn = below(weights, f"bandsequence.bsrnn.{layer}.{axis}.")
            flat = z.flatten(0, 1)
            norm = functional.group_norm(flat.mT, SIZES["features"], rnn["groupnorm.weight"], rnn["groupnorm.bias"]).mT
            z = (flat + bilstm(rnn, norm)).view_as(z).transpose(1, 2)
    masks = []
    for k, width in enumerate(WIDTHS):
        norm, mlp = below(weights, f"maskest.layernorms.{k}."), below(weights, f"maskest.mlp.{k}.mlp.")
        y = functional.layer_norm(z[:, k], z.shape[2:], norm["weight"], norm["bias"])
        y = functional.linear(
            torch.tanh(functional.linear(y, mlp["0.weight"], mlp["0.bias"])), mlp["2.weight"], mlp["2.bias"]
        )
        y = functional.glu(functional.linear(y, mlp["3.linear.weight"], mlp["3.linear.bias"]))
        y = y.view(batch, frames, channels, 2, width)
        masks.append(torch.complex(y[..., 0, :], y[..., 1, :]).permute(0, 2, 3, 1))
    return torch.cat(masks, dim=2) * x * std + mean


def paper_band_by_band(model: BandSplitRNN, spectrogram: Tensor) -> Tensor:
    """The paper's flavour, one band at a time, from this model's own parameters."""
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    widths = list(dict.fromkeys(WIDTHS))
    group_order = sorted(range(len(WIDTHS)), key=lambda k: widths.index(WIDTHS[k]))
    seen: Counter[int] = Counter()
    parts, places = [], []
    for band in spectrogram.split(WIDTHS, dim=2):
        group = widths.index(band.shape[2])
        index = seen[group]
        seen[group] += 1
        places.append((group, index))
        part = torch.view_as_real(band.permute(0, 3, 1, 2)).flatten(2)
        norm, linear = below(weights, f"split.norms.{group}."), below(weights, f"split.linears.{group}.")
        part = functional.layer_norm(part, part.shape[2:], norm["weight"][index, 0], norm["bias"][index, 0])
        parts.append(part @ linear["weight"][index] + linear["bias"][index])
    z = torch.stack(parts, dim=1)
    for number in range(2 * SIZES["layers"]):
        rnn = below(weights, f"sequences.{number}.")
        flat = z.flatten(0, 1)
        norm = functional.layer_norm(flat, flat.shape[-1:], rnn["norm.weight"], rnn["norm.bias"])
        z = (flat + bilstm(rnn, norm)).view_as(z).transpose(1, 2)
    masks = []
    for k, (group, index) in enumerate(places):
        row = group_order.index(k)
        norm, hidden = below(weights, "mask.norm."), below(weights, "mask.hidden.")
        output = below(weights, f"mask.outputs.{group}.0.")
        y = functional.layer_norm(z[:, k], z.shape[-1:], norm["weight"][row, 0], norm["bias"][row, 0])
        y = torch.tanh(y @ hidden["weight"][row] + hidden["bias"][row])
        y = functional.glu(y @ output["weight"][index] + output["bias"][index])
        y = y.view(*y.shape[:2], spectrogram.shape[1], WIDTHS[k], 2)
        masks.append(torch.view_as_complex(y).permute(0, 2, 3, 1))
    return torch.cat(masks, dim=2) * spectrogram


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("locked_frames", [FRAMES, None])
def test_equals_a_loop_over_bands(locked_frames: int | None, channels: int) -> None:
    model, x = network(locked_frames, channels), spectrogram(channels)
    band_by_band = paper_band_by_band if locked_frames is None else amanteur_band_by_band
    with torch.no_grad():
        torch.testing.assert_close(model(x), band_by_band(model, x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("locked_frames", "products_per_width"), [(FRAMES, 3), (None, 2)])
def test_bands_of_one_width_share_their_operations(locked_frames: int | None, products_per_width: int) -> None:
    calls: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    model, x = network(locked_frames), spectrogram()
    with torch.no_grad(), Count():
        model(x)
    assert calls["baddbmm"] == products_per_width * len(set(WIDTHS)) + 1
    per_sequence = 0 if locked_frames else 2 * SIZES["layers"]
    assert calls["native_layer_norm"] == len(set(WIDTHS)) + 1 + per_sequence


@pytest.mark.parametrize("locked_frames", [FRAMES, None])
def test_examples_of_a_batch_do_not_touch_each_other(locked_frames: int | None) -> None:
    model, x = network(locked_frames), spectrogram()
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.cat([model(example[None]) for example in x]), atol=1e-5, rtol=1e-5)


def test_amanteur_follows_the_input_level() -> None:
    model, x = network(FRAMES), spectrogram()
    with torch.no_grad():
        torch.testing.assert_close(model(20 * x), 20 * model(x), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 2, sum(WIDTHS), FRAMES + 1), (1, 1, sum(WIDTHS), FRAMES), (1, 2, 7, FRAMES)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"spectrogram of .* not \(2, 33, 9\)"):
        network(FRAMES)(torch.zeros(shape, dtype=torch.complex64))


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = build(BSRNNConfig(), "vocals")
    assert sum(parameter.numel() for parameter in model.parameters()) == 32_414_628


@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_gradients_reach_every_parameter(flavour: str) -> None:
    model = separator(flavour)
    mixture, target = torch.randn(2, 2, 2, model.chunk_samples)
    model.loss(mixture, target).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_learns_one_example(flavour: str) -> None:
    model = separator(flavour)
    time = torch.arange(model.chunk_samples) / 44100
    target = torch.sin(2 * torch.pi * 900 * time).expand(1, 2, -1)
    mixture = target + torch.sin(2 * torch.pi * 6000 * time)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = model.loss(mixture, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("samples", [1, 100, 255, 256, 2048, 5001])
def test_paper_takes_any_length(samples: int) -> None:
    model = separator("paper").eval()
    waveform = torch.randn(2, 2, samples)
    with torch.no_grad():
        estimate = model(waveform)
    assert model.any_length and estimate.shape == waveform.shape and estimate.isfinite().all()


@pytest.mark.parametrize("samples", [1, 100, 255, 256, 2048, 5001])
def test_stft_there_and_back_returns_the_input(samples: int) -> None:
    model = separator("paper")
    model.network = nn.Identity()
    waveform = torch.rand(2, 2, samples) * 2 - 1
    torch.testing.assert_close(model(waveform), waveform, atol=1e-6, rtol=0)


def test_amanteur_takes_only_its_chunk() -> None:
    model = separator("amanteur")
    assert not model.any_length and model(torch.randn(1, 2, 2048)).shape == (1, 2, 2048)
    with pytest.raises(ValueError, match="2112 samples, but this model takes chunks of 2048"):
        model(torch.zeros(1, 2, 2112))


@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_silence_stays_finite(flavour: str) -> None:
    model = separator(flavour)
    silence = torch.zeros(1, 2, model.chunk_samples)
    loss = model.loss(silence, silence)
    loss.backward()
    assert loss.isfinite() and all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_autocast_leaves_waveforms_in_float32(flavour: str) -> None:
    model = separator(flavour).eval()
    waveform = torch.randn(1, 2, model.chunk_samples)
    with torch.no_grad():
        exact = model(waveform)
        with torch.autocast("cpu", torch.bfloat16):
            rough, loss = model(waveform), model.loss(waveform, waveform)
    assert rough.dtype == loss.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0)


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_the_sequences_of_a_bf16_lstm_know_nothing_of_one_another(flavour: str) -> None:
    """67 of them get others beside them for the sake of speed, parts of up to 64 none."""
    torch.manual_seed(0)
    layer = SequenceRNN(8, 16, flavour)
    z = torch.randn(20, 67, 1, 8)
    outputs, gradients = [], []
    for parts in ([z], [z[:, :40], z[:, 40:]]):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            output = torch.cat([layer(part) for part in parts], dim=1)
        output.square().mean().backward()
        outputs.append(output.detach())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in layer.parameters()]))
    assert outputs[0].shape == z.shape
    torch.testing.assert_close(outputs[0], outputs[1], atol=0.02, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=0.02 * float(gradients[1].abs().max()), rtol=0)


@pytest.mark.parametrize("in_bf16", [False, True])
@pytest.mark.parametrize("flavour", ["amanteur", "paper"])
def test_recomputed_activations_give_the_same_gradients_in_less_memory(
    flavour: str, in_bf16: bool, request: pytest.FixtureRequest
) -> None:
    if in_bf16:
        request.getfixturevalue("bf16")
    kept, recomputed = separator(flavour, layers=4), separator(flavour, layers=4)
    names = list(recomputed.state_dict())
    recomputed.checkpoint_activations()
    assert list(recomputed.state_dict()) == names
    mixture, target = 0.1 * torch.randn(2, 2, 2, 2048)
    saved_bytes = []
    for model in (kept, recomputed):
        storages: dict[int, int] = {}

        def note(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        # the innermost hooks are checkpoint's own, which save nothing
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                loss = model.loss(mixture, target)
            saved_bytes.append(sum(storages.values()))
        loss.backward()
    for ours, theirs in zip(recomputed.parameters(), kept.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
    assert saved_bytes[1] < 0.75 * saved_bytes[0]


def test_other_models_say_that_they_cannot_recompute() -> None:
    class Other(SeparationModel):
        def forward(self, mixture: Tensor) -> Tensor:
            return mixture

        def loss(self, mixture: Tensor, target: Tensor) -> Tensor:
            return (mixture - target).abs().mean()

    with pytest.raises(InputError, match=r"compute\.checkpoint_activations: bsrnn cannot do that"):
        Other(separator("paper").config, "vocals").checkpoint_activations()


def test_loss_compares_spectrograms_and_waveforms() -> None:
    model = separator("paper")
    model.network = nn.Identity()
    mixture, target = torch.randn(2, 1, 2, 2048)
    error = (mixture - target).numpy()
    padded = np.pad(error, ((0, 0), (0, 0), (128, 128)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 256, axis=-1)[:, :, ::64]
    spectra = np.fft.rfft(frames * get_window("hann", 256))
    expected = np.abs(spectra.real).mean() + np.abs(spectra.imag).mean() + np.abs(error).mean()
    assert model.loss(mixture, target).item() == pytest.approx(expected, rel=1e-5)


def test_attributes_say_what_all_models_share() -> None:
    model = build(BSRNNConfig(flavour="paper", **SIZES), "drums")
    assert (model.sample_rate, model.target, model.chunk_samples) == (44100, "drums", 134144)
    assert len(model.network.widths) == 55


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_samples": 1200}, "hop_samples: 1200 is more than half of n_fft"),
        ({"chunk_samples": 1024}, "chunk_samples: 1024 is shorter than n_fft"),
        ({"chunk_samples": 88200}, "88200 is not a multiple of hop_samples .512.; use 88064 or 88576"),
        ({"bands": [[1000, 10]]}, "bands: the 10 Hz band below 20 Hz is empty"),
        ({"bands": []}, "bands"),
        ({"features": 0}, "features"),
        ({"n_fft": 2047}, "n_fft"),
        ({"flavour": "vanilla"}, "flavour"),
        ({"feature": 8}, "feature"),
    ],
)
def test_config_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BSRNNConfig(**changes)


def test_the_papers_table_must_suit_n_fft_and_target() -> None:
    with pytest.raises(InputError, match="the 50 Hz band below 150 Hz is empty"):
        build(BSRNNConfig(n_fft=512, hop_samples=256), "bass")
    with pytest.raises(InputError, match="no band table for piano"):
        build(BSRNNConfig(), "piano")


def test_configs_do_not_import_torch() -> None:
    program = "import sys, vocalremix.models.configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(vocalremix.__file__).parents[1]).returncode == 0
