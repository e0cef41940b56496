"""The objective of a search: how unlikely this restoration is, given the degraded image.

    total = sum over data terms   weight * term(image(latents), degraded image)
          + sum over prior terms  weight * term(styles(latents))

A pure function of the latents of one image. It knows no term by name: the paper's are the data
term on pixels, the likelihood, PULSE's cross loss and the MMD of Eq. 7 (`presets`).

Source: the paper's Section 3; PULSE's loss for the data and cross terms.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.prior.prior import styles_of
from perceptual_jax.prior.whitening import Whitening
from perceptual_jax.types import DataTerm, Generator, Latents, Noise, Terms


@runtime_checkable
class Optimizer(Protocol):
    """What a stage moves the latents by: any `optax.GradientTransformation`."""

    @property
    def init(self) -> Callable[[Any], Any]:
        """Parameters to state."""
        ...

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """Gradients, state and parameters to updates and state."""
        ...


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of steps at one resolution. Static under `jit`: equal stages compile once."""

    resolution: int
    """Pixels of a side of the rendered picture."""
    steps: int
    weights: tuple[tuple[str, float], ...]
    """Of the terms by name, in the order of their sum; terms that it does not name are not
    evaluated."""
    optimizer: Optimizer
    """Hashable, and equal where it does the same."""
    restarts_optimizer: bool = True
    """Starts with a new optimiser from the best state of the stage before; else goes on."""


class Problem(NamedTuple):
    """What stays the same during one image's search at one resolution."""

    caches: Mapping[str, Any]
    """What each data term compares with, from its `prepare`."""
    noise: Noise
    """All noise maps; the first ones give way to those in the latents."""


def render(
    generator: Generator,
    whitening: Whitening | None,
    latents: Latents,
    noise: Noise,
    resolution: int,
) -> Float[Array, "r r 3"]:
    """The picture of the latents, at full resolution or as a draft."""
    styles = styles_of(latents.points, whitening)
    noise = (*latents.noise, *noise[len(latents.noise) :])
    if resolution == generator.resolution:
        return generator.synthesis(styles, noise)
    return generator.draft(styles, noise, resolution)


def objective(
    latents: Latents,
    *,
    generator: Generator,
    whitening: Whitening | None,
    data_terms: Mapping[str, DataTerm],
    prior_terms: Mapping[str, Callable[[Float[Array, "k d"]], Float[Array, ""]]],
    stage: Stage,
    problem: Problem,
) -> Terms:
    """The terms that the stage weighs, and their weighted sum, `total`.

    The prior terms are over the styles that the picture shows. Those that a draft does not see are
    held, and would otherwise be driven by the prior alone.

    Args:
        latents: Where the search stands.
        generator: Renders the latents.
        whitening: Of the space that their points are in.
        data_terms: By name.
        prior_terms: By name.
        stage: Which of them count, how much, and at which resolution.
        problem: The image's caches and noise.

    Raises:
        KeyError: If the stage weighs a term that is not there.
    """
    image = render(generator, whitening, latents, problem.noise, stage.resolution)
    styles = styles_of(latents.points, whitening)[: generator.num_seen_styles(stage.resolution)]
    terms: Terms = {}
    total = jnp.zeros(())
    for name, weight in stage.weights:
        if name in data_terms:
            terms[name], _ = data_terms[name].evaluate(problem.caches[name], image)
        else:
            terms[name] = prior_terms[name](styles)
        total = total + weight * terms[name]
    return terms | {"total": total}
