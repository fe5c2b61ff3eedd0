"""From a config to its model."""

from vocalremix.models.base import SeparationModel
from vocalremix.models.bsrnn import BandSplitSeparator
from vocalremix.models.configs import ModelConfig


def build(config: ModelConfig, target: str) -> SeparationModel:
    """A freshly initialised model that extracts `target`; raises InputError where config and target do not fit."""
    return BandSplitSeparator(config, target)
