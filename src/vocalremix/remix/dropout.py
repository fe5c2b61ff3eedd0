"""Drop-out: stems fall silent."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Probability

if TYPE_CHECKING:
    import numpy as np


class Dropout(Remix):
    """Each stem is silent with probability `each`, the target too (Luo and Yu, arXiv 2209.15174: 0.1)."""

    each: Probability = 0.1

    def draw(self, rng: "np.random.Generator", material: Material) -> list[str]:
        return [stem for stem, chance in zip(STEMS, rng.random(len(STEMS)), strict=True) if chance < self.each]

    def choose(self, sources: Sources, drawn: list[str]) -> None:
        for stem in drawn:
            sources[stem] = []
