"""What a search knows of a generator's W: samples to stay close to, and the space it moves in."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.prior.mmd import Kernel, PriorBank, make_prior_bank
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


def make_prior(
    generator: Generator,
    *,
    key: Key[Array, ""],
    bank_size: int = 1000,
    kernel: Kernel = "gaussian",
    bandwidth: float | Literal["paper", "median"] = "paper",
    unbiased: bool = False,
    space: Literal["w", "whitened"] = "w",
    covariance: Literal["diagonal", "full"] = "diagonal",
) -> Prior:
    """Draws the prior bank and fits the search space.

    Args:
        generator: Its mapping is sampled.
        key: Consumed.
        bank_size: Mapped samples the styles are compared with; at least 2.
        kernel: As in `mmd.mmd2`.
        bandwidth: As in `mmd.mmd2`.
        unbiased: As in `mmd.mmd2`.
        space: W itself, or W made Gaussian (PULSE).
        covariance: Of the whitening: per-coordinate deviations (PULSE), or the whole matrix.
    """
    bank_key, whitening_key = jax.random.split(key)
    z = jax.random.normal(bank_key, (bank_size, generator.z_dim))
    samples = jax.vmap(generator.mapping)(z)
    bank = make_prior_bank(samples, kernel=kernel, bandwidth=bandwidth, unbiased=unbiased)
    if space == "w":
        return Prior(bank, None, _mean_norm(samples))
    whitening = fit_whitening_from_mapping(
        generator.mapping,
        whitening_key,
        z_dim=generator.z_dim,
        samples=WHITENING_SAMPLES,
        covariance=covariance,
    )
    return Prior(bank, whitening, _mean_norm(whitening.whiten(samples)))


def styles_of(points: Float[Array, "k d"], whitening: Whitening | None) -> Float[Array, "k d"]:
    """Points of the search space to W+ styles."""
    return points if whitening is None else whitening.unwhiten(points)


def points_of(styles: Float[Array, "k d"], whitening: Whitening | None) -> Float[Array, "k d"]:
    """W+ styles to points of the search space."""
    return styles if whitening is None else whitening.whiten(styles)


def _mean_norm(points: Float[Array, "m d"]) -> Float[Array, ""]:
    return jnp.mean(jnp.linalg.norm(points, axis=-1))
