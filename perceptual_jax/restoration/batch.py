"""Many images at once: vmap + jit over a fixed batch, on all local devices, with progress.

The images go through in micro-batches of one fixed size, the last one padded, so that everything
compiles once for each shape of input. With several devices the batch axis is sharded over a mesh;
images are independent, so no device waits for another. A search runs in pieces of a few
steps, after each of which `on_progress` is called.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key

from perceptual_jax.restoration import search as one
from perceptual_jax.restoration.objective import Stage, render
from perceptual_jax.restoration.run import Functions, Snapshot, join_traces, run
from perceptual_jax.restoration.search import Search
from perceptual_jax.types import Given, Latents, Noise, Restoration, SearchState, Terms

NoiseBatch = tuple[Float[Array, "n _ _"], ...]


class Progress(NamedTuple):
    """The progress of a micro-batch after a piece of its search."""

    rows: Sequence[int]
    """Indices into the batch of the micro-batch's images; the last one may be repeated."""
    share: float
    """Fraction of the work of the whole batch that is done, in [0, 1]."""
    step: int
    """Steps taken, in all stages."""
    state: SearchState
    """State of every search after this step."""
    traces: Sequence[Any]
    """Terms at each step so far, piece by piece."""
    search: Search
    """The search, on the devices."""

    @property
    def steps(self) -> int:
        """Steps of the whole search, in all stages."""
        return sum(stage.steps for stage in self.search.stages)

    def drafts(self, count: int, resolution: int) -> Float[np.ndarray, "n r r 3"]:
        """The first pictures of the micro-batch as the search has them now, on the host.

        They are drafts under the generator's own noise, whatever noise the search has.

        Args:
            count: Number of pictures, at most that of the rows.
            resolution: Pixels of a side, at most the generator's.
        """
        return np.asarray(_drafts(self.search, self.state.latents, count, resolution))

    def snapshot(self) -> Snapshot:
        """All that is needed to resume from here, on the host, with a leading axis of rows."""
        leaves, trace = jax.device_get((jax.tree.leaves(self.state), join_traces(self.traces)))
        return Snapshot(self.step, leaves, trace)


def run_batch(
    search: Search,
    given: Given,
    keys: Key[Array, " n"],
    *,
    latents: Latents | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    resume: Callable[[Sequence[int]], Snapshot | None] | None = None,
) -> Restoration:
    """Restores a batch of images of one size, or of one canvas.

    The same batch in the same order gives the same bits on the same device type. Otherwise a result
    depends on its image, its key and the search up to rounding: matrix products may sum a row in
    another order when it stands elsewhere in the batch or the batch has another size. A search
    amplifies rounding, so a long one can end at another, equally good result
    (`scripts/batch_dependence.py` measures how far).

    Args:
        search: A search, from `presets.build_search` or built directly.
        given: The degraded images: aligned face crops, with a leading axis n.
        keys: One PRNG key for each image; consumed.
        latents: Latents to start from, with a leading axis n, see `run`.
        batch_size: Images searched at once, rounded up to whole devices; all of them if None.
        on_progress: Called after each piece of each micro-batch; what it raises ends the search.
        resume: Maps the rows of a micro-batch to the snapshot that its search resumes from. None,
            or a function that returns None, starts at the first step.

    Returns:
        The restorations, with a leading axis n on every array, on the host.

    Raises:
        ValueError: If there are no images, or not one key for each.
    """
    n = len(given.image)
    if n == 0 or len(keys) != n:
        raise ValueError(f"expected at least one image and one key for each, got {n}, {len(keys)}")
    devices = jax.local_devices()
    size = math.ceil(min(batch_size or n, n) / len(devices)) * len(devices)
    mesh = jax.make_mesh((len(devices),), ("images",), (AxisType.Auto,), devices=devices)
    by_image, everywhere = (NamedSharding(mesh, PartitionSpec(*p)) for p in (["images"], []))
    search = jax.device_put(search, everywhere)
    results = []
    starts = range(0, n, size)
    for done, start in enumerate(starts):
        # The last image stands in for those that are missing from the last micro-batch.
        rows = np.minimum(np.arange(start, start + size), n - 1)
        own, initial = jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], (given, latents))
        own, initial, row_keys = jax.device_put((own, initial, keys[rows]), by_image)

        def report(
            step: int,
            state: SearchState,
            traces: Sequence[Any],
            rows: Sequence[int] = tuple(rows.tolist()),
            done: int = done,
        ) -> None:
            if on_progress is not None:
                fraction = (done + fraction_done(search.stages, step)) / len(starts)
                on_progress(Progress(rows, fraction, step, state, traces, search))

        result = run(
            search,
            own,
            row_keys,
            functions=_COMPILED,
            latents=initial,
            piece_of=piece_of,
            resume=None if resume is None else resume(rows.tolist()),
            on_piece=report,
        )
        results.append(jax.tree.map(lambda x, stop=n - start: x[:stop], jax.device_get(result)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def piece_of(stage: Stage, *, longest: int = 10) -> int:
    """Length of the pieces of a stage: the largest divisor of its steps up to `longest`.

    All pieces have one length, because each length is compiled. A stage whose divisor is below 3
    is one piece, and each round of a corrected stage is one.

    Example:
        >>> import optax
        >>> [piece_of(Stage(128, steps, (), optax.sgd(1.0))) for steps in (100, 24, 13)]
        [10, 8, 13]
    """
    if stage.correct_every:
        return stage.correct_every
    steps = stage.steps
    piece = max(p for p in range(1, longest + 1) if steps % p == 0)
    return piece if piece > 2 else steps


def fraction_done(stages: Sequence[Stage], step: int) -> float:
    """Fraction of a search's work that is done after `step` steps, by resolution rendered.

    Example:
        >>> import optax
        >>> draft = Stage(128, 10, (), optax.sgd(1.0))
        >>> fraction_done((draft, draft), 5)
        0.25
    """
    done, begin = 0, 0
    for stage in stages:
        done += min(max(step - begin, 0), stage.steps) * stage.resolution
        begin += stage.steps
    return done / sum(stage.steps * stage.resolution for stage in stages)


@jax.jit
def _init(search: Search, keys: Key[Array, " n"]) -> tuple[SearchState, NoiseBatch]:
    return jax.vmap(one.init, (None, 0))(search, keys)


@functools.partial(jax.jit, static_argnames="stage")
def _enter(search: Search, stage: Stage, state: SearchState) -> SearchState:
    return jax.vmap(lambda state: one.enter(search, stage, state))(state)


@functools.partial(jax.jit, static_argnames=("stage", "steps"), donate_argnames="state")
def advance_batch(
    search: Search, stage: Stage, given: Given, noise: NoiseBatch, state: SearchState, steps: int
) -> tuple[SearchState, Terms]:
    """`search.advance` for a batch, compiled; the state is consumed."""

    def advance(given: Given, noise: Noise, state: SearchState) -> Any:
        return one.advance(search, stage, given, noise, state, steps)

    return jax.vmap(advance)(given, noise, state)


@jax.jit
def _finish(
    search: Search, given: Given, noise: NoiseBatch, state: SearchState, trace: Terms
) -> Restoration:
    return jax.vmap(one.finish, (None, 0, 0, 0, 0))(search, given, noise, state, trace)


@functools.partial(jax.jit, static_argnames=("count", "resolution"))
def _drafts(
    search: Search, latents: Latents, count: int, resolution: int
) -> Float[Array, "n r r 3"]:
    generator = search.generator

    def draft(latents: Latents) -> Float[Array, "r r 3"]:
        maps = generator.noise_maps()
        return render(generator, search.whitening, latents, maps, resolution, search.features)

    return jax.vmap(draft)(jax.tree.map(lambda x: x[:count], latents))


def _advance(*args: Any) -> tuple[SearchState, Any]:
    """Waits for the piece, so that progress is reported only once its steps are taken."""
    state, trace = advance_batch(*args)
    return state, jax.device_get(trace)


_COMPILED = Functions(_init, _enter, _advance, _finish)
