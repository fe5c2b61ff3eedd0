"""Classic remixing: stems of different songs are put together."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vocalremix.remix.base import Material, Remix, Source, Sources
from vocalremix.remix.stretch import stretched
from vocalremix.util.values import STEMS, Number, Positive

if TYPE_CHECKING:
    import numpy as np

SAME_TEMPO = 0.01


class Classic(Remix):
    """The stems beside the target each come from a window of their own (thesis 4.4.1).

    - `songs`: "any" song, the "same", "another" than the target's, or one that is "matched" by tempo and key: within
      the share `tempo` of the target's tempo and `semitones` of its key, made to fit by stretching, beats on beats
      (demucs, tools/automix). Where no song fits, the example stays as it is. Jeon et al. (arXiv 2402.18407) compare
      "matched", automix, with "any", cacophony: more of the latter helps vocals, up to nearly every example.
    - `stems`: "all" three, as the thesis has it; a "random" number of them, as its baseline has (FACTS "Training
      examples"), while the others stay the target's window's; or "together", all three from one window.
    """

    songs: Literal["any", "same", "another", "matched"] = "any"
    stems: Literal["all", "random", "together"] = "all"
    tempo: Positive = 0.15
    semitones: Annotated[Number, Field(ge=0, le=6)] = 3

    @property
    def needs_pulses(self) -> bool:
        """Whether tempo and key are asked for."""
        return self.songs == "matched"

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, Source]:
        others = [stem for stem in STEMS if stem != material.target]
        if self.stems == "random":
            others = rng.permutation(others)[: rng.integers(1, len(others) + 1)].tolist()
        if self.stems == "together":
            source = self._source(rng, material)
            return dict.fromkeys(others, source) if source else {}
        drawn = {stem: self._source(rng, material) for stem in others}
        return {stem: source for stem, source in drawn.items() if source}

    def choose(self, sources: Sources, drawn: dict[str, Source]) -> None:
        sources |= {stem: [source] for stem, source in drawn.items()}

    def _source(self, rng: "np.random.Generator", material: Material) -> Source | None:
        if self.songs != "matched":
            return Source(material.draw_row(rng, self.songs), material.offset_samples)
        match = material.matching.draw(rng, material.row, material.offset_samples, self.tempo, self.semitones)
        if match is None:
            return None
        source = Source(match.row, match.offset_samples)
        if match.semitones == 0 and abs(match.tempo - 1) < SAME_TEMPO:
            return source
        return source.through(partial(stretched, match.semitones, match.tempo), match.tempo)
