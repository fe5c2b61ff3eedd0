"""Speech remixing: speech takes the target's place."""

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Range, TargetScaling

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Utterances(NamedTuple):
    """What is heard of the speech, and how loud."""

    target: str
    parts: "list[Tensor]"
    peaks: list[float]
    snr_db: float


class Speech(Remix):
    """Utterances in the target's place, at an SNR over the accompaniment (thesis 4.4.2, Algorithm 1).

    `snr_db`: range of the level of the speech over the accompaniment, uniform in dB. `target_scaling`: "matched", or
    "published": Algorithm 1 to the letter, which normalises the mixture by its peak and leaves the target as it was.
    """

    snr_db: Range = (-5, 15)
    target_scaling: TargetScaling = "matched"
    needs_speech: ClassVar[bool] = True

    def draw(self, rng: "np.random.Generator", material: Material) -> Utterances:
        snr_db = rng.uniform(*self.snr_db)
        parts, peaks = material.speech.draw(
            rng, material.window_samples, material.offset_samples, material.crop_samples
        )
        return Utterances(material.target, parts, peaks, snr_db)

    def choose(self, sources: Sources, drawn: Utterances) -> None:
        sources[drawn.target] = []

    def apply(self, stems: "Tensor", drawn: Utterances) -> "Tensor":
        from vocalremix.remix.mixing import join, mix, noise_gain

        target = STEMS.index(drawn.target)
        others = [stem for index, stem in enumerate(stems) if index != target]
        speech = stems[target].copy_(join(drawn.parts, stems.shape[-1], drawn.peaks))
        gain = noise_gain(speech, mix(others), drawn.snr_db)
        if self.target_scaling == "matched":
            # only the ratio matters, for all are divided by their common peak
            speech /= gain
        else:
            for other in others:
                other *= gain
        return stems

    def target_gain(self, stems: "Tensor", drawn: Utterances) -> float:
        from vocalremix.remix.mixing import peak

        return 1.0 if self.target_scaling == "matched" else peak(stems.sum(dim=0)) or 1.0
