"""What a value may be, said once, beside the field it belongs to.

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        mu: Annotated[float, Within(0, 1)] = 0.6

        def __post_init__(self) -> None:
            check_values(self)

Whoever builds such a dataclass gets the same check: a recipe, a run folder, a bundle, or Python. Every number of every
field is finite and within its declared range, and every `Literal` is one of its values. Types are checked where values
come from a file (`from_plain`).
"""

import json
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from cimeu.errors import CimeuError, RecipeError, guess

NUMBERS = (bool, int, float)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Within:
    """A range of numbers; ends belong to it unless said otherwise. An annotation of a field."""

    low: float | int = -math.inf
    high: float | int = math.inf
    above: bool = False
    """`low` itself is outside."""
    below: bool = False
    """`high` itself is outside."""

    def __contains__(self, value: float | int) -> bool:
        if not math.isfinite(value):
            return False
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        """In words.

        >>> str(Within(0, 1)), str(Within(0, above=True)), str(Within(1)), str(Within(0, 1, below=True))
        ('from 0 to 1', 'above 0', 'of 1 or more', 'from 0 to below 1')
        """
        if self.high == math.inf:
            return f"above {self.low:.10g}" if self.above else f"of {self.low:.10g} or more"
        low = f"above {self.low:.10g}, up" if self.above else f"from {self.low:.10g}"
        return f"{low} to below {self.high:.10g}" if self.below else f"{low} to {self.high:.10g}"


def check_values(config: Any, prefix: str = "", error: type[CimeuError] = RecipeError) -> None:
    """Compare every field of a dataclass with what its annotation allows.

    Args:
        config: an instance; dataclasses inside it check themselves.
        prefix: what stands before the names in messages, as in `training`.
        error: kind of error.

    Raises:
        CimeuError: of the kind `error`, with name, value and range of the first value that is not allowed.
    """
    for name, hint in _hints(type(config)).items():  # type: ignore[arg-type]
        whole = f"{prefix}.{name}" if prefix else name
        for place, value, allowed in _values(getattr(config, name), hint):
            if reason := _reason(value, allowed):
                raise error(f"`{whole}{place}` is {value!r}\n\nhint: {reason}")


def from_plain(kind: type[Kind], values: Mapping[str, Any], path: Path, error: type[CimeuError]) -> Kind:
    """An instance of a dataclass from the plain values of a file, without any conversion: `true` is not a number.

    Raises:
        CimeuError: of the kind `error`, with file, name and value: a value of another type, or outside its range.
    """
    hint = "take the file from where it was made"
    try:
        return adapter_of(kind).validate_json(json.dumps(values), strict=True)  # type: ignore[arg-type]
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        value = repr(first["input"])[:80]
        raise error(f"`{path}` is damaged: `{name}` is {value} ({first['msg']})\n\nhint: {hint}") from None
    except RecipeError as wrong:
        message, _, right = str(wrong).partition("\n\nhint: ")
        raise error(f"`{path}` is damaged: {message}; {right} is right\n\nhint: {hint}") from None


@cache
def adapter_of(kind: Any) -> Any:
    """Validator and serialiser of a type, kept because building one takes as long as a thousand readings."""
    return TypeAdapter(kind)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _values(value: Any, hint: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value inside a field, with where it is and what is allowed there: a range, choices, or nothing special."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        within = next((note for note in hint.__metadata__ if isinstance(note, Within)), None)
        if within is not None and isinstance(value, NUMBERS):
            yield place, value, within
        else:
            yield from _values(value, arguments[0], place)
    elif origin in (Union, types.UnionType):
        fitting = [argument for argument in arguments if argument is not types.NoneType]
        if value is not None:
            # Several alternatives are told apart by their kind of value; a single one may be checked further.
            yield from _values(value, fitting[0] if len(fitting) == 1 else _alternative(value, fitting), place)
    elif origin is Literal:
        yield place, value, arguments
    elif isinstance(value, Mapping):
        inner = arguments[1] if len(arguments) == 2 else Any
        for key, item in value.items():
            yield from _values(item, inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        inner = arguments[0] if arguments else Any
        if inner is float and set(map(type, value)) <= {float, int} and all(map(math.isfinite, value)):
            return  # statistics have a number per dimension
        for number, item in enumerate(value):
            yield from _values(item, inner, f"{place}.{number}")
    else:
        yield place, value, None


def _alternative(value: Any, hints: list[Any]) -> Any:
    """The alternative of a union that a value belongs to: that with a range for numbers, else the first for others."""
    ranged = [hint for hint in hints if get_origin(hint) is Annotated]
    return ranged[0] if ranged and isinstance(value, NUMBERS) else Any


def _reason(value: Any, allowed: Any) -> str:
    """What would be right instead; empty where the value is."""
    if isinstance(allowed, Within):
        return "" if value in allowed else f"a number {allowed}"
    if isinstance(allowed, tuple):
        if value in allowed:
            return ""
        choices = [str(choice) for choice in allowed]
        return guess(value, choices, "one of ")
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    return ""
