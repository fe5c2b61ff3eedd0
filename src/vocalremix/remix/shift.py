"""Shift: stems move in time against one another."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Positive

if TYPE_CHECKING:
    import numpy as np


class Shift(Remix):
    """Each stem is read up to `samples` earlier or later, or all by one shift (`common`) (Demucs: up to 1 s)."""

    samples: Positive = 44100
    common: bool = False

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, int]:
        most = round(self.samples)
        shifts = rng.integers(-most, most, 1 if self.common else len(STEMS), endpoint=True)
        return dict(zip(STEMS, [*shifts.tolist()] * (len(STEMS) if self.common else 1), strict=True))

    def choose(self, sources: Sources, drawn: dict[str, int]) -> None:
        for stem, shift in drawn.items():
            sources[stem] = [source._replace(offset_samples=source.offset_samples + shift) for source in sources[stem]]
