"""Classic remixing: stems of different songs are put together."""

from typing import TYPE_CHECKING, Literal

from vocalremix.remix.base import Material, Remix, Source, Sources
from vocalremix.util.values import STEMS

if TYPE_CHECKING:
    import numpy as np


class Classic(Remix):
    """The stems beside the target each come from a window of their own (thesis 4.4.1).

    `songs`: "any" song, the "same", or "another" than the target's. `stems`: "all" three, as the thesis has it, or a
    "random" number of them, as its baseline has (FACTS "Training examples"); the others stay the target's window's.
    Jeon et al. (arXiv 2402.18407) find that more of it helps vocals, up to nearly every example.
    """

    songs: Literal["any", "same", "another"] = "any"
    stems: Literal["all", "random"] = "all"

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, Source]:
        others = [stem for stem in STEMS if stem != material.target]
        if self.stems == "random":
            others = rng.permutation(others)[: rng.integers(1, len(others) + 1)].tolist()
        return {stem: Source(material.draw_row(rng, self.songs), material.offset_samples) for stem in others}

    def choose(self, sources: Sources, drawn: dict[str, Source]) -> None:
        sources |= {stem: [source] for stem, source in drawn.items()}
