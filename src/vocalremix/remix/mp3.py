"""MP3: the mixture was once compressed."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from vocalremix.remix.base import Material, Remix
from vocalremix.util.values import SAMPLE_RATE, Count

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Mp3(Remix):
    """The mixture goes through LAME at one of `kbps`, as Music-Source-Separation-Training has it (32 to 320, 0.01).

    The target does not, so the mixture is the sum of its stems no more: the model learns to undo the compression.
    """

    kbps: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 96, 128, 192, 256, 320)

    def check(self) -> None:
        for kbps in self.kbps:
            self._codec(kbps)

    def draw(self, rng: "np.random.Generator", material: Material) -> int:
        return int(rng.choice(self.kbps))

    def master(self, mixture: "Tensor", target: "Tensor", drawn: int) -> "tuple[Tensor, Tensor]":
        import torch

        return torch.from_numpy(self._codec(drawn)(mixture.contiguous().numpy(), SAMPLE_RATE)), target

    @staticmethod
    def _codec(kbps: int) -> Any:
        from audiomentations import Mp3Compression

        return Mp3Compression(kbps, kbps, backend="fast-mp3-augment", p=1)
