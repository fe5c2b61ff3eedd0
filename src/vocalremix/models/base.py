"""What every separation model is to training, separation and evaluation."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vocalremix.models.configs import ModelConfig
from vocalremix.util.errors import InputError


class SeparationModel(nn.Module, ABC):
    """Takes mixtures `(batch, channels, samples)` and returns the target's waveforms, same shape.

    `config`: what it was built from. `sample_rate`: of its input and output, in Hz. `target`: the stem it
    extracts. `chunk_samples`: the length it is trained on and takes best. `any_length`: whether it takes other
    lengths at all; where False, a caller pads a shorter waveform to `chunk_samples` and cuts a longer one.
    `frame_samples`: from one of its frames to the next, 1 where it has none. `chunk_activations`: numbers that a layer
    gives the next for one chunk, 0 where nobody counted them.
    """

    any_length: bool
    frame_samples = 1
    chunk_activations = 0

    def __init__(self, config: ModelConfig, target: str) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.chunk_samples = config.chunk_samples
        self.target = target

    def checkpoint_activations(self) -> None:
        """From now on, train in less memory: compute activations anew in the backward pass, to the same gradients.

        Neither weights nor config say so, and nothing changes but training. Raises InputError where a model has no
        such way.
        """
        raise InputError(f"compute.checkpoint_activations: {self.config.name} cannot do that; set it to false")

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """The target's waveform in `mixture`; both `(batch, channels, samples)`."""

    @abstractmethod
    def loss(self, mixture: Tensor, target: Tensor) -> Tensor:
        """The model's own training loss, a scalar; both waveforms are `(batch, channels, samples)`."""
