"""Polarity: stems change sign."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Probability

if TYPE_CHECKING:
    import numpy as np


class Polarity(Remix):
    """Each stem changes its sign with probability `each` (Demucs, Banquet: 0.5)."""

    each: Probability = 0.5

    def draw(self, rng: "np.random.Generator", material: Material) -> list[str]:
        return [stem for stem, chance in zip(STEMS, rng.random(len(STEMS)), strict=True) if chance < self.each]

    def choose(self, sources: Sources, drawn: list[str]) -> None:
        for stem in drawn:
            sources[stem] = [source._replace(gain=-source.gain) for source in sources[stem]]
