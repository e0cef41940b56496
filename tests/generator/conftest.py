"""Narrow StyleGAN2 networks and inputs for them."""

import dataclasses

import numpy as np
import pytest

from perceptual_jax.generator.stylegan2 import StyleGAN2
from tests.helpers import reference_stylegan2 as reference
from tests.helpers.narrow_stylegan2 import CONFIG, f32, to_ours


@pytest.fixture(scope="module")
def checkpoint():
    return reference.make_checkpoint(np.random.default_rng(0), CONFIG.channels)


@pytest.fixture(scope="module")
def generator(checkpoint):
    return StyleGAN2(CONFIG, to_ours(checkpoint))


@pytest.fixture(scope="module")
def styles():
    return np.random.default_rng(1).normal(size=(6, 6))


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(2)
    return [rng.normal(size=(r, r)) for r in (4, 8, 8, 16, 16)]


@pytest.fixture(scope="module")
def small():
    """Two blocks, where depth does not matter, and inputs for it."""
    rng = np.random.default_rng(5)
    config = dataclasses.replace(CONFIG, channels=CONFIG.channels[:2])
    ckpt = reference.make_checkpoint(rng, config.channels)
    noise = tuple(rng.normal(size=(r, r)) for r in (4, 8, 8))
    return StyleGAN2(config, to_ours(ckpt)), f32(rng.normal(size=(4, 6))), f32(noise)
