"""The prior of a generator: a bank of samples of W, and the search space."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.prior.features import FeatureSpace
from perceptual_jax.prior.mmd import Kernel, PriorBank, make_prior_bank
from perceptual_jax.prior.whitening import Whitening, fit_whitening_from_mapping
from perceptual_jax.types import Generator


class Prior(NamedTuple):
    """The prior of a generator on W, computed once by `make_prior`."""

    bank: PriorBank
    """Samples of W that the styles are compared with."""
    whitening: Whitening | None
    """The map between W and the search space; None if the search space is W itself."""
    expected_norm: Float[Array, ""]
    """Mean norm of the bank in the search space."""
    features: Mapping[int, FeatureSpace] = {}
    """Spaces of the features that a search may move, by their resolution."""


WHITENING_SAMPLES = 100_000
"""Number of mapped samples for the statistics of whitened W; PULSE used a million."""


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
        generator: The generator whose mapping network is sampled.
        key: Consumed.
        bank_size: Number of mapped samples in the bank; at least 2.
        kernel: As in `mmd.mmd2`.
        bandwidth: As in `mmd.mmd2`.
        unbiased: As in `mmd.mmd2`.
        space: The search space: W itself, or whitened W (PULSE).
        covariance: Standard deviations only (PULSE), or the full covariance, for the whitening.
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
    """Maps points of the search space to W+ styles."""
    return points if whitening is None else whitening.unwhiten(points)


def points_of(styles: Float[Array, "k d"], whitening: Whitening | None) -> Float[Array, "k d"]:
    """Maps W+ styles to points of the search space."""
    return styles if whitening is None else whitening.whiten(styles)


def _mean_norm(points: Float[Array, "m d"]) -> Float[Array, ""]:
    return jnp.mean(jnp.linalg.norm(points, axis=-1))
