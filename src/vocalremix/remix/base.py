"""What a remix is: a decision drawn for each example, and what the decision does to the example."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from vocalremix.util.errors import InputError
from vocalremix.util.values import Probability, Section

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


class Source(NamedTuple):
    """What one stem of an example is read from."""

    row: int
    """Of the window table."""
    offset_samples: int
    """From the window's start to the crop's; outside of the file there are zeros."""
    gain: float = 1.0
    """Negative for the other polarity."""
    swapped: bool = False
    """Whether left and right change places."""
    process: "Callable[[Tensor], Tensor] | None" = None
    """Changes what was read, `(channels, samples)`; what is then too long is cut, what is too short is padded."""
    speed: float = 1.0
    """How much faster `process` makes it: so much more is read."""

    def through(self, process: "Callable[[Tensor], Tensor]", speed: float) -> "Source":
        """The same source, processed once more."""
        first = self.process
        both = (lambda waveform: process(first(waveform))) if first else process
        return self._replace(process=both, speed=self.speed * speed)


Sources = dict[str, list[Source]]
"""Of each stem, what is added up to it; nothing for a stem that is silent, or that a remix makes."""


class Speech(Protocol):
    """A corpus of utterances."""

    def draw(
        self, rng: "np.random.Generator", window_samples: int, offset_samples: int, crop_samples: int
    ) -> "tuple[list[Tensor], list[float]]":
        """Utterances joined to the length of a window: the parts in the crop, and the peak of each whole utterance."""


class Match(NamedTuple):
    """A window of another song, and how it is made to fit."""

    row: int
    offset_samples: int
    """From the window's start; its beats then fall on the example's."""
    tempo: float
    """How much faster it has to be."""
    semitones: float
    """How much higher."""


class Matching(Protocol):
    """The windows of a table by tempo and key."""

    def draw(
        self, rng: "np.random.Generator", row: int, offset_samples: int, tempo: float, semitones: float
    ) -> Match | None:
        """A window of another song that fits; None where there is none."""


@dataclass(frozen=True)
class Material:
    """The example that a remix decides on, and all that it may draw from."""

    target: str
    """The stem that the model is to extract."""
    row: int
    """The example's window, by row of the window table."""
    offset_samples: int
    """Where the crop starts in the window."""
    crop_samples: int
    window_samples: int
    songs: "npt.NDArray[np.object_]"
    """Of each row of the window table."""
    corpus: Speech | None
    by_pulse: Matching | None = None

    @property
    def matching(self) -> Matching:
        """The windows by tempo and key, for a remix that `needs_pulses`."""
        assert self.by_pulse is not None
        return self.by_pulse

    @property
    def speech(self) -> Speech:
        """The speech corpus, of a remix that `needs_speech`."""
        assert self.corpus is not None
        return self.corpus

    def draw_row(self, rng: "np.random.Generator", where: Literal["any", "same", "another"] = "any") -> int:
        """A window of "any" song, of the "same" as the example's, or of "another", each as likely as the next."""
        if where == "any":
            return int(rng.integers(len(self.songs)))
        is_same = self.songs == self.songs[self.row]
        rows = (is_same if where == "same" else ~is_same).nonzero()[0]
        if not len(rows):
            raise InputError("remix: stems of another song are asked for, but there is only one; add songs")
        return int(rng.choice(rows))


class Remix(Section):
    """One thing that happens to training examples, each with probability `prob`.

    A remix has a module of its own, and its settings are fields. It draws from random numbers of its own, keyed by
    (seed, training, epoch, index, its name): a change of one remix leaves the decisions of all others as they were,
    and a higher `prob` takes the same examples and some more. What is not needed of the methods below stays as it is.
    """

    prob: Probability = 1
    needs_speech: ClassVar[bool] = False
    """Whether `draw` reads `Material.speech`."""

    @property
    def needs_pulses(self) -> bool:
        """Whether `draw` reads `Material.matching`."""
        return False

    def check(self) -> None:
        """Raise ValueError for settings that cannot be; only of a policy in use, for this may take its time."""

    def draw(self, rng: "np.random.Generator", material: Material) -> Any:
        """All that is random, for `choose`, `apply` and `level`."""

    def choose(self, sources: Sources, drawn: Any) -> None:
        """Change in place where the stems come from, before they are read. This costs next to nothing."""

    def apply(self, stems: "Tensor", drawn: Any) -> "Tensor":
        """Change the stems, `(stem, channels, samples)` float32 in the order of STEMS; their sum is the mixture."""
        return stems

    def level(self, drawn: Any) -> float:
        """A factor for mixture and target once their common peak is 1."""
        return 1.0

    def master(self, mixture: "Tensor", target: "Tensor", drawn: Any) -> "tuple[Tensor, Tensor]":
        """Change the finished mixture and target, `(channels, samples)`.

        What treats them differently says so, for the mixture is the sum of its stems no more.
        """
        return mixture, target

    def target_gain(self, stems: "Tensor", drawn: Any) -> float:
        """A factor for the target alone, after `apply`: with another value than 1 it is no part of the mixture."""
        return 1.0
