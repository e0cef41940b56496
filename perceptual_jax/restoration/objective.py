"""The objective of a search: how unlikely this restoration is, given the degraded image.

    total = data_weight * data(render(styles)) + nll_weight * nll(render(styles))
          + cross_weight * cross(styles) + mmd_weight * mmd2(styles, prior)

A pure function of the latents of one image. What stays the same for a whole search is a
`Problem`; what stays the same for all searches with one generator is a `prior.Prior`.

Source: the paper's Section 3; PULSE's loss for the data and cross terms.
"""

from typing import NamedTuple

from jaxtyping import Array, Float

from perceptual_jax.config import RestoreConfig
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.geodesic import cross_loss
from perceptual_jax.prior.mmd import mmd2_to_bank
from perceptual_jax.prior.prior import Prior, styles_of
from perceptual_jax.restoration.terms import Given, Targets, evaluate
from perceptual_jax.types import Generator, Latents, LossTerms, Noise


class Problem(NamedTuple):
    """What stays the same during one image's search at one resolution."""

    given: Given
    """The degraded image."""
    targets: Targets
    """What the data terms compare with (`terms.prepare`)."""
    noise: Noise
    """All noise maps; the first ones give way to those in the latents."""


class Weights(NamedTuple):
    """Weights of the terms."""

    data: float
    nll: float
    cross: float
    mmd2: float


def render(
    generator: Generator,
    latents: Latents,
    noise: Noise,
    prior: Prior,
    resolution: int,
) -> Float[Array, "r r 3"]:
    """The picture of the latents, at full resolution or as a draft."""
    styles = styles_of(latents.points, prior)
    noise = (*latents.noise, *noise[len(latents.noise) :])
    if resolution == generator.resolution:
        return generator.synthesis(styles, noise)
    return generator.draft(styles, noise, resolution)


def objective(
    latents: Latents,
    *,
    generator: Generator,
    prior: Prior,
    problem: Problem,
    likelihood: Likelihood | None,
    config: RestoreConfig,
    weights: Weights,
    resolution: int,
    moving: int,
) -> tuple[Float[Array, ""], LossTerms]:
    """The weighted sum that the search minimises, and its terms.

    Args:
        latents: Where the search stands.
        generator: Renders the latents.
        prior: Gives the search space and the bank.
        problem: The image's target and noise.
        likelihood: Of the degraded image, if one is used.
        config: Of the data terms.
        weights: Of the terms.
        resolution: Of the rendered image.
        moving: The prior terms are over the first `moving` styles. Those that a draft does not
            see are held, and would otherwise be driven by the prior alone.
    """
    image = render(generator, latents, problem.noise, prior, resolution)
    styles = styles_of(latents.points, prior)[:moving]
    data, nll = evaluate(problem.targets, image, problem.given, likelihood, config)
    cross = cross_loss(styles)
    mmd2 = mmd2_to_bank(styles, prior.bank)
    total = weights.data * data + weights.cross * cross + weights.mmd2 * mmd2
    if problem.targets.likelihood is not None:
        total = total + weights.nll * nll
    return total, LossTerms(data=data, nll=nll, cross=cross, mmd2=mmd2, total=total)
