"""What stands for the things in a file that is read without being run, and why one is refused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.checkpoints.catalogue import WeightsError


class CheckpointError(WeightsError):
    """A checkpoint cannot be read; the message is one sentence for the user."""


class UnsafeCheckpointError(CheckpointError):
    """A file asks for something that reading numbers does not need."""


class DamagedCheckpointError(CheckpointError):
    """A file contradicts itself, or ends too early."""


class UnknownFormatError(CheckpointError):
    """A file is no checkpoint of a known format."""


class Name(NamedTuple):
    """A name of Python's that a file mentions; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        """With its module, as a message can have it."""
        text = f"{self.module}.{self.name}"
        return text if text.isprintable() and len(text) <= _LONGEST else told(text)


_LONGEST = 100
"""Characters of a file's own words in a message."""


def told(value: Any) -> str:
    """A value of a file's as a message names it: on one line, printable, and short.

    A container is told by its type unless it is a short tuple of plain values: it may contain
    itself, or each of a few lists may contain the next one twice.

    >>> told("a" * 200) == repr("a" * 100) + "..."
    True
    >>> told((3, -1)), told([[]])
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
        return f"({', '.join(map(told, value))}{',' * (len(value) == 1)})"
    return f"a {type(value).__name__}"


class Instance:
    """What stands for an object of a class: its class, its arguments, its state."""

    def __init__(self, kind: Name, args: tuple[Any, ...] = ()):
        """Calls nothing."""
        self.kind, self.args = kind, args
        self.state: Any = None

    def set_state(self, state: Any) -> None:
        """Keeps what the object's state was."""
        self.state = state

    def __repr__(self) -> str:
        """The name of the class only: the state may contain the object itself."""
        return f"Instance({self.kind})"


Maker = Callable[..., Any]
"""Makes an inert value of the `Budget` of the file and a call's arguments."""


def instance_of(name: Name) -> Maker:
    """Makes `Instance`s of the class of this name."""
    return lambda _, *args: Instance(name, args)


class Network(NamedTuple):
    """One network of a file, flat."""

    arrays: dict[str, np.ndarray]
    """By the file's own names, in the file's own types."""
    attributes: dict[str, Any]
    """Plain values that the file has of the network and its layers, by dotted name."""
    kind: str
    """Its class or build function; `state_dict` where the file does not say."""
