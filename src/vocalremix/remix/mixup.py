"""Mixup: several sources of one class in the place of one."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vocalremix.remix.base import Material, Remix, Source, Sources
from vocalremix.util.values import STEMS, Probability

if TYPE_CHECKING:
    import numpy as np


class Mixup(Remix):
    """To each stem, one more of its class is added, then perhaps another (Music-Source-Separation-Training: 0.2, 0.02).

    `more`: the probability of a second, of a third one where there is a second, and so on. They are averaged.
    """

    more: Annotated[tuple[Probability, ...], Field(min_length=1)] = (0.2, 0.1)

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, list[Source]]:
        added: dict[str, list[Source]] = {stem: [] for stem in STEMS}
        for sources in added.values():
            for chance in self.more:
                if rng.random() >= chance:
                    break
                sources.append(Source(material.draw_row(rng), material.offset_samples))
        return added

    def choose(self, sources: Sources, drawn: dict[str, list[Source]]) -> None:
        for stem, more in drawn.items():
            # what a remix makes itself, or left out, stays alone
            together = [*sources[stem], *more] if sources[stem] else []
            sources[stem] = [source._replace(gain=source.gain / len(together)) for source in together]
