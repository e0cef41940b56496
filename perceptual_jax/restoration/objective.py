"""The objective of a search: how unlikely this restoration is, given the degraded image.

    total = sum over data terms   weight * term(image(latents), degraded image)
          + sum over prior terms  weight * term(styles(latents))
          + sum over feature terms  weight * term(features(latents))

A pure function of the latents of one image. It knows no term by name: the paper's are the data
term on pixels, the likelihood, PULSE's cross loss and the MMD of Eq. 7 (`presets`).

Source: the paper's Section 3; PULSE's loss for the data and cross terms.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.prior.features import FeatureSpace
from perceptual_jax.prior.prior import styles_of
from perceptual_jax.prior.whitening import Whitening
from perceptual_jax.types import DataTerm, Generator, Latents, Noise, Terms

Part = Literal["points", "noise", "features"]
"""A part of the latents."""

PriorTerm = Callable[[Float[Array, "k d"]], Float[Array, ""]]
"""A function of the styles of one image; a pytree, such as `jax.tree_util.Partial`."""

FeatureTerm = Callable[[Float[Array, "r r c"], Float[Array, "r r c"]], Float[Array, ""]]
"""A function of the offset of one image's features, and of the features with it, both in standard
deviations; a pytree."""


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
    """A hashable optimiser of the latents that move, equal to any other that does the same."""
    restarts_optimizer: bool = True
    """Whether the stage starts a new optimiser from the best state of the previous stage. If not,
    it continues from the current state."""
    moves: tuple[Part, ...] = ("points", "noise")
    """The latents that the stage moves; the optimiser sees None in place of the others."""
    correct_every: int = 0
    """Steps after which the draft is corrected, see `correction`; a divisor of `steps`. 0 never
    corrects it."""


class Problem(NamedTuple):
    """The constants of one image's search at one resolution, for one correction of the draft."""

    caches: Mapping[str, Any]
    """Result of `prepare` of each data term, by the term's name."""
    noise: Noise
    """All noise maps; trainable maps of the latents replace the first ones."""
    correction: Float[Array, "r r 3"] | None = None
    """Added to every rendered picture; None adds nothing."""


def render(
    generator: Generator,
    whitening: Whitening | None,
    latents: Latents,
    noise: Noise,
    resolution: int,
    features: FeatureSpace | None,
) -> Float[Array, "r r 3"]:
    """The picture of the latents, at full resolution or as a draft.

    Args:
        generator: Renders the latents.
        whitening: Map of the space that the latents' points are in; None is W itself.
        latents: All latents.
        noise: All noise maps; those of the latents replace the first ones.
        resolution: Pixels of a side.
        features: Units of the latents' features; None if they have none.
    """
    styles = styles_of(latents.points, whitening)
    noise = (*latents.noise, *noise[len(latents.noise) :])
    # Generators that know no features can be searched as long as none are moved.
    offset = () if features is None else (features.offset_of(latents),)
    if resolution == generator.resolution:
        return generator.synthesis(styles, noise, *offset)
    return generator.draft(styles, noise, resolution, *offset)


def correction(
    generator: Generator,
    whitening: Whitening | None,
    latents: Latents,
    noise: Noise,
    resolution: int,
    features: FeatureSpace | None,
) -> Float[Array, "r r 3"]:
    """The error of a draft: the true picture, reduced to the draft's size, minus the draft.

    Drafts are cheap, but a search that moves features finds those that only the draft shows. With
    the error added, the draft is exact at these latents and nearly so around them, so a search that
    renews it every few steps converges to what it would find at full resolution.

    Args: as `render`.

    Source: Alexandrov and Lewis, "An Overview of First-Order Model Management for Engineering
    Optimization", 2001 (additive corrections, zeroth order).
    """
    parts = (generator, whitening, latents, noise)
    true = render(*parts, generator.resolution, features)
    reduced = downscale(true, (resolution, resolution), filter="area")
    return reduced - render(*parts, resolution, features)


def objective(
    latents: Latents,
    *,
    generator: Generator,
    whitening: Whitening | None,
    data_terms: Mapping[str, DataTerm],
    prior_terms: Mapping[str, PriorTerm],
    stage: Stage,
    problem: Problem,
    features: FeatureSpace | None = None,
    feature_terms: Mapping[str, FeatureTerm] = MappingProxyType({}),
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
        problem: The image's caches, noise and correction.
        features: Units of the latents' features; None if they have none.
        feature_terms: Feature terms by name, functions of the latents' features.

    Raises:
        KeyError: If the stage weighs a term that is not there.
    """
    image = render(generator, whitening, latents, problem.noise, stage.resolution, features)
    if problem.correction is not None:
        image = image + problem.correction
    styles = styles_of(latents.points, whitening)[: generator.num_seen_styles(stage.resolution)]
    terms: Terms = {}
    total = jnp.zeros(())
    for name, weight in stage.weights:
        if name in data_terms:
            terms[name], _ = data_terms[name].evaluate(problem.caches[name], image)
        elif name in feature_terms:
            terms[name] = feature_terms[name](
                *_features(generator, whitening, latents, problem, features)
            )
        else:
            terms[name] = prior_terms[name](styles)
        total = total + weight * terms[name]
    return terms | {"total": total}


def _features(
    generator: Generator,
    whitening: Whitening | None,
    latents: Latents,
    problem: Problem,
    space: FeatureSpace | None,
) -> tuple[Float[Array, "r r c"], Float[Array, "r r c"]]:
    """The offset of the features and the features with it, in standard deviations.

    A term that uses the offset only costs no synthesis: XLA removes what is not used.
    """
    if space is None or latents.features is None:
        raise ValueError("a term of features needs a search that moves features")
    noise = (*latents.noise, *problem.noise[len(latents.noise) :])
    own = generator.features(styles_of(latents.points, whitening), noise, space.resolution)
    return latents.features, space.standardized(own) + latents.features
