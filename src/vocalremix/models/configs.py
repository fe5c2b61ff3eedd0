"""What a model is made of, as validated values; importing this does not import torch."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from vocalremix.models.bands import PAPER_TABLES, band_edges
from vocalremix.util.errors import InputError

Flavour = Literal["amanteur", "paper"]


class BSRNNConfig(BaseModel):
    """A Band-Split RNN; the defaults are amanteur's model of 32,414,628 parameters for vocals.

    `flavour`: "amanteur" normalises over a whole chunk and so takes only chunks of `chunk_samples`; "paper"
    normalises every frame and takes any length. `bands`: rows of [limit_hz, width_hz], or null for the paper's
    table of the target. `features` is the paper's N, `hidden` the units of an LSTM in one direction, `mlp` the
    hidden units of the mask estimator. `chunk_samples`: the training crop and the chunk at inference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["bsrnn"] = "bsrnn"
    flavour: Flavour = "amanteur"
    bands: Annotated[tuple[tuple[PositiveFloat, PositiveFloat], ...], Field(min_length=1)] | None = None
    sample_rate: PositiveInt = 44100
    n_fft: Annotated[int, Field(ge=4, multiple_of=2)] = 2048
    hop_samples: PositiveInt = 512
    features: PositiveInt = 128
    layers: PositiveInt = 12
    hidden: PositiveInt = 256
    mlp: PositiveInt = 512
    chunk_samples: PositiveInt = 134144

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if 2 * self.hop_samples > self.n_fft:
            raise ValueError(f"hop_samples: {self.hop_samples} is more than half of n_fft ({self.n_fft}); lower it")
        if self.chunk_samples < self.n_fft:
            raise ValueError(f"chunk_samples: {self.chunk_samples} is shorter than n_fft ({self.n_fft}); raise it")
        below = self.chunk_samples // self.hop_samples * self.hop_samples
        if below != self.chunk_samples:
            raise ValueError(
                f"chunk_samples: {self.chunk_samples} is not a multiple of hop_samples ({self.hop_samples}); "
                f"use {max(below, self.n_fft)} or {below + self.hop_samples}"
            )
        if self.bands is not None:
            band_edges(self.bands, self.n_fft, self.sample_rate)
        return self

    @property
    def frames(self) -> int:
        """STFT frames in one chunk."""
        return self.chunk_samples // self.hop_samples + 1

    def refuse_target(self, target: str) -> None:
        """Raise InputError where a model of this config cannot extract the target."""
        self.band_edges(target)

    def band_edges(self, target: str) -> list[tuple[int, int]]:
        """First bin and bin after the last of every band; raises InputError where the table does not fit."""
        table = self.bands or PAPER_TABLES.get(target)
        if table is None:
            raise InputError(f"bands: the paper has no band table for {target}; give one")
        return band_edges(table, self.n_fft, self.sample_rate)

    def difference(self, other: "ModelConfig", target: str) -> str | None:
        """The first setting that keeps the weights of `other` from being this model's, as one phrase."""
        free = {"bands"} if self.flavour == "amanteur" else {"bands", "chunk_samples"}
        for key in (key for key in type(self).model_fields if key not in free):
            theirs, ours = getattr(other, key, None), getattr(self, key)
            if theirs != ours:
                return f"{key} {theirs} instead of {ours}"
        if other.band_edges(target) != self.band_edges(target):
            return "other bands"
        return None


ModelConfig: TypeAlias = BSRNNConfig
"""The config of any model; with a second one: `Annotated[BSRNNConfig | ..., Field(discriminator="name")]`."""
