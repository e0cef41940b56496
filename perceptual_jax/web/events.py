"""What the restoration of a request tells: events one after the other, the outcome last."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.errors import Error
from perceptual_jax.jobs.log import Record


class RestoreError(Error):
    """A request that is refused or cannot be fulfilled; the message is one sentence."""


class Cancelled(Error):
    """A request that its user has cancelled."""


class Waiting(NamedTuple):
    """The device is busy with the requests of others."""

    ahead: int
    """Number of requests that come first."""


class Note(NamedTuple):
    """A line for the user."""

    text: str


class Forming(NamedTuple):
    """A search has gone on by a piece."""

    step: int
    steps: int
    share: float
    """Fraction of the request that is done, in [0, 1]."""
    seconds_left: float | None
    """None as long as it cannot be told."""
    drafts: Sequence[UInt8[np.ndarray, "r r 3"]]
    """The first pictures of the search as they are now."""


class Map(NamedTuple):
    """A map over a picture, in grey."""

    label: str
    pixels: UInt8[np.ndarray, "h w 3"]
    legend: str
    """What the grey values mean."""


class Outcome(NamedTuple):
    """A restored picture."""

    before: UInt8[np.ndarray, "h w 3"]
    """The given picture, enlarged to the size of the result."""
    pictures: Sequence[Path]
    """The files of the results, one for each sample."""
    record: Record
    """The record of the picture; that of a photograph has those of its restored faces as
    `restored_faces`."""
    maps: Sequence[Map]


Event = Waiting | Note | Forming | Outcome
