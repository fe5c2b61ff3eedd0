"""What every separation model is to training, separation and evaluation."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vocalremix.models.configs import ModelConfig


class SeparationModel(nn.Module, ABC):
    """Takes mixtures `(batch, channels, samples)` and returns the target's waveforms, same shape.

    `config`: what it was built from. `sample_rate`: of its input and output, in Hz. `target`: the stem it
    extracts. `chunk_samples`: the length it is trained on and takes best. `any_length`: whether it takes other
    lengths at all; where False, a caller pads a shorter waveform to `chunk_samples` and cuts a longer one.
    """

    any_length: bool

    def __init__(self, config: ModelConfig, target: str) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.chunk_samples = config.chunk_samples
        self.target = target

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """The target's waveform in `mixture`; both `(batch, channels, samples)`."""

    @abstractmethod
    def loss(self, mixture: Tensor, target: Tensor) -> Tensor:
        """The model's own training loss, a scalar; both waveforms are `(batch, channels, samples)`."""
