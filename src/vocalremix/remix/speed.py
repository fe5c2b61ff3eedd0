"""Speed: stems are played faster, and so higher, or slower."""

from functools import partial
from typing import TYPE_CHECKING

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, PositiveRange, Probability

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STEPS = 100


class Speed(Remix):
    """Each stem, with probability `each`, is played at a speed in `factor`, in steps of 1 %, by resampling.

    Pitch and tempo go together, as on a tape; it costs a thirtieth of `stretch`. `common`: one speed for all stems.
    """

    factor: PositiveRange = (0.9, 1.1)
    each: Probability = 1
    common: bool = True

    def draw(self, rng: "np.random.Generator", material: Material) -> dict[str, int]:
        taken = [stem for stem in STEMS if rng.random() < self.each]
        speeds = [round(STEPS * rng.uniform(*self.factor)) for _ in taken]
        return {stem: speeds[0] if self.common else speed for stem, speed in zip(taken, speeds, strict=True)}

    def choose(self, sources: Sources, drawn: dict[str, int]) -> None:
        for stem, speed in drawn.items():
            if speed != STEPS:
                sources[stem] = [source.through(partial(played, speed), speed / STEPS) for source in sources[stem]]


def played(speed: int, waveform: "Tensor") -> "Tensor":
    """A waveform `(channels, samples)` at `speed` percent of its own."""
    from torchaudio.functional import resample

    faster: Tensor = resample(waveform, speed, STEPS)
    return faster
