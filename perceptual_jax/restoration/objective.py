"""The objective of a search: how unlikely this restoration is, given the degraded image.

    total = data_weight * data(render(styles)) + nll_weight * nll(render(styles))
          + cross_weight * cross(styles) + mmd_weight * mmd2(styles, prior)

A pure function of the latents of one image. What stays the same for a whole search is a
`Problem`; what stays the same for all searches with one generator is a `Prior`.

Source: the paper's Section 3; PULSE's loss for the data and cross terms.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from perceptual_jax.config import PriorConfig, RestoreConfig
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.geodesic import cross_loss
from perceptual_jax.prior.mmd import PriorBank, make_prior_bank, mmd2_to_bank
from perceptual_jax.prior.whitening import Whitening, fit_whitening_from_mapping
from perceptual_jax.restoration.terms import Given, Targets, evaluate
from perceptual_jax.types import Generator, Latents, LossTerms, Noise


class Prior(NamedTuple):
    """What a search knows of a generator's W, made once by `make_prior`."""

    bank: PriorBank
    """Mapped samples, which the styles are compared with."""
    whitening: Whitening | None
    """The map to the search space; None searches in W itself."""
    expected_norm: Float[Array, ""]
    """Mean norm of the bank in the search space."""


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


WHITENING_SAMPLES = 100_000
"""Mapped samples for the statistics of whitened W; PULSE took a million."""


def make_prior(generator: Generator, config: PriorConfig, key: Key[Array, ""]) -> Prior:
    """Draws the prior bank and fits the search space.

    Args:
        generator: Its mapping is sampled.
        config: Kernel, bandwidth, bank size and space.
        key: Consumed.
    """
    bank_key, whitening_key = jax.random.split(key)
    z = jax.random.normal(bank_key, (config.bank_size, generator.z_dim))
    samples = jax.vmap(generator.mapping)(z)
    bank = make_prior_bank(
        samples, kernel=config.kernel, bandwidth=config.bandwidth, unbiased=config.unbiased
    )
    if config.space == "w":
        return Prior(bank, None, _mean_norm(samples))
    whitening = fit_whitening_from_mapping(
        generator.mapping,
        whitening_key,
        z_dim=generator.z_dim,
        samples=WHITENING_SAMPLES,
        covariance=config.covariance,
    )
    return Prior(bank, whitening, _mean_norm(whitening.whiten(samples)))


def styles_of(points: Float[Array, "k d"], prior: Prior) -> Float[Array, "k d"]:
    """Points of the search space to W+ styles."""
    return points if prior.whitening is None else prior.whitening.unwhiten(points)


def points_of(styles: Float[Array, "k d"], prior: Prior) -> Float[Array, "k d"]:
    """W+ styles to points of the search space."""
    return styles if prior.whitening is None else prior.whitening.whiten(styles)


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


def _mean_norm(points: Float[Array, "m d"]) -> Float[Array, ""]:
    return jnp.mean(jnp.linalg.norm(points, axis=-1))


Schedule = Literal["one_cycle_drop", "one_cycle", "fixed"]


def learning_rate_share(
    step: Int[Array, ""] | float, steps: int, *, schedule: Schedule
) -> Float[Array, ""]:
    """PULSE's schedules: the share of the peak learning rate at a step.

    `one_cycle` rises from 0.1 to 1 at half-time and falls back. `one_cycle_drop` does so within
    the first 90 % of the steps and ends with a fall from 0.1 to 0.001.

    Args:
        step: Steps taken so far, from 0.
        steps: Of the whole cycle.
        schedule: Which of the three.

    Source: PULSE's code.

    Example:
        >>> share = lambda s: float(learning_rate_share(s, 100, schedule="one_cycle_drop"))
        >>> [round(share(s), 4) for s in (0, 45, 90)]
        [0.1, 1.0, 0.1]
    """
    x = jnp.asarray(step, jnp.float32) / steps
    if schedule == "fixed":
        return jnp.ones_like(x)
    if schedule == "one_cycle":
        return (9 * (1 - jnp.abs(2 * x - 1)) + 1) / 10
    cycle = (9 * (1 - jnp.abs(2 * x / 0.9 - 1)) + 1) / 10
    drop = 0.1 + (x - 0.9) / 0.1 * (0.001 - 0.1)
    return jnp.where(x < 0.9, cycle, drop)
