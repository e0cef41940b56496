"""The search for ONE image: init, enter, step, finish. `jax.vmap` makes the batch.

A search is a sequence of stages that share their latents: the first ones render drafts, the last
one the full-resolution picture with a heavier data term. A stage is one `lax.scan` over `step`:

    state, noise = init(search, key)
    for stage in search.stages:
        state = enter(search, stage, state)
        state, trace = advance(search, stage, given, noise, state, stage.steps)
    restoration = finish(search, given, noise, state, trace)

Its parts are functions passed in by the caller: data terms, prior terms, the start and the
optimiser of each stage. `presets` builds the searches of the configs. Everything is pure, and
nothing raises inside: an image whose loss stops being finite keeps its best state and gets a
`Status`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from perceptual_jax.prior.features import FeatureSpace
from perceptual_jax.prior.prior import styles_of
from perceptual_jax.prior.whitening import Whitening
from perceptual_jax.restoration.objective import (
    FeatureTerm,
    PriorTerm,
    Problem,
    Stage,
    correction,
    objective,
    render,
)
from perceptual_jax.types import (
    DataTerm,
    Generator,
    Given,
    Latents,
    Noise,
    Restoration,
    SearchState,
    Status,
    Terms,
)

Start = Callable[[Generator, Whitening | None, Key[Array, ""]], tuple[Latents, Noise]]
"""Function to one image's initial latents and all its noise maps; the key is consumed."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "generator",
        "whitening",
        "data_terms",
        "prior_terms",
        "measure",
        "features",
        "feature_terms",
        "project",
    ],
    meta_fields=["start", "stages"],
)
@dataclasses.dataclass(frozen=True)
class Search:
    """A whole search: an immutable pytree, the same for all images.

    The search depends on no name and no implementation of a term, a start or an optimiser.
    """

    generator: Generator
    """Renders the latents."""
    whitening: Whitening | None
    """The map to the space in which points are optimised; None is W itself."""
    data_terms: Mapping[str, DataTerm]
    """Data terms by name; pytrees."""
    prior_terms: Mapping[str, PriorTerm]
    """Prior terms by name; pytrees."""
    measure: Callable[[Given, Float[Array, "r r 3"]], Any]
    """Measures how well the final picture degrades to the given one; a pytree."""
    start: Start
    """The start of a search; static, so hashable and equal to any other that does the same."""
    stages: tuple[Stage, ...]
    """Stages in their order; static."""
    features: FeatureSpace | None = None
    """The space of the features that stages may move; a pytree. None leaves features out."""
    feature_terms: Mapping[str, FeatureTerm] = dataclasses.field(default_factory=dict)
    """Terms of the features by name; pytrees."""
    project: Callable[[Given, Float[Array, "r r 3"]], Float[Array, "r r 3"]] | None = None
    """Moves the final picture to what the degraded image allows; a pytree. None leaves it."""

    def replace_terms(
        self,
        *,
        data: Mapping[str, DataTerm] | None = None,
        prior: Mapping[str, PriorTerm] | None = None,
        weights: Mapping[str, float],
    ) -> "Search":
        """The same search with other terms, in all stages.

        Args:
            data: Data terms to add, or to take the place of those of the same name.
            prior: Prior terms likewise, also as plain functions.
            weights: Weights by the terms' names. Terms that are not named keep theirs; a term of
                weight 0 is evaluated and reported, but does not change the search.
        """
        wrapped = {
            name: jax.tree_util.Partial(term) if jax.tree.leaves(term) == [term] else term
            for name, term in (prior or {}).items()
        }
        stages = tuple(
            dataclasses.replace(stage, weights=tuple({**dict(stage.weights), **weights}.items()))
            for stage in self.stages
        )
        return dataclasses.replace(
            self,
            data_terms={**self.data_terms, **(data or {})},
            prior_terms={**self.prior_terms, **wrapped},
            stages=stages,
        )


def init(search: Search, key: Key[Array, ""]) -> tuple[SearchState, Noise]:
    """The state before the first stage, and all noise maps of this image.

    Args:
        search: The search.
        key: PRNG key; consumed. The same key gives the same start.
    """
    latents, noise = search.start(search.generator, search.whitening, key)
    if search.features is not None:
        latents = latents._replace(features=search.features.zeros())
    worst = jnp.full((), jnp.inf, jnp.float32)
    state = SearchState(
        latents=latents,
        optimizer=None,
        best=latents,
        best_terms={name: worst for name in _names(search)},
        best_step=jnp.int32(0),
        step=jnp.int32(0),
        status=jnp.int32(Status.OK),
    )
    return state, noise


def enter(search: Search, stage: Stage, state: SearchState) -> SearchState:
    """The state at the first step of a stage.

    Losses of different stages cannot be compared, so the best loss is reset. A stage that restarts
    its optimiser continues from the best state of the previous stage.
    """
    state = _forget_best(state)
    if not stage.restarts_optimizer:
        return state._replace(best=state.latents)
    moving = _moving(stage, state.best)
    return state._replace(latents=state.best, optimizer=stage.optimizer.init(moving))


def step(
    search: Search, stage: Stage, problem: Problem, state: SearchState
) -> tuple[SearchState, Terms]:
    """One step: evaluate the latents, record them if they are the best so far, update them.

    Once the loss or its gradient is not finite, the latents of this image no longer change.
    """

    def loss(moving: Any) -> tuple[Float[Array, ""], Terms]:
        terms = objective(
            _merged(moving, state.latents),
            generator=search.generator,
            whitening=search.whitening,
            data_terms=search.data_terms,
            prior_terms=search.prior_terms,
            stage=stage,
            problem=problem,
            features=search.features,
            feature_terms=search.feature_terms,
        )
        return terms["total"], terms

    moving = _moving(stage, state.latents)
    gradient, terms = jax.grad(loss, has_aux=True)(moving)
    finite = jnp.isfinite(optax.tree.norm(gradient)) & jnp.isfinite(terms["total"])
    running = finite & (state.status == Status.OK)
    better = running & (terms["total"] < state.best_terms["total"])
    terms = {name: terms.get(name, jnp.float32(jnp.nan)) for name in _names(search)}
    updates, moments = stage.optimizer.update(gradient, state.optimizer, moving)
    moved = _merged(optax.apply_updates(moving, updates), state.latents)
    next_state = SearchState(
        latents=_select(running, moved, state.latents),
        optimizer=_select(running, moments, state.optimizer),
        best=_select(better, state.latents, state.best),
        best_terms=_select(better, terms, state.best_terms),
        best_step=jnp.where(better, state.step, state.best_step),
        step=state.step + 1,
        status=jnp.where(finite, state.status, jnp.int32(Status.NOT_FINITE)),
    )
    return next_state, terms


def advance(
    search: Search, stage: Stage, given: Given, noise: Noise, state: SearchState, steps: int
) -> tuple[SearchState, Terms]:
    """Takes `steps` steps of a stage; a stage may be split into several such pieces.

    Args:
        search: The search.
        stage: One of its stages.
        given: The degraded image.
        noise: From `init`.
        state: From `enter`, or from an earlier piece of the same stage.
        steps: Number of steps; of a corrected stage, a multiple of `stage.correct_every`.

    Returns:
        The state after them, and the terms at each step.

    Raises:
        ValueError: If the steps are no such multiple.
    """
    caches = {
        name: term.prepare(given, stage.resolution)
        for name, term in search.data_terms.items()
        if name in dict(stage.weights)
    }
    problem = Problem(caches, noise)
    every = stage.correct_every
    if not every:
        return _scan(search, stage, problem, state, steps)
    if steps % every:
        raise ValueError(f"steps must be a multiple of correct_every, {every}, got {steps}")

    def corrected(state: SearchState, _: None) -> tuple[SearchState, Terms]:
        error = correction(
            search.generator,
            search.whitening,
            state.latents,
            noise,
            stage.resolution,
            search.features,
        )
        # Losses under different corrections cannot be compared: the best is the round's.
        state = _forget_best(state)
        return _scan(search, stage, problem._replace(correction=error), state, every)

    state, trace = jax.lax.scan(corrected, state, None, length=steps // every)
    return state, jax.tree.map(jnp.ravel, trace)


def _scan(
    search: Search, stage: Stage, problem: Problem, state: SearchState, steps: int
) -> tuple[SearchState, Terms]:
    return jax.lax.scan(lambda s, _: step(search, stage, problem, s), state, None, length=steps)


def finish(
    search: Search, given: Given, noise: Noise, state: SearchState, trace: Terms
) -> Restoration:
    """Renders the best state of the last stage at full resolution, and projects the picture.

    Args:
        search: The search.
        given: The degraded image.
        noise: From `init`.
        state: State after the last stage.
        trace: Terms of all steps.
    """
    generator, best = search.generator, state.best
    image = render(generator, search.whitening, best, noise, generator.resolution, search.features)
    if search.project is not None:
        image = search.project(given, image)
    image = jnp.clip(image, -1.0, 1.0)
    return Restoration(
        image=image,
        styles=styles_of(best.points, search.whitening),
        noise=(*best.noise, *noise[len(best.noise) :]),
        offset=None if search.features is None else search.features.offset_of(best),
        terms=state.best_terms,
        trace=trace,
        best_step=state.best_step,
        status=state.status,
        fit=search.measure(given, image),
    )


def _names(search: Search) -> list[str]:
    return [*search.data_terms, *search.prior_terms, *search.feature_terms, "total"]


def _moving(stage: Stage, latents: Latents) -> Any:
    """The latents with None in place of those that the stage does not move."""
    return latents._replace(**{name: None for name in latents._fields if name not in stage.moves})


def _merged(moving: Any, latents: Latents) -> Latents:
    """The moving latents, and the others from `latents`."""
    chosen = {name: x for name, x in moving._asdict().items() if x is not None}
    return latents._replace(**chosen)


def _forget_best(state: SearchState) -> SearchState:
    worst = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), state.best_terms)
    return state._replace(best_terms=worst)


def _select(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    """The first tree if the condition holds, else the second; NaNs do not spread from the other."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
