"""Stretch: pitch and tempo of stems change, each without the other."""

from functools import partial
from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import SAMPLE_RATE, STEMS, PositiveRange, Probability, Range, Target

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Stretch(Remix):
    """Each of `stems`, with probability `each`, gets a pitch and a tempo, uniform in `semitones` and `tempo`.

    `common`: one pitch and one tempo for all of them, as Demucs repitches (2 semitones, 12 %). Signalsmith's stretcher
    takes 35 ms for 3 s of a stem, as long as some forty examples without it: where a GPU waits for it, make static
    copies.
    """

    semitones: Range = (-2, 2)
    tempo: PositiveRange = (0.88, 1.12)
    stems: tuple[Target, ...] = STEMS  # type: ignore[assignment]
    each: Probability = 1
    common: bool = False

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, tuple[float, float]]:
        taken = [stem for stem in self.stems if rng.random() < self.each]
        changes = [(rng.uniform(*self.semitones), rng.uniform(*self.tempo)) for _ in taken]
        return {stem: changes[0] if self.common else change for stem, change in zip(taken, changes, strict=True)}

    def choose(self, sources: Sources, drawn: dict[str, tuple[float, float]]) -> None:
        for stem, (semitones, tempo) in drawn.items():
            sources[stem] = [source.through(partial(stretched, semitones, tempo), tempo) for source in sources[stem]]


def stretched(semitones: float, tempo: float, waveform: "Tensor") -> "Tensor":
    """A waveform `(channels, samples)`, higher and faster (python-stretch)."""
    import torch
    from python_stretch import Signalsmith

    stretcher = Signalsmith.Stretch()
    stretcher.preset(len(waveform), SAMPLE_RATE)
    stretcher.setTransposeSemitones(semitones)
    stretcher.setTimeFactor(tempo)
    return torch.from_numpy(stretcher.process(waveform.contiguous().numpy()))
