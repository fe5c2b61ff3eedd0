"""Speech remixing: speech in place of the vocals, beside them, or as further vocals."""

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from vocalremix.remix.base import Material, Remix, Sources
from vocalremix.util.values import STEMS, Count, PositiveRange, Probability, Range, TargetScaling

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

VOCALS = STEMS.index("vocals")


class Voice(NamedTuple):
    """Utterances of one voice, joined."""

    parts: "list[Tensor]"
    """What of them falls in the crop."""
    peaks: list[float]
    """Of each whole utterance."""
    pan: float
    """From -1, left, to 1, right."""


class Utterances(NamedTuple):
    """What is heard of the speech, and how loud."""

    target: str
    voices: list[Voice]
    snr_db: float
    room: tuple[float, int] | None
    """Reverberation time in s, and the seed of the room's noise."""


class Speech(Remix):
    """Utterances at an SNR over the accompaniment (thesis 4.4.2, Algorithm 1).

    The defaults are the thesis's. The other settings tell apart why speech helps or hurts.

    - `snr_db`: range of the level of the speech over the accompaniment, uniform in dB.
    - `target_scaling`: "matched", or "published": Algorithm 1 to the letter, which normalises the mixture by its peak
      and leaves the target as it was.
    - `place`: "instead" of the vocals; "beside" them, as a part of the accompaniment; or "further" vocals, so that
      speech and vocals are one class (bytesep). For another target than vocals, speech is accompaniment in any place.
    - `voices`: how many speak at once.
    - `upper_band`: LibriSpeech holds nothing above 8 kHz. "filled" translates what it has below (`fill_upper_band`).
    - `spread`: 0 puts each voice in the middle; 1 anywhere between left and right.
    - `reverb_s`: range of the reverberation time of a room (`reverberate`); without it, the voices stay dry.
    """

    snr_db: Range = (-5, 15)
    target_scaling: TargetScaling = "matched"
    place: Literal["instead", "beside", "further"] = "instead"
    voices: Count = 1
    upper_band: Literal["empty", "filled"] = "empty"
    spread: Probability = 0
    reverb_s: PositiveRange | None = None
    needs_speech: ClassVar[bool] = True

    @model_validator(mode="after")
    def _published_only_instead(self) -> Self:
        if self.target_scaling == "published" and self.place != "instead":
            raise ValueError("target_scaling published: Algorithm 1 has speech instead of vocals; set place: instead")
        return self

    def draw(self, rng: "np.random.Generator", material: Material) -> Utterances:
        snr_db = rng.uniform(*self.snr_db)
        where = material.window_samples, material.offset_samples, material.crop_samples
        voices = [
            Voice(*material.speech.draw(rng, *where), rng.uniform(-self.spread, self.spread) if self.spread else 0)
            for _ in range(self.voices)
        ]
        room = (rng.uniform(*self.reverb_s), int(rng.integers(2**63))) if self.reverb_s else None
        return Utterances(material.target, voices, snr_db, room)

    def choose(self, sources: Sources, drawn: Utterances) -> None:
        if self.place == "instead":
            sources["vocals"] = []

    def apply(self, stems: "Tensor", drawn: Utterances) -> "Tensor":
        from vocalremix.remix.mixing import fill_upper_band, join, mix, noise_gain, pan, reverberate

        others = [stem for index, stem in enumerate(stems) if index != VOCALS]
        speech = stems.new_empty(stems.shape[1:]) if self.place != "instead" else stems[VOCALS]
        for number, voice in enumerate(drawn.voices):
            heard = pan(join(voice.parts, stems.shape[-1], voice.peaks), voice.pan)
            speech.copy_(heard) if number == 0 else speech.add_(heard)
        if self.upper_band == "filled":
            speech.copy_(fill_upper_band(speech))
        if drawn.room:
            speech.copy_(reverberate(speech, *drawn.room))
        gain = noise_gain(speech, mix(others), drawn.snr_db)
        if self.target_scaling == "matched":
            # only the ratio matters, for all are divided by their common peak
            speech /= gain
        else:
            for other in others:
                other *= gain
        if self.place != "instead":
            in_accompaniment = self.place == "beside" and drawn.target == "vocals"
            stems[STEMS.index("other") if in_accompaniment else VOCALS] += speech
        return stems

    def target_gain(self, stems: "Tensor", drawn: Utterances) -> float:
        from vocalremix.remix.mixing import peak

        is_published = self.target_scaling == "published" and drawn.target == "vocals"
        return (peak(stems.sum(dim=0)) or 1.0) if is_published else 1.0
