"""The stages of a search one after the other, for one image or for a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.prior.prior import points_of
from perceptual_jax.restoration.objective import Stage
from perceptual_jax.restoration.search import Search, advance, enter, finish, init
from perceptual_jax.types import Given, Latents, Restoration, SearchState, Terms


class Functions(NamedTuple):
    """The parts of a search as `run` calls them: for one image, or compiled for a batch."""

    init: Callable[..., Any] = init
    enter: Callable[..., Any] = enter
    advance: Callable[..., Any] = advance
    finish: Callable[..., Any] = finish


class Snapshot(NamedTuple):
    """A search between two steps, from which it can be resumed."""

    step: int
    """Steps taken, in all stages."""
    leaves: Sequence[Any]
    """Arrays of the `SearchState`, in the order of `jax.tree.leaves`."""
    trace: Mapping[str, Any]
    """Terms of all steps so far."""


@runtime_checkable
class OnPiece(Protocol):
    """A callback after each piece of a stage."""

    def __call__(self, step: int, state: SearchState, traces: Sequence[Any]) -> None:
        """Receives the steps taken, the state after them, and the terms of each piece's steps."""
        ...


def run(
    search: Search,
    given: Given,
    key: Key[Array, "..."],
    *,
    functions: Functions = Functions(),  # noqa: B008 - immutable
    latents: Latents | None = None,
    piece_of: Callable[[Stage], int] = lambda stage: stage.steps,
    resume: Snapshot | None = None,
    on_piece: OnPiece | None = None,
) -> Restoration:
    """Restores one image, as one pure function; or a batch, if `functions` are vmapped.

    Args:
        search: The search.
        given: A degraded image; an aligned face crop.
        key: PRNG key; consumed.
        functions: The parts of the search; `batch` passes them vmapped and compiled.
        latents: Latents to start from instead of the search's own start, see `latents_of`.
        piece_of: Maps a stage to the steps of each of its pieces, a divisor of its steps.
        resume: The snapshot to resume from; not under `jax.jit`.
        on_piece: Called after each piece; not under `jax.jit`.

    Example:
        A batch: ``jax.jit(jax.vmap(run, (None, 0, 0)))(search, given, keys)``. `batch.run_batch`
        adds several devices, progress and snapshots.
    """
    state, noise = functions.init(search, key)
    if latents is not None:
        state = state._replace(latents=latents, best=latents)
    traces: list[Any] = [] if resume is None else [dict(resume.trace)]
    done, end = 0 if resume is None else resume.step, 0
    for stage in search.stages:
        begin, end = end, end + stage.steps
        if end < done:  # The snapshot was taken in a later stage.
            continue
        state = functions.enter(search, stage, state)
        if resume is not None and begin < done:
            state = _with_leaves(state, resume.leaves)
        piece = piece_of(stage)
        for taken in range(max(begin, done), end, piece):
            state, trace = functions.advance(search, stage, given, noise, state, piece)
            traces.append(trace)
            if on_piece is not None:
                on_piece(taken + piece, state, traces)
    return functions.finish(search, given, noise, state, join_traces(traces))


def latents_of(
    search: Search,
    styles: Float[Array, "k d"],
    offset: Float[Array, "r r c"] | None = None,
    *,
    noise: tuple[Float[Array, "..."], ...] = (),
) -> Latents:
    """The latents of an earlier result, from which a search can go on.

    Args:
        search: The search that goes on.
        styles: Styles of the result.
        offset: Its offset of features, if the search moves features; None starts them at 0.
        noise: Its noise maps, as many as the search moves.

    Raises:
        ValueError: If the search moves no features of the offset's shape.
    """
    points, space = points_of(styles, search.whitening), search.features
    if space is None:
        if offset is not None:
            raise ValueError(
                "the result has an offset of features, which this search does not move"
            )
        return Latents(points, noise)
    features = space.zeros()
    if offset is not None:
        if offset.shape != features.shape:
            raise ValueError(
                f"the search moves features of shape {features.shape}, got {offset.shape}; "
                "set features.resolution to that of the result"
            )
        features = space.standardized(offset)
    return Latents(points, noise, features)


def join_traces(traces: Sequence[Any]) -> Terms:
    """Concatenates the traces of successive pieces along the axis of steps, the last one."""
    return jax.tree.map(lambda *pieces: jnp.concatenate(pieces, axis=-1), *traces)


def _with_leaves(like: SearchState, leaves: Sequence[Any]) -> SearchState:
    """A state made of `leaves`, with the structure and the sharding of `like`."""
    examples, tree = jax.tree.flatten(like)
    placed = [jax.device_put(x, y.sharding) for x, y in zip(leaves, examples, strict=True)]
    return jax.tree.unflatten(tree, placed)
