"""Many images at once: vmap + jit over a fixed batch, on all local devices, with progress.

The images go through in micro-batches of one fixed size, the last one padded, so that everything
compiles once for each shape of input. With several devices the batch axis is sharded over a mesh;
images are independent, so no device waits for another. A search is taken in pieces of a few
steps, between which the caller hears of the progress.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from perceptual_jax.config import PriorConfig, RestoreConfig
from perceptual_jax.degradation.jpeg import JpegHeader, unknown_header
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.prior import Prior, make_prior
from perceptual_jax.restoration import search
from perceptual_jax.restoration.middle import Keeper, Kept
from perceptual_jax.restoration.search import Searcher, join_traces
from perceptual_jax.restoration.stages import Stage, stages
from perceptual_jax.restoration.terms import Given
from perceptual_jax.types import Generator, LossTerms, Noise, Restoration, SearchState

NoiseBatch = tuple[Float[Array, "n _ _"], ...]

PRIOR_SEED = 0
"""Of the prior bank: one bank for everybody, so that no result depends on its batch."""

BYTES_PER_PIXEL = 1700
"""Of a search at full resolution, for one image in float32, forward and backward. At 1024 px
StyleGAN2 was measured to need 1.7 GB of temporary memory, MobileStyleGAN 1.0 GB."""


def restore_batch(
    generator: Generator,
    degraded: Float[np.ndarray | Array, "n h w 3"],
    config: RestoreConfig,
    *,
    keys: Key[Array, " n"],
    headers: JpegHeader | None = None,
    sides: Int[np.ndarray, " n"] | None = None,
    likelihood: Likelihood | None = None,
    prior: Prior | None = None,
    batch_size: int | None = None,
    progress: Callable[[float], None] | None = None,
    keeper: Keeper | None = None,
) -> Restoration:
    """Restores a batch of images of one size.

    A result depends on its image, its key, the config and the generator only: not on the batch,
    the order or the padding, up to the rounding of another batch size (1e-5 on CPU).

    Args:
        generator: Any generator, see `types.Generator`.
        degraded: Aligned face crops in FFHQ framing, in [-1, 1].
        config: What to do.
        keys: One for each image; consumed.
        headers: Of the JPEGs that the images come from, with a leading axis n; None if unknown.
        sides: Pixels of the part of each image that is filled, see `terms.Given`; None: all.
        likelihood: A learned data term, see `likelihood.models.load_model`.
        prior: From `make_prior`, to make it once for many batches; made here if None.
        batch_size: Images searched at once, rounded up to whole devices; by memory if None.
        progress: Called now and then with the share of this call's work that is done.
        keeper: Of searches in their middle; without one, each begins at its beginning.

    Returns:
        The restorations, with a leading axis n on every array, on the host.

    Raises:
        ValueError: If there are no images, or not one key for each.
    """
    n = len(degraded)
    if n == 0 or len(keys) != n:
        raise ValueError(f"expected at least one image and one key for each, got {n}, {len(keys)}")
    devices = jax.local_devices()
    size = batch_size or default_batch_size(generator, config)
    size = math.ceil(min(size, n) / len(devices)) * len(devices)
    if prior is None:
        prior = default_prior(generator, config.prior)
    mesh = jax.make_mesh((len(devices),), ("images",), (AxisType.Auto,), devices=devices)
    by_image, everywhere = (NamedSharding(mesh, PartitionSpec(*p)) for p in (["images"], []))
    if likelihood is not None:
        every = config.data.nll_rows if likelihood.config.injection == "late" else 1
        likelihood = dataclasses.replace(
            likelihood, min_log_scale=config.data.min_log_scale, every=every
        )
    unknown = JpegHeader(*(np.broadcast_to(x, (n, *np.shape(x))) for x in unknown_header()))
    known = unknown if headers is None else headers
    searcher = jax.device_put(Searcher(generator, prior, likelihood), everywhere)
    results = []
    starts = range(0, n, size)
    for done, start in enumerate(starts):
        # The last image stands in for those that are missing from the last micro-batch.
        rows = np.minimum(np.arange(start, start + size), n - 1)
        own = JpegHeader(*(np.asarray(x)[rows] for x in known))
        side = None if sides is None else jnp.asarray(sides)[rows]
        given = Given(jnp.asarray(degraded)[rows], own, side)
        given = jax.device_put(given, by_image)
        row_keys = jax.device_put(keys[rows], by_image)

        def report(share: float, done: int = done) -> None:
            if progress is not None:
                progress((done + share) / len(starts))

        keep = None if keeper is None else Kept(keeper, rows.tolist())
        result = jax.device_get(_restore(searcher, given, config, row_keys, report, keep))
        results.append(jax.tree.map(lambda x, stop=n - start: x[:stop], result))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def default_prior(generator: Generator, config: PriorConfig) -> Prior:
    """The prior of `restore_batch` when none is given: the same one every time."""
    make = jax.jit(make_prior, static_argnames="config")
    return make(generator, config=config, key=jax.random.key(PRIOR_SEED))


def default_batch_size(generator: Generator, config: RestoreConfig) -> int:
    """How many images fit into half of the memory of all local devices, at most 64 on each.

    On CPU, 4.
    """
    resolution = generator.resolution if config.finish.steps or not config.search.draft else 512
    per_image = BYTES_PER_PIXEL * resolution**2 * (0.5 if config.dtype == "bfloat16" else 1.0)
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    if device.platform == "cpu" or "bytes_limit" not in statistics:
        return 4
    fitting = int(statistics["bytes_limit"] / 2 / per_image)
    return max(1, min(fitting, 64)) * len(jax.local_devices())


def _restore(
    searcher: Searcher,
    given: Given,
    config: RestoreConfig,
    keys: Key[Array, " n"],
    report: Callable[[float], None],
    kept: Kept | None,
) -> Restoration:
    """`search.restore` for one micro-batch, in pieces."""
    plan = stages(config, searcher.generator.resolution, max(given.image.shape[1:3]))
    cost = [stage.steps * stage.resolution for stage in plan]
    state, noise = _init(searcher, config, keys)
    middle = None if kept is None else kept.load()
    traces = [] if middle is None else [middle.trace()]
    skipped = 0 if middle is None else middle.taken
    before = 0
    for i, stage in enumerate(plan):
        if before + stage.steps < skipped:  # what comes after goes on from a later state
            before += stage.steps
            continue
        state = _enter(state, searcher, config, stage)
        if middle is not None and before < skipped:
            state = middle.state(like=state)
        piece = piece_of(stage.steps)
        for taken in range(max(skipped - before, 0), stage.steps, piece):
            state, trace = _advance(state, given, noise, searcher, config, stage, piece)
            traces.append(jax.device_get(trace))
            if kept is not None:
                kept.note(before + taken + piece, state, traces)
            report((sum(cost[:i]) + (taken + piece) * stage.resolution) / sum(cost))
        before += stage.steps
    trace = join_traces(traces, axis=1)
    return _finish(state, given, noise, trace, searcher, config)


def piece_of(steps: int, *, longest: int = 10) -> int:
    """The longest piece, up to `longest`, that divides `steps`; all of them if it is under 3.

    Pieces of one length, because each length is compiled.

    Example:
        >>> piece_of(100), piece_of(24), piece_of(13)
        (10, 8, 13)
    """
    piece = max(p for p in range(1, longest + 1) if steps % p == 0)
    return piece if piece > 2 else steps


@functools.partial(jax.jit, static_argnames="config")
def _init(
    searcher: Searcher, config: RestoreConfig, keys: Key[Array, " n"]
) -> tuple[SearchState, NoiseBatch]:
    return jax.vmap(lambda key: search.init(searcher, config, key))(keys)


@functools.partial(jax.jit, static_argnames=("config", "stage"))
def _enter(
    state: SearchState, searcher: Searcher, config: RestoreConfig, stage: Stage
) -> SearchState:
    return jax.vmap(lambda one: search.enter(one, searcher, config, stage))(state)


@functools.partial(jax.jit, static_argnames=("config", "stage", "steps"), donate_argnames="state")
def _advance(
    state: SearchState,
    given: Given,
    noise: NoiseBatch,
    searcher: Searcher,
    config: RestoreConfig,
    stage: Stage,
    steps: int,
) -> tuple[SearchState, LossTerms]:
    def one(state: SearchState, given: Given, noise: Noise):
        return search.advance(state, given, noise, searcher, config, stage, steps)

    return jax.vmap(one)(state, given, noise)


@functools.partial(jax.jit, static_argnames="config")
def _finish(
    state: SearchState,
    given: Given,
    noise: NoiseBatch,
    trace: LossTerms,
    searcher: Searcher,
    config: RestoreConfig,
) -> Restoration:
    def one(state: SearchState, given: Given, noise: Noise, trace: LossTerms) -> Restoration:
        return search.finish(state, given, noise, trace, searcher, config)

    return jax.vmap(one)(state, given, noise, trace)
