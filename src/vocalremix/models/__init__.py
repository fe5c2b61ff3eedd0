"""Separation models; the rest of the library knows them by what `base.SeparationModel` promises."""

from typing import TYPE_CHECKING

from vocalremix.models.configs import ModelConfig

if TYPE_CHECKING:
    from vocalremix.models.base import SeparationModel


def build(config: ModelConfig, target: str) -> "SeparationModel":
    """A freshly initialised model that extracts `target`; raises InputError where config and target do not fit."""
    # imported here so that reading a config does not wait for torch
    from vocalremix.models.bsrnn import BandSplitSeparator

    return BandSplitSeparator(config, target)
