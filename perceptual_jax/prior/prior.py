"""What a search knows of a generator's W: samples to stay close to, and the space it moves in."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.config import PriorConfig
from perceptual_jax.prior.mmd import PriorBank, make_prior_bank
from perceptual_jax.prior.whitening import Whitening, fit_whitening_from_mapping
from perceptual_jax.types import Generator


class Prior(NamedTuple):
    """What a search knows of a generator's W, made once by `make_prior`."""

    bank: PriorBank
    """Mapped samples, which the styles are compared with."""
    whitening: Whitening | None
    """The map to the search space; None searches in W itself."""
    expected_norm: Float[Array, ""]
    """Mean norm of the bank in the search space."""


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


def _mean_norm(points: Float[Array, "m d"]) -> Float[Array, ""]:
    return jnp.mean(jnp.linalg.norm(points, axis=-1))
