"""Frozen dataclasses whose fields are checked against their annotations when they are built.

The range of a number is part of its annotation. An error names the field, the expected values and
the given one.
"""

import dataclasses
import math
import typing
from typing import Annotated, Any, Literal, NamedTuple

from perceptual_jax.errors import UsageError


class ConfigError(UsageError):
    """A setting that does not exist or has an invalid value."""


class Range(NamedTuple):
    """The finite numbers from `low` (exclusive if `open`) to `high`."""

    low: float
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: object) -> bool:
        """Whether `value` is a finite number in the range."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return self.low <= value <= self.high and not (self.open and value == self.low)

    def __str__(self) -> str:
        """The range in words that can follow "a number"."""
        if self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"


NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open=True)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0)]
Size = Annotated[int, Range(1)]


class Checked:
    """Base class of the configs; building one checks every field against its annotation."""

    def __post_init__(self) -> None:
        """Checks every field, and converts integers in fields of floats."""
        table = type(self).__name__.removesuffix("Config").lower()
        where = "" if table == "restore" else f"{table}."
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            value = checked_value(hint, getattr(self, name), where + name)
            object.__setattr__(self, name, value)


def checked_value(hint: Any, value: Any, path: str) -> Any:
    """Checks a value against a type hint and returns it, as a float where the hint is one.

    Raises:
        ConfigError: If the value does not match; the message names the field `path`.
    """
    expected: list[str] = []
    options = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    for option in options:
        if typing.get_origin(option) is Literal:
            expected += map(repr, typing.get_args(option))
            if value in typing.get_args(option):
                return value
            continue
        base, *ranges = typing.get_args(option) or (option,)
        allowed = (int, float) if base is float else (base,)
        if type(value) in allowed and all(value in r for r in ranges):
            return base(value) if base is float else value
        name = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
        expected.append(" ".join([name.get(base, base.__name__), *map(str, ranges)]))
    raise ConfigError(f"{path} must be {' or '.join(expected)}, got {value!r}")


def from_dict(cls: type, values: dict[str, Any], *, where: str = "") -> Any:
    """Builds the dataclass `cls` from nested dicts.

    Raises:
        ConfigError: If a key is unknown (the message lists the valid ones) or a value is invalid.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        table = f"[{where}]" if where else "the top level"
        raise ConfigError(
            f"unknown key {unknown[0]!r} in {table}; valid keys are {', '.join(sorted(hints))}"
        )
    fields = {}
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if not dataclasses.is_dataclass(hints[name]):
            fields[name] = checked_value(hints[name], value, path)
        elif isinstance(value, dict):
            fields[name] = from_dict(hints[name], value, where=path)
        else:
            raise ConfigError(f"{path} must be a table, got {value!r}")
    return cls(**fields)
