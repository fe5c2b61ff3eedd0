"""params.yaml and the profile it names, as validated, typed objects.

params.yaml holds what a researcher turns; profiles/<profile>.yaml holds what depends on scale. Every key of both
is checked before any work starts, so this module stays free of slow imports.
"""

import difflib
import itertools
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from vocalremix.models.configs import ModelConfig
from vocalremix.remix.registry import Policy
from vocalremix.util.errors import InputError
from vocalremix.util.values import (
    SAMPLE_RATE,
    Count,
    Fraction,
    Positive,
    Probability,
    Range,
    Section,
    Seed,
    Share,
    Target,
    TargetScaling,
)

Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
"""A part of a path."""
Value = int | float | str
"""Of an axis."""
T = TypeVar("T", bound=BaseModel)


def shown(value: Value) -> str:
    """A value of an axis, for reading."""
    return value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True)
class Axis:
    """How an axis of the sweep is spoken of."""

    folder: str
    """What stands before its value in a cell's folder."""
    question: str = ""
    """What the report asks of its values; nothing of seeds, which only repeat a training."""
    note: str = ""
    """What has to be known to read the answers."""
    base: Callable[[Sequence[Any]], Any] = min
    """Chooses the value that the others are compared with."""
    usual: float | str | None = None
    """The value of the thesis's sweep, which goes without saying in a training's title."""


@dataclass(frozen=True)
class Cell:
    """One training of the sweep: a value of each axis.

    Its fields are the one list of the axes; besides it, only dvc.yaml's template spells them. Values keep the spelling
    of params.yaml, because DVC puts it into paths.
    """

    remix: Annotated[
        Name, Axis("", "Which remixes help?", "Against the first of the list.", itemgetter(0), usual="thesis")
    ]
    speech_remix_prob: Annotated[Probability, Axis("speech", "What does speech in place of the target do?")]
    mix_prob: Annotated[Probability, Axis("mix", "What does classic remixing do?", usual=0.8)]
    data_fraction: Annotated[
        Share,
        Axis(
            "data",
            "What do more songs buy?",
            "More songs are also more steps, unless training.sweep.epoch_examples is set.",
            max,
            usual=1,
        ),
    ]
    songs_seed: Annotated[Seed, Axis("songs", usual=42)]
    seed: Annotated[Seed, Axis("seed")]

    @property
    def name(self) -> str:
        """The cell's folder, spelled like the `outs` of dvc.yaml."""
        return "_".join(f"{axis.folder}{getattr(self, name)}" for name, axis in AXES.items())

    @property
    def title(self) -> str:
        """What sets the cell apart, as MLflow's table has it."""
        values = {name: getattr(self, name) for name in AXES}
        return " ".join(f"{name}={value}" for name, value in values.items() if AXES[name].usual != value)

    @property
    def setting(self) -> "Cell":
        """What all cells that differ in their seeds only have in common."""
        return replace(self, songs_seed=0, seed=0)


_TYPES = typing.get_type_hints(Cell, include_extras=True)
AXES: dict[str, Axis] = {
    name: next(extra for extra in kind.__metadata__ if isinstance(extra, Axis)) for name, kind in _TYPES.items()
}


class Sweep(Section):
    """The values of each axis; every combination is trained."""

    __annotations__ = {
        name: Annotated[list[kind], Field(min_length=1)]  # type: ignore[valid-type]
        for name, kind in _TYPES.items()
    }

    @field_validator("*")
    @classmethod
    def _distinct(cls, values: list[Value]) -> list[Value]:
        if len(set(values)) < len(values):
            raise ValueError(f"names a value twice: {values}; DVC would train it twice")
        return values

    def values(self, axis: str) -> list[Any]:
        """Those of an axis, in the order of params.yaml."""
        values: list[Any] = getattr(self, axis)
        return values

    def cells(self) -> Iterator[Cell]:
        """Every combination of the axes, in the order of params.yaml."""
        return itertools.starmap(Cell, itertools.product(*map(self.values, AXES)))


class Params(Section):
    """params.yaml."""

    profile: Name
    seed: Annotated[int, Field(ge=0)]
    target: Target
    mix_prob: Probability
    speech_remix_prob: Probability
    speech_snr_db: Range
    speech_target_scaling: TargetScaling
    gain_prob: Probability
    gain_db: Range
    remix: Name
    remixes: dict[Name, Policy]
    sweep: Sweep

    @model_validator(mode="after")
    def _policies(self) -> Self:
        for key, name in [("remix", self.remix), *(("sweep.remix", name) for name in self.sweep.values("remix"))]:
            if name not in self.remixes:
                close = difflib.get_close_matches(name, self.remixes, n=1) or sorted(self.remixes)
                raise ValueError(f"{key}: {name} is none of remixes; is it {' or '.join(close)}?")
            for remix in self.remixes[name].said().values():
                remix.check()
        if len(self.sweep.values("songs_seed")) > 1 and set(self.sweep.values("data_fraction")) == {1}:
            raise ValueError(
                "sweep.songs_seed: draws the songs of data_fraction, and 1 is all of them; give one songs_seed, or a "
                "data_fraction below 1"
            )
        return self


class DemoMusic(Section):
    """Songs synthesised by corpus/demo."""

    source: Literal["demo"]
    train: Count
    valid: Count
    test: Count
    duration_s: Annotated[Positive, Field(ge=6, le=600)]
    seed: Annotated[int, Field(ge=0)]


class Archive(Section):
    """A .zip or .tar.gz to fetch where there are no data yet, deleted once they are there unless it is to be kept."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    keep_archive: bool = False


class RealMusic(Section):
    """Songs on disk; those of MoisesDB, where its folder is named, are added to the training songs."""

    path: Path
    moisesdb: Path | None = None


class FolderMusic(RealMusic):
    """A folder of `<song>/{vocals,drums,bass,other}.*`, with or without train/valid/test parts."""

    source: Literal["folder"]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class MusdbMusic(RealMusic):
    """MUSDB18-HQ, or MUSDB18, with its official split."""

    source: Literal["musdb"]
    download: Archive | None = None


class ExcerptsMusic(RealMusic):
    """The 7-second excerpts of MUSDB18; `download` has the musdb package fetch them."""

    source: Literal["musdb7s"]
    download: bool = False


class DemoSpeech(Section):
    """Utterances synthesised by corpus/demo."""

    source: Literal["demo"]
    speakers: Count
    utterances: Count
    seed: Annotated[int, Field(ge=0)]


class FolderSpeech(Section):
    """A LibriSpeech tree or any folder of speech."""

    source: Literal["folder"]
    path: Path
    download: Archive | None = None


class Corpus(Section):
    """Where songs and speech come from."""

    music: Annotated[DemoMusic | FolderMusic | MusdbMusic | ExcerptsMusic, Field(discriminator="source")]
    speech: Annotated[DemoSpeech | FolderSpeech, Field(discriminator="source")]


class Sad(Section):
    """Source activity detection: which windows are salient."""

    rule: Literal["amanteur", "paper"]
    window_s: Annotated[Positive, Field(ge=0.1)]
    step_s: Annotated[Positive, Field(ge=0.001)]


class Augment(Section):
    """The static copies of every training and validation song."""

    pitch_semitones: list[float]
    tempo: list[Positive]
    shift_s: list[float]

    @field_validator("*")
    @classmethod
    def _real_copies(cls, values: list[float], info: Any) -> list[float]:
        unchanged = 1.0 if info.field_name == "tempo" else 0.0
        if unchanged in values or len(set(values)) < len(values):
            raise ValueError(f"{values} holds {unchanged:g} (no change) or a value twice")
        return values


class Phase(Section):
    """Epochs under one learning rate: `learning_rate * decay ** epoch`, counted from the phase's first epoch.

    `epoch_examples`: an epoch has so many examples, on however many songs; null is every window once. With it a
    training goes through its whole schedule, whatever the patience: all cells of a sweep take the same steps. The best
    epoch on validation still gives the weights, because as many steps on few songs can end overfit.
    """

    epochs: Count
    learning_rate: Positive
    decay: Share = 1.0
    epoch_examples: Count | None = None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _alike(schedule: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if len({phase.epoch_examples for phase in schedule}) > 1:
        raise ValueError("give the same epoch_examples in all phases, or in none")
    return schedule


Schedule = Annotated[tuple[Phase, ...], BeforeValidator(_as_list), Field(min_length=1), AfterValidator(_alike)]


class Common(Section):
    """What all trainings share.

    `batch_size`: examples that a device computes at once. `accumulate`: such batches, on each device, whose gradients
    make one step of the optimiser. `ema_decay`: what the averaged weights keep of themselves over `ema_examples`
    examples, on however many devices. `patience`: epochs without a better validation that end a training; null goes
    through the whole schedule.
    """

    batch_size: Count
    accumulate: Count = 1
    clip_norm: Positive
    ema_decay: Fraction
    ema_examples: Count
    patience: Count | None


class Training(Section):
    """What all trainings share, and the schedule of each."""

    common: Common
    initial: Schedule
    overfit: Schedule
    sweep: Schedule
    train: Schedule
    train_full: Schedule


class Initial(Section):
    """The checkpoint everything is fine-tuned from: a file, or trained here with its own mix_prob."""

    checkpoint: Path | None = None
    mix_prob: Probability
    data_fraction: Share = 1


class Separation(Section):
    """Overlap-add at evaluation; null is `Separator`'s default."""

    hop_s: Positive | None
    batch_size: Count | None


class Compute(Section):
    """What trainings and separations run on.

    `checkpoint_activations`: trainings keep few activations and compute the others anew in the backward pass.
    """

    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Literal["auto"] | Count
    precision: Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)]
    cpu_threads: Literal["auto"] | Count = "auto"
    checkpoint_activations: bool = False


class Profile(Section):
    """profiles/<profile>.yaml."""

    corpus: Corpus
    sad: Sad
    augment: Augment
    model: ModelConfig
    initial: Initial
    training: Training
    separation: Separation
    compute: Compute
    workers: Annotated[int, Field(ge=0)]
    price_per_gpu_hour: Positive | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.model.sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"model.sample_rate: {self.model.sample_rate}, but all audio of a study has {SAMPLE_RATE} Hz; set that"
            )
        window_samples = self.sad.window_s * SAMPLE_RATE
        if self.model.chunk_samples > window_samples:
            raise ValueError(
                f"model.chunk_samples: {self.model.chunk_samples} is longer than a window of sad.window_s "
                f"= {self.sad.window_s:g} s ({window_samples:.0f} samples)"
            )
        chunk_s = self.model.chunk_samples / SAMPLE_RATE
        if self.separation.hop_s is not None and self.separation.hop_s > chunk_s:
            raise ValueError(
                f"separation.hop_s: {self.separation.hop_s:g} s leaves gaps between chunks of {chunk_s:.2f} s"
            )
        return self


@dataclass(frozen=True)
class Settings:
    """All that a run of the pipeline can be told."""

    params: Params
    profile: Profile


def load(root: Path) -> Settings:
    """Read and validate `<root>/params.yaml` and the profile it names.

    Raises InputError with one line that names the file, the key and the remedy.
    """
    params = _parse(Params, root / "params.yaml")
    path = root / "profiles" / f"{params.profile}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise InputError(f"params.yaml: profile: there is no {path}; choose one of {', '.join(known)}")
    profile = _parse(Profile, path)
    try:
        profile.model.refuse_target(params.target)
    except InputError as error:
        raise InputError(f"{path.name}: model.{error}") from error
    return Settings(params, profile)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, in the dialect that DVC reads and writes: 1.2, where `On` is a word.

    Raises InputError with one line that names the file and the place.
    """
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{path}: not valid YAML: {place}{error.problem}") from error
    # a date that no calendar has is a ValueError
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _parse(kind: type[T], path: Path) -> T:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path.name}: {_first_problem(kind, error)}") from error


def _first_problem(kind: type[BaseModel], error: ValidationError) -> str:
    """What to mend first, as `key: what is wrong`: a mistyped key before the one that is missing in its place."""
    findings = error.errors()
    finding = next((one for one in findings if one["type"] == "extra_forbidden"), findings[0])
    path, sections = _descend(kind, finding["loc"])
    given, context = finding["input"], finding.get("ctx", {})
    known = sorted({name for section in sections for name in section.model_fields})
    if finding["type"] == "extra_forbidden":
        last = str(finding["loc"][-1])
        key = _dotted(path, last)
        elsewhere = [name for name in _known_keys(kind) if f".{name}".endswith(f".{last}")]
        # of another source, say
        elsewhere = [] if key in elsewhere else elsewhere
        close = difflib.get_close_matches(last.lower(), known, n=1) or elsewhere
        return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else "remove it")
    if finding["type"] == "missing":
        return f"{path}: missing key; set it"
    if finding["type"].startswith("union_tag"):
        tag = context["discriminator"].strip("'")
        if tag in given:
            return f"{_dotted(path, tag)}: input should be one of {context['expected_tags']}, got {given[tag]!r}"
        if mistyped := difflib.get_close_matches(tag, [str(key) for key in given if key not in known], n=1):
            return f"{_dotted(path, mistyped[0])}: unknown key; did you mean {tag}?"
        return f"{_dotted(path, tag)}: missing key; set it"
    if finding["type"] == "value_error":
        return f"{path + ': ' if path else ''}{context['error']}"
    if finding["type"] in ("model_type", "model_attributes_type"):
        return f"{path}: expected keys and values, got {given!r}"
    # every branch of a union says what it would take
    says = [one["msg"] for one in findings if _descend(kind, one["loc"])[0] == path]
    wanted = " or ".join(said[0].lower() + said[1:] for said in says)
    wanted = wanted.replace("tuple", "list").replace(" for <class 'pathlib.Path'>", "")
    unquoted = finding["type"] in ("string_type", "path_type") and not isinstance(given, list | dict | None)
    return f"{path}: {wanted}, got {given!r}" + ("; put it in quotes" if unquoted else "")


def _descend(kind: Any, location: Iterable[int | str]) -> tuple[str, list[type[BaseModel]]]:
    """The dotted key at a location of pydantic's, and the sections that can stand there.

    A location also has what stands in no file, such as the tags of unions ("demo", "int"), and an unknown key last.
    """
    path, kinds = "", [kind]
    for part in location:
        sections = [section for one in kinds for section in _sections(one)]
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        if typing.get_origin(kinds[0]) is dict and part != "[key]":
            path, kinds = _dotted(path, part), [typing.get_args(kinds[0])[1]]
        elif fields:
            path, kinds = _dotted(path, part), [field.annotation for field in fields]
        elif isinstance(part, int):
            path = _dotted(path, part)
        else:
            tagged = [
                one
                for one in sections
                if any(part in typing.get_args(field.annotation) for field in one.model_fields.values())
            ]
            kinds = tagged or kinds
    return path, [section for one in kinds for section in _sections(one)]


def _dotted(path: str, part: int | str) -> str:
    return f"{path}.{part}" if path else str(part)


def _known_keys(kind: Any, path: str = "") -> Iterator[str]:
    """All keys that can stand below a section, dotted."""
    for section in _sections(kind):
        for name, field in section.model_fields.items():
            yield _dotted(path, name)
            yield from _known_keys(field.annotation, _dotted(path, name))


def _sections(kind: Any) -> list[type[BaseModel]]:
    """The sections that an annotation names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [section for part in typing.get_args(kind) for section in _sections(part)]
