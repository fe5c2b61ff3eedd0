"""Low-pass: stems lose their upper band."""

from typing import TYPE_CHECKING

from vocalremix.remix.base import Remix
from vocalremix.util.values import STEMS, Positive, Target

if TYPE_CHECKING:
    from torch import Tensor


class Lowpass(Remix):
    """`stems` lose everything from `hz` on: the control for speech, which has nothing above 8 kHz (TUSS)."""

    hz: Positive = 8000
    stems: tuple[Target, ...] = ("vocals",)

    def apply(self, stems: "Tensor", drawn: None) -> "Tensor":
        from vocalremix.remix.mixing import low_pass

        rows = [STEMS.index(stem) for stem in self.stems]
        stems[rows] = low_pass(stems[rows], self.hz)
        return stems
