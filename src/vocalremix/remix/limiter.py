"""Limiter: the mixture is mastered, as loud as records are."""

from typing import TYPE_CHECKING, NamedTuple

from vocalremix.remix.base import Material, Remix
from vocalremix.util.values import SAMPLE_RATE, Number, PositiveRange

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ATTACK_S = 0.002


class Mastering(NamedTuple):
    """How loud the mixture is before the limiter, and how fast that lets go."""

    lufs: float
    release_s: float


class Limiter(Remix):
    """LimitAug (Jeon and Lee, arXiv 2208.14355): a limiter on the mixture, its gain on the target too.

    The mixture is brought to a loudness from a normal distribution (`lufs`, `lufs_std`; BS.1770 by pyloudnorm), limited
    to full scale, and brought to `final_lufs`. Both channels get one gain. The target gets all that the mixture gets,
    sample by sample, so the mixture stays the sum of its stems. A silent mixture stays as it is.
    """

    lufs: Number = -10.9
    lufs_std: Number = 1.2
    release_s: PositiveRange = (0.03, 0.2)
    final_lufs: Number = -14

    def draw(self, rng: "np.random.Generator", material: Material) -> Mastering:
        return Mastering(float(rng.normal(self.lufs, self.lufs_std)), float(rng.uniform(*self.release_s)))

    def master(self, mixture: "Tensor", target: "Tensor", drawn: Mastering) -> "tuple[Tensor, Tensor]":
        import numpy as np
        import torch
        from numpy_audio_limiter import limit
        from pyloudnorm import Meter

        meter = Meter(SAMPLE_RATE)
        loudness = meter.integrated_loudness(mixture.T.numpy())
        if not np.isfinite(loudness):
            return mixture, target
        louder = float(10 ** ((drawn.lufs - loudness) / 20))
        envelope = louder * mixture.abs().amax(dim=0, keepdim=True).numpy()
        limited = limit(
            signal=envelope,
            attack_coeff=_coefficient(ATTACK_S),
            release_coeff=_coefficient(drawn.release_s),
            delay=round(0.6 * ATTACK_S * SAMPLE_RATE),
            threshold=1.0,
        )
        gains = louder * np.divide(limited, envelope, out=np.ones_like(envelope), where=envelope > 0)
        mastered = mixture * torch.from_numpy(gains)
        final = float(10 ** ((self.final_lufs - meter.integrated_loudness(mastered.T.numpy())) / 20))
        return mastered * final, target * torch.from_numpy(gains * final)


def _coefficient(seconds: float) -> float:
    """Of a one-pole filter that comes within 60 dB in this time."""
    return float(10 ** (-3 / (seconds * SAMPLE_RATE)))
