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

PriorTerm = Callable[[Float[Array, "k d"]], Float[Array, ""]]
"""A function of the styles of one image; a pytree, such as `jax.tree_util.Partial`."""


@runtime_checkable
class Optimizer(Protocol):
    """The optimiser of a stage: any `optax.GradientTransformation`."""

    @property
    def init(self) -> Callable[[Any], Any]:
        """The function from parameters to the optimiser's state."""
        ...

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """The function from gradients, state and parameters to updates and the next state."""
        ...


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence of steps at one resolution. Static under `jit`: equal stages compile once."""

    resolution: int
    """Pixels of a side of the rendered picture."""
    steps: int
    """Number of steps."""
    weights: tuple[tuple[str, float], ...]
    """Names and weights of the terms, in the order of their sum; terms that are not named are not
    evaluated."""
    optimizer: Optimizer
    """A hashable optimiser, equal to any other that does the same."""
    restarts_optimizer: bool = True
    """Whether the stage starts a new optimiser from the best state of the previous stage. If not,
    it continues from the current state."""


class Problem(NamedTuple):
    """The constants of one image's search at one resolution."""

    caches: Mapping[str, Any]
    """Result of `prepare` of each data term, by the term's name."""
    noise: Noise
    """All noise maps; trainable maps of the latents replace the first ones."""


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
    prior_terms: Mapping[str, PriorTerm],
    stage: Stage,
    problem: Problem,
) -> Terms:
    """The terms that the stage weighs, and their weighted sum, `total`.

    The prior terms see only the styles that affect the picture. Styles that a draft does not use
    stay fixed; otherwise the prior alone would move them.

    Args:
        latents: Current latents of the search.
        generator: Renders the latents.
        whitening: Map of the space that the latents' points are in; None is W itself.
        data_terms: Data terms by name.
        prior_terms: Prior terms by name, functions of the styles.
        stage: Weights of the terms and the resolution.
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
