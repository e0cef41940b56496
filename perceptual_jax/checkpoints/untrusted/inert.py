"""Inert values for the objects in a pickle that is read but never executed, and its errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.checkpoints.catalogue import WeightsError


class CheckpointError(WeightsError):
    """A checkpoint cannot be read; the message is one sentence for the user."""


class UnsafeCheckpointError(CheckpointError):
    """A file requires an operation that reading numbers does not need."""


class DamagedCheckpointError(CheckpointError):
    """A file is inconsistent or truncated."""


class UnknownFormatError(CheckpointError):
    """A file is not a checkpoint of a known format."""


class Name(NamedTuple):
    """A Python name that a file refers to; it is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        """The dotted name in a form that is safe in a message."""
        text = f"{self.module}.{self.name}"
        return text if text.isprintable() and len(text) <= _LONGEST else safe_repr(text)


_LONGEST = 100
"""Most characters of a file's own text in a message."""


def safe_repr(value: Any) -> str:
    """A value of a file in the form for a message: one line, printable, and short.

    A container is represented by its type unless it is a short tuple of plain values: it may
    contain itself, or each of a few lists may contain the next one twice.

    >>> safe_repr("a" * 200) == repr("a" * 100) + "..."
    True
    >>> safe_repr((3, -1)), safe_repr([[]])
    ('(3, -1)', 'a list')
    """
    if isinstance(value, Name):
        return str(value)
    if type(value) in (str, bytes):
        return repr(value[:_LONGEST]) + "..." * (len(value) > _LONGEST)
    plain = (int, float, bool, type(None))
    if type(value) in plain:
        return repr(value)
    if type(value) is tuple and len(value) <= 8 and all(type(v) in (*plain, str) for v in value):
        return f"({', '.join(map(safe_repr, value))}{',' * (len(value) == 1)})"
    return f"a {type(value).__name__}"


class Instance:
    """An inert stand-in for an object: the name of its class, its arguments, and its content."""

    def __init__(self, kind: Name, args: tuple[Any, ...] = ()):
        """Stores name and arguments; nothing is called."""
        self.kind, self.args = kind, args
        self.state: Any = None
        self.entries: dict[Any, Any] = {}
        """Items of an object whose class derives from dict."""
        self.listed: list[Any] = []
        """Items of an object whose class derives from list."""

    def set_state(self, state: Any) -> None:
        """Stores the state of the object."""
        self.state = state

    def __repr__(self) -> str:
        """The name of the class only: the state may contain the object itself."""
        return f"Instance({self.kind})"


Maker = Callable[..., Any]
"""Makes an inert value from the `Budget` of the file and the arguments of a call."""


def instance_of(name: Name) -> Maker:
    """A maker of `Instance`s of the class of this name."""
    return lambda _, *args: Instance(name, args)


def as_dict(value: Any) -> dict[Any, Any] | None:
    """The items of a dict, or of an object whose class derives from dict; None for others."""
    if type(value) is dict:
        return value
    return value.entries if isinstance(value, Instance) and value.entries else None


class Network(NamedTuple):
    """One network of a file, with its nested layers flattened."""

    arrays: dict[str, np.ndarray]
    """Arrays by the names and in the types of the file."""
    attributes: dict[str, Any]
    """Plain values that the file stores for the network and its layers, by dotted name."""
    kind: str
    """Name of its class or build function; `state_dict` where the file has none."""
