"""Scale: every stem gets a gain of its own."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Range

if TYPE_CHECKING:
    import numpy as np


class Scale(Remix):
    """A factor for each stem, uniform in `factor` (Open-Unmix and Demucs: 0.25 to 1.25)."""

    factor: Range = (0.25, 1.25)

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, float]:
        return dict(zip(STEMS, rng.uniform(*self.factor, len(STEMS)).tolist(), strict=True))

    def choose(self, sources: Sources, drawn: dict[str, float]) -> None:
        for stem, factor in drawn.items():
            sources[stem] = [source._replace(gain=source.gain * factor) for source in sources[stem]]
