"""Checkpoints: a folder of safetensors weights and a JSON that says what they are; import of amanteur's weights.

Nothing is ever unpickled but tensors.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from vocalremix.models.bands import band_edges
from vocalremix.models.base import SeparationModel
from vocalremix.models.bsrnn import BandSplitRNN, BandSplitSeparator
from vocalremix.models.configs import ModelConfig
from vocalremix.models.registry import build
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish
from vocalremix.util.values import Target, parse

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
LIGHTNING_PREFIX = "model."


class Description(BaseModel):
    """Content of model.json. `metadata`: where the weights come from, such as training run, git commit, metrics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig
    sample_rate: int
    target: Target
    metadata: dict[str, Any]


class AmanteurConfig(BaseModel):
    """The settings of amanteur's model that decide what its weights mean, under amanteur's own names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sr: PositiveInt
    n_fft: PositiveInt
    bandsplits: list[tuple[PositiveFloat, PositiveFloat]]
    t_timesteps: PositiveInt
    fc_dim: PositiveInt
    rnn_dim: PositiveInt
    num_layers: PositiveInt
    mlp_dim: PositiveInt
    is_mono: bool = False
    complex_as_channel: Literal[True] = True
    bottleneck_layer: Literal["rnn"] = "rnn"
    rnn_type: Literal["LSTM"] = "LSTM"
    bidirectional: Literal[True] = True


def save(path: Path, model: SeparationModel, *, metadata: Mapping[str, Any]) -> None:
    """Write the checkpoint folder `path`, whole or not at all; `metadata` is anything JSON can hold."""
    content = {"model": model.config, "sample_rate": model.sample_rate, "target": model.target, "metadata": metadata}
    description = Description.model_validate(content)
    with publish(path) as folder:
        folder.mkdir()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        # safetensors' own way to a file lets nobody else read it
        (folder / WEIGHTS).write_bytes(save_tensors(weights))
        (folder / DESCRIPTION).write_text(
            json.dumps(description.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
        )


def load(path: Path) -> SeparationModel:
    """The model in checkpoint folder `path`, on the CPU and in eval mode.

    Raises InputError, naming file and tensor, where the folder is missing, incomplete or corrupt.
    """
    description = _describe(path)
    model = build(description.model, description.target)
    _load_weights(model, path)
    return model.eval()


def read_metadata(path: Path) -> dict[str, Any]:
    """What `save` was given as metadata; raises InputError where `path` is no checkpoint folder."""
    return _describe(path).metadata


def load_initial(path: Path, config: ModelConfig, target: str) -> SeparationModel:
    """A model of `config` for `target` with the weights in `path`, to be fine-tuned.

    `path`: a checkpoint folder, or a state dict in amanteur's layout as .safetensors or as a torch file (.pt,
    .ckpt) that holds nothing but tensors and plain values. Raises InputError where it is missing or corrupt,
    extracts another target, or has another shape.
    """
    if path.is_dir():
        description = _describe(path)
        if description.target != target:
            raise InputError(f"{path}: extracts {description.target}, not {target}; name a checkpoint for {target}")
        if difference := config.difference(description.model, target):
            raise InputError(f"{path}: made with {difference}; change the model's config or name another checkpoint")
        model = build(config, target)
        _load_weights(model, path)
        return model
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    model = build(config, target)
    if not isinstance(model, BandSplitSeparator) or model.any_length:
        raise InputError(f"{path}: a file in amanteur's layout, which only bsrnn of flavour amanteur can start from")
    _load_amanteur(model.network, tensors, str(path))
    return model


def import_amanteur(state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> BandSplitRNN:
    """amanteur's model in eval mode, from its state dict, with or without Lightning's prefix "model.".

    `config`: amanteur's settings under its own names, see AmanteurConfig. Raises InputError naming the setting
    that is not supported or the first tensor that does not fit.
    """
    settings = parse(AmanteurConfig, config, "amanteur's config: ")
    edges = band_edges(settings.bandsplits, settings.n_fft, settings.sr)
    model = BandSplitRNN(
        [end - first for first, end in edges],
        channels=1 if settings.is_mono else 2,
        features=settings.fc_dim,
        layers=settings.num_layers,
        hidden=settings.rnn_dim,
        mlp=settings.mlp_dim,
        locked_frames=settings.t_timesteps,
    )
    _load_amanteur(model, state_dict, "state dict")
    return model.eval()


def export_amanteur(model: BandSplitRNN) -> dict[str, Tensor]:
    """The weights of a model of flavour amanteur under amanteur's names and in its shapes."""
    if model.flavour != "amanteur":
        raise InputError(f"a Band-Split RNN of flavour {model.flavour} has no counterpart among amanteur's models")
    return {
        name: view.detach().reshape(shape).clone(memory_format=torch.contiguous_format)
        for name, shape, view in model.amanteur_tensors()
    }


def _load_amanteur(model: BandSplitRNN, state_dict: Mapping[str, Any], source: str) -> None:
    if any(name.startswith(LIGHTNING_PREFIX) for name in state_dict):
        # beside the model, Lightning saves the buffers of the module around it
        state_dict = {
            name.removeprefix(LIGHTNING_PREFIX): tensor
            for name, tensor in state_dict.items()
            if name.startswith(LIGHTNING_PREFIX)
        }
    entries = list(model.amanteur_tensors())
    _check_fit({name: shape for name, shape, _ in entries}, state_dict, source)
    with torch.no_grad():
        for name, _, view in entries:
            view.copy_(state_dict[name].reshape(view.shape))


def _load_weights(model: SeparationModel, folder: Path) -> None:
    tensors = _read_safetensors(folder / WEIGHTS)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_fit(expected, tensors, str(folder / WEIGHTS))
    model.load_state_dict(tensors)


def _check_fit(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Any], source: str) -> None:
    """Raise InputError naming the first tensor that is missing, of another shape or type, or too many."""
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"{source}: tensor {name} of shape {shape} is missing; the weights are of another model")
        tensor = found[name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise InputError(f"{source}: {name} is not a tensor of real numbers; the file is not a state dict")
        if tensor.shape != shape:
            raise InputError(
                f"{source}: tensor {name} has shape {tuple(tensor.shape)} where this model has {shape}; "
                "use the model config the weights were made with"
            )
    for name in found:
        if name not in expected:
            raise InputError(f"{source}: tensor {name} is not in this model; the weights are of another model")


def _describe(folder: Path) -> Description:
    file = folder / DESCRIPTION
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {folder} is not a checkpoint") from error
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); the checkpoint is damaged, make it again") from error
    return parse(Description, content, f"{file}: ")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        # safetensors says "No such file" of whatever it cannot open
        return load_tensors(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def _read_torch(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(file, error) from error
    except Exception as error:  # a damaged or hostile pickle fails in any of a dozen ways
        raise InputError(
            f"{file}: damaged, or holds Python objects beside tensors, which are never loaded; "
            "save its state dict alone, best as .safetensors"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{file}: not a state dict (names and tensors) but a {type(content).__name__}")
    return content


def _unreadable(file: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{file}: no such file")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(f"{file}: cannot be read ({reason}); make or fetch it again")
