"""Effects: equalisers, distortion, reverberation and what else audiomentations has, on stems."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from vocalremix.remix.base import Material, Remix
from vocalremix.util.values import SAMPLE_RATE, STEMS, Probability, Section, Target

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Effect(Section):
    """One transform of audiomentations: its name, its own arguments, and which stems it changes how often."""

    transform: str
    settings: dict[str, Any] = Field(default_factory=dict)
    stems: tuple[Target, ...] = STEMS  # type: ignore[assignment]
    each: Probability = 1


class Effects(Remix):
    """The stems go through a chain of audiomentations' transforms, each drawn anew for each stem.

    So does Music-Source-Separation-Training (docs/augmentations), and aug4mss (arXiv 2008.02480), which found that it
    helps most with little data. Transforms that change the length or delay the sound are not for this.
    """

    chain: Annotated[tuple[Effect, ...], Field(min_length=1)]

    def check(self) -> None:
        for effect in self.chain:
            _built(effect.transform, json.dumps(effect.settings))

    def draw(self, rng: "np.random.Generator", material: Material) -> list[tuple[Effect, str, int]]:
        return [
            (effect, stem, int(rng.integers(2**32)))
            for effect in self.chain
            for stem in effect.stems
            if rng.random() < effect.each
        ]

    def apply(self, stems: "Tensor", drawn: list[tuple[Effect, str, int]]) -> "Tensor":
        import torch

        for effect, stem, seed in drawn:
            row = stems[STEMS.index(stem)]
            if row.any():
                with _seeded(seed):
                    changed = _built(effect.transform, json.dumps(effect.settings))(
                        row.contiguous().numpy(), SAMPLE_RATE
                    )
                row.copy_(torch.from_numpy(changed))
        return stems


@cache
def _built(transform: str, settings: str) -> Callable[..., "np.ndarray[Any, Any]"]:
    import audiomentations

    kind = getattr(audiomentations, transform, None)
    if not isinstance(kind, type):
        raise ValueError(f"effects: {transform} is no transform of audiomentations; see its documentation for the list")
    try:
        built: Callable[..., np.ndarray[Any, Any]] = kind(**json.loads(settings), p=1)
    except Exception as error:  # each transform has its own way of refusing
        raise ValueError(f"effects: {transform}: {error}") from error
    return built


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """audiomentations draws from the random numbers of the process; these are lent to it."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
