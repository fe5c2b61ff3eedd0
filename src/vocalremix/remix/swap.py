"""Swap: left and right change places."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Probability

if TYPE_CHECKING:
    import numpy as np


class Swap(Remix):
    """Left and right of each stem change places, each with probability `each` (Open-Unmix, Demucs: 0.5)."""

    each: Probability = 0.5

    def draw(self, rng: "np.random.Generator", material: Material) -> list[str]:
        return [stem for stem, chance in zip(STEMS, rng.random(len(STEMS)), strict=True) if chance < self.each]

    def choose(self, sources: Sources, drawn: list[str]) -> None:
        for stem in drawn:
            sources[stem] = [source._replace(swapped=not source.swapped) for source in sources[stem]]
