"""Gain: louder and quieter examples."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix
from vocalremix.util.values import Range

if TYPE_CHECKING:
    import numpy as np


class Gain(Remix):
    """Mixture and target get one gain, uniform in dB, once their common peak is 1 (FACTS "Training examples")."""

    db: Range = (-10, 10)

    def draw(self, rng: "np.random.Generator", material: Material) -> float:
        return float(rng.uniform(*self.db))

    def level(self, drawn: float) -> float:
        return float(10 ** (drawn / 20))
