"""What all rooms know: the sample rate, the stems, and the types of the values that settings hold."""

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vocalremix.util.errors import InputError

SAMPLE_RATE = 44100
"""Of all audio of a study, in Hz."""
Target = Literal["vocals", "drums", "bass", "other"]
STEMS: tuple[str, ...] = get_args(Target)
TargetScaling = Literal["matched", "published"]
B = TypeVar("B", bound=BaseModel)


def _number(value: Any) -> Any:
    """Refuse what pydantic would turn into a number: DVC puts the text "0.10" into paths as it is."""
    if isinstance(value, bool | str):
        raise ValueError(f"must be a number, without quotes, got {value!r}")
    return value


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{list(bounds)} is no range; give the lower end first")
    return bounds


Number = Annotated[int | float, BeforeValidator(_number)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Share = Annotated[Number, Field(gt=0, le=1)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0)]
Fraction = Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)]
Range = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, strict=True)]


class Section(BaseModel):
    """A mapping whose keys are all known; it cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse(kind: type[B], content: Any, source: str) -> B:
    """Validate what was read from `source`; InputError names the first key that is wrong, and why."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        finding = error.errors()[0]
        key = ".".join(str(part) for part in finding["loc"])
        raise InputError(f"{source}{key}: {finding['msg'][0].lower()}{finding['msg'][1:]}") from error
