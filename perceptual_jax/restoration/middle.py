"""A batch's search in its middle: what has to be kept to go on from there, and when."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from perceptual_jax.restoration.search import join_traces
from perceptual_jax.types import LossTerms, SearchState


class Middle(NamedTuple):
    """Where a search is; all arrays are on the host, with a leading axis n."""

    taken: int
    """Steps so far, in all stages."""
    leaves: Sequence[np.ndarray]
    """Of the `SearchState`, in the order of `jax.tree.leaves`."""
    terms: Sequence[np.ndarray]
    """Of the `LossTerms`: each has [n taken]."""

    def state(self, *, like: SearchState) -> SearchState:
        """The state, on the devices that hold `like`, which is one of the same stage."""
        arrays, tree = jax.tree.flatten(like)
        pairs = zip(self.leaves, arrays, strict=True)
        return jax.tree.unflatten(tree, [jax.device_put(x, y.sharding) for x, y in pairs])

    def trace(self) -> LossTerms:
        """The terms at each step so far."""
        return LossTerms(*map(jax.numpy.asarray, self.terms))


@runtime_checkable
class Keeper(Protocol):
    """Keeps searches in their middle, see `jobs.resume`."""

    @property
    def every(self) -> int:
        """Steps between two times that a search is kept."""
        ...

    def load(self, rows: Sequence[int]) -> Middle | None:
        """Where the search for these images of the batch is; None: at its beginning."""
        ...

    def save(self, rows: Sequence[int], middle: Middle) -> None:
        """Keeps where it is."""
        ...


class Kept:
    """A keeper for the images of one micro-batch, asked only when it is time to."""

    def __init__(self, keeper: Keeper, rows: Sequence[int]):
        """Loads nothing yet.

        Args:
            keeper: Of the whole batch.
            rows: The images of the micro-batch.
        """
        self._keeper, self._rows, self._saved = keeper, rows, 0

    def load(self) -> Middle | None:
        """Where the search is; None: at its beginning."""
        middle = self._keeper.load(self._rows)
        self._saved = 0 if middle is None else middle.taken
        return middle

    def note(self, taken: int, state: SearchState, traces: Sequence[LossTerms]) -> None:
        """Keeps the search where it is, if enough steps were taken since the last time."""
        if taken - self._saved >= self._keeper.every:
            parts = jax.device_get((jax.tree.leaves(state), tuple(join_traces(traces, axis=1))))
            self._keeper.save(self._rows, Middle(taken, *parts))
            self._saved = taken
