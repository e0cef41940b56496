"""The search for ONE image: init, step, finish. `jax.vmap` makes the batch.

A search is a sequence of stages that share their latents: the first look at drafts, the last one
(the finish) at the full-resolution picture with a heavier data term. A stage is one `lax.scan`
over `step`:

    state, noise = init(key)
    for stage in stages(config):
        state = enter(state, stage)
        state, trace = advance(state, stage, steps)     # scan of: gradient, Adam, sphere
    restoration = finish(state, traces)

Everything is pure, and nothing raises inside: an image whose loss stops being finite keeps its
best state and gets a `Status`.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from perceptual_jax.config import RestoreConfig
from perceptual_jax.generator.mapping import truncate
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.prior import Prior, points_of, styles_of
from perceptual_jax.prior.sphere import Sphere, keep_on_sphere, project_to_sphere
from perceptual_jax.restoration.objective import Problem, Weights, objective, render
from perceptual_jax.restoration.stages import Stage, learning_rate_share, stages
from perceptual_jax.restoration.terms import Given, fit_of, prepare
from perceptual_jax.types import (
    Generator,
    Latents,
    LossTerms,
    Noise,
    Restoration,
    SearchState,
    Status,
)


class Searcher(NamedTuple):
    """What a step needs besides its state: arguments that are the same for all images."""

    generator: Generator
    prior: Prior
    likelihood: Likelihood | None = None
    """A learned data term, beside the one on pixels."""


def init(
    searcher: Searcher, config: RestoreConfig, key: Key[Array, ""]
) -> tuple[SearchState, Noise]:
    """The start of one image's search.

    Args:
        searcher: Generator and prior.
        config: Start, sphere and noise.
        key: Consumed. The same key gives the same start, whatever the batch.

    Returns:
        The state before the first stage, and all noise maps of this image.
    """
    points_key, noise_key = jax.random.split(key)
    points = _start(searcher, config, points_key)
    radius = _radius(searcher.prior, config)
    if not isinstance(radius, str):
        points = jnp.where(jnp.isinf(radius), points, project_to_sphere(points, radius))
    noise = list(searcher.generator.noise_maps(noise_key, mode=config.noise.mode))
    if config.noise.zero_last:
        noise[-1] = jnp.zeros_like(noise[-1])
    latents = Latents(points, tuple(noise[: config.noise.trainable]))
    nothing = jnp.float32(jnp.inf)
    state = SearchState(
        latents=latents,
        optimizer=None,
        best=latents,
        best_terms=LossTerms(*[nothing] * len(LossTerms._fields)),
        best_step=jnp.int32(0),
        step=jnp.int32(0),
        status=jnp.int32(Status.OK),
    )
    return state, tuple(noise)


def enter(
    state: SearchState, searcher: Searcher, config: RestoreConfig, stage: Stage
) -> SearchState:
    """The state at the first step of a stage.

    Losses of different stages cannot be compared, so "best" starts anew. A fresh stage goes on
    from the best state of the stage before, with a new optimiser.
    """
    state = state._replace(
        best_terms=jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), state.best_terms)
    )
    if not stage.fresh:
        return state._replace(best=state.latents)
    optimizer = _optimizer(searcher.prior, config, stage).init(state.best)
    return state._replace(latents=state.best, optimizer=optimizer)


def step(
    state: SearchState, problem: Problem, searcher: Searcher, config: RestoreConfig, stage: Stage
) -> tuple[SearchState, LossTerms]:
    """One step: evaluate where the search stands, keep it if it is the best so far, move on.

    Where the loss or its gradient is not finite, the search of this image stands still for good.
    """

    def loss(latents: Latents) -> tuple[Float[Array, ""], LossTerms]:
        return objective(
            latents,
            generator=searcher.generator,
            prior=searcher.prior,
            problem=problem,
            likelihood=searcher.likelihood,
            config=config,
            weights=Weights(
                data=stage.data_weight,
                nll=stage.nll_weight,
                cross=config.prior.cross_weight,
                mmd2=config.prior.mmd_weight,
            ),
            resolution=stage.resolution,
            moving=searcher.generator.num_seen_styles(stage.resolution),
        )

    gradient, terms = jax.grad(loss, has_aux=True)(state.latents)
    finite = jnp.isfinite(optax.tree.norm(gradient)) & jnp.isfinite(terms.total)
    running = finite & (state.status == Status.OK)
    better = running & (terms.total < state.best_terms.total)
    optimizer = _optimizer(searcher.prior, config, stage)
    updates, moments = optimizer.update(gradient, state.optimizer, state.latents)
    next_state = SearchState(
        latents=_select(running, optax.apply_updates(state.latents, updates), state.latents),
        optimizer=_select(running, moments, state.optimizer),
        best=_select(better, state.latents, state.best),
        best_terms=_select(better, terms, state.best_terms),
        best_step=jnp.where(better, state.step, state.best_step),
        step=state.step + 1,
        status=jnp.where(finite, state.status, jnp.int32(Status.NOT_FINITE)),
    )
    return next_state, terms


def advance(
    state: SearchState,
    given: Given,
    noise: Noise,
    searcher: Searcher,
    config: RestoreConfig,
    stage: Stage,
    steps: int,
) -> tuple[SearchState, LossTerms]:
    """Takes `steps` steps of a stage.

    Args:
        state: From `enter` or an earlier `advance` of the same stage.
        given: The degraded image.
        noise: From `init`.
        searcher: Generator and prior.
        config: Of the whole search.
        stage: The stage.
        steps: How many; a stage may be taken in pieces.

    Returns:
        The state after, and the unweighted terms at each step.
    """
    targets = prepare(given, searcher.likelihood, config, stage.resolution)
    problem = Problem(given, targets, noise)

    def body(state: SearchState, _: None) -> tuple[SearchState, LossTerms]:
        return step(state, problem, searcher, config, stage)

    return jax.lax.scan(body, state, None, length=steps)


def finish(
    state: SearchState,
    given: Given,
    noise: Noise,
    trace: LossTerms,
    searcher: Searcher,
    config: RestoreConfig,
) -> Restoration:
    """Renders the best state of the last stage at full resolution.

    Args:
        state: After the last stage.
        given: The degraded image.
        noise: From `init`.
        trace: Terms of all steps.
        searcher: Generator and prior.
        config: Of the whole search.
    """
    generator, prior = searcher.generator, searcher.prior
    image = render(generator, state.best, noise, prior, generator.resolution)
    image = jnp.clip(image, -1.0, 1.0)
    return Restoration(
        image=image,
        styles=styles_of(state.best.points, prior),
        noise=(*state.best.noise, *noise[len(state.best.noise) :]),
        terms=state.best_terms,
        trace=trace,
        best_step=state.best_step,
        status=state.status,
        fit=fit_of(given, image, searcher.likelihood, config),
    )


def restore(
    searcher: Searcher,
    given: Given,
    config: RestoreConfig,
    key: Key[Array, ""],
) -> Restoration:
    """Restores one image: the whole search as one pure function.

    Args:
        searcher: Generator and prior.
        given: An aligned face crop in FFHQ framing, of any size.
        config: Static under `jit`.
        key: Consumed.

    Example:
        A batch, compiled: ``jax.jit(jax.vmap(restore, (None, 0, None, 0)), static_argnums=2)``.
        `batch.restore_batch` does this with micro-batches, several devices and progress.
    """
    state, noise = init(searcher, config, key)
    traces = []
    for stage in stages(config, searcher.generator.resolution, max(given.image.shape[:2])):
        state = enter(state, searcher, config, stage)
        state, trace = advance(state, given, noise, searcher, config, stage, stage.steps)
        traces.append(trace)
    return finish(state, given, noise, join_traces(traces), searcher, config)


def join_traces(traces: Sequence[LossTerms], axis: int = 0) -> LossTerms:
    """Traces of successive pieces as one, along the axis of steps."""
    return jax.tree.map(lambda *pieces: jnp.concatenate(pieces, axis=axis), *traces)


def _start(searcher: Searcher, config: RestoreConfig, key: Key[Array, ""]) -> Float[Array, "k d"]:
    """Where the search begins, in its own space."""
    generator, prior = searcher.generator, searcher.prior
    k, (d,) = generator.num_styles, generator.w_mean.shape
    draws = 1 if config.prior.start == "mean" or config.prior.tile else k
    if config.prior.start == "random" and prior.whitening is not None:
        return jnp.broadcast_to(jax.random.normal(key, (draws, d)), (k, d))
    w = jax.vmap(generator.mapping)(jax.random.normal(key, (draws, generator.z_dim)))
    if config.prior.start == "mean":
        w = truncate(w, generator.w_mean, psi=config.prior.spread)
    return points_of(jnp.broadcast_to(w, (k, d)), prior)


def _radius(prior: Prior, config: RestoreConfig) -> Float[Array, ""] | Literal["initial"]:
    """Radius of the sphere of each point: a number, infinity for none, or "initial"."""
    sphere = config.prior.sphere
    if sphere == "initial":
        return "initial"
    if sphere == "expected":
        return prior.expected_norm
    return jnp.float32(jnp.inf if sphere == "none" else sphere)


def _optimizer(prior: Prior, config: RestoreConfig, stage: Stage) -> optax.GradientTransformation:
    """Adam on the stage's cycle; each style and each trainable noise map stays on its sphere."""

    def rate(count: Any) -> Float[Array, ""]:
        share = learning_rate_share(count, stage.cycle, schedule=config.search.schedule)
        return stage.learning_rate * share

    points: Any = Sphere(_radius(prior, config))
    noise: Any = (Sphere(axis=(-2, -1)),) * config.noise.trainable
    spheres = Latents(points, noise)
    return optax.chain(
        optax.scale_by_adam(), optax.scale_by_learning_rate(rate), keep_on_sphere(spheres)
    )


def _select(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    """The first tree where the condition holds, else the second; NaNs of the other stay out."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
