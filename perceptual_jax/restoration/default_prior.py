"""The prior of a config's search when none is given: the same one every time."""

import dataclasses
from collections.abc import Mapping

import jax

from perceptual_jax.config import MIN_SIZE, RestoreConfig
from perceptual_jax.prior.features import FeatureSpace, fit_feature_spaces
from perceptual_jax.prior.prior import Prior, make_prior
from perceptual_jax.restoration.stages import FINE_ENOUGH, feature_block
from perceptual_jax.types import Generator

PRIOR_SEED = 0
"""Seed of the prior bank: the same bank for all images, so that no result depends on its batch."""


def style_prior(generator: Generator, config: RestoreConfig) -> Prior:
    """The prior of the styles of a config's search, without spaces of features."""
    settings = config.prior
    make = jax.jit(
        make_prior,
        static_argnames=("bank_size", "kernel", "bandwidth", "unbiased", "space", "covariance"),
    )
    return make(
        generator,
        key=jax.random.key(PRIOR_SEED),
        bank_size=settings.bank_size,
        kernel=settings.kernel,
        bandwidth=settings.bandwidth,
        unbiased=settings.unbiased,
        space=settings.space,
        covariance=settings.covariance,
    )


def default_prior(generator: Generator, config: RestoreConfig) -> Prior:
    """The prior of a config's search when none is given: the same one every time."""
    prior = style_prior(generator, config)
    blocks = {
        feature_block(dataclasses.replace(config, degradation=term), generator.resolution, size)
        for term in {config.degradation, *FINE_ENOUGH}
        for size in range(MIN_SIZE, config.data.max_size + 1)
    }
    return prior._replace(features=feature_spaces(generator, tuple(sorted(blocks - {0}))))


def feature_spaces(
    generator: Generator, resolutions: tuple[int, ...]
) -> Mapping[int, FeatureSpace]:
    """The spaces of some blocks; the same ones every time."""
    if not resolutions:
        return {}
    fit = jax.jit(fit_feature_spaces, static_argnames=("resolutions", "samples"))
    return fit(generator, resolutions, key=jax.random.key(PRIOR_SEED), samples=64)
