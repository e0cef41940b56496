"""The priors of features against float64 loops, closed forms, finite differences and edge cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from perceptual_jax.prior import feature_mmd
from perceptual_jax.prior.features import (
    FeatureSpace,
    LowRankGaussian,
    fit_feature_spaces,
    fit_low_rank_gaussian,
    mahalanobis,
    mean_square,
    sample_features,
)
from perceptual_jax.types import Latents
from tests.helpers.narrow import mobile


@pytest.fixture(scope="module")
def samples():
    return jax.jit(lambda g: sample_features(g, 8, key=jax.random.key(0), samples=12))(mobile())


@pytest.fixture(scope="module")
def spaces():
    fit = jax.jit(fit_feature_spaces, static_argnames=("resolutions", "samples"))
    return fit(mobile(), (4, 8), key=jax.random.key(0), samples=12)


def normal(seed, shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def test_scale_is_the_deviation_over_pictures_and_positions(samples, spaces):
    space = spaces[8]
    exact = np.asarray(samples, np.float64).reshape(-1, samples.shape[-1]).std(axis=0)
    assert space.resolution == 8
    assert spaces[4].scale.shape == (16,)
    np.testing.assert_allclose(space.scale, exact, rtol=1e-4)
    latents = Latents(jnp.zeros((6, 16)), (), jnp.ones((8, 8, 16)))
    np.testing.assert_allclose(space.offset_of(latents)[3, 4], exact, rtol=1e-4)
    with pytest.raises(ValueError, match="latents have no features"):
        space.offset_of(latents._replace(features=None))


def test_a_dead_channel_gives_no_nan():
    space = FeatureSpace(2, jnp.array([0.0, 2.0]))
    got = space.standardized(jnp.ones((2, 2, 2)))
    assert got[0, 0].tolist() == [0.0, 0.5]


def test_low_rank_gaussian_is_the_gaussian_where_nothing_is_cut():
    columns = normal(0, (200, 6)) @ normal(1, (6, 6))
    gaussian = fit_low_rank_gaussian(jnp.array(columns), rank=5, shrinkage=0.2)
    covariance = 0.8 * np.cov(columns.astype(np.float64), rowvar=False, ddof=0) + 0.2 * np.eye(6)
    offset = normal(2, (3, 3, 6))
    lengths = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covariance), offset)
    got = mahalanobis(jnp.array(offset), jnp.array(offset), gaussian=gaussian)
    np.testing.assert_allclose(got, lengths.mean() / 6, rtol=1e-4)


def test_low_rank_gaussian_pools_the_directions_it_cuts():
    columns = normal(0, (500, 4)) * np.float32([3.0, 2.0, 1.0, 0.5])
    gaussian = fit_low_rank_gaussian(jnp.array(columns), rank=2, shrinkage=0.0)
    eigenvalues = np.linalg.eigvalsh(np.cov(columns, rowvar=False, ddof=0))[::-1]
    np.testing.assert_allclose(gaussian.variances, eigenvalues[:2], rtol=1e-4)
    np.testing.assert_allclose(gaussian.rest, eigenvalues[2:].mean(), rtol=1e-4)


def test_unit_covariance_is_the_mean_square():
    unit = LowRankGaussian(jnp.eye(6)[:, :2], jnp.ones(2), jnp.ones(()))
    offset = jnp.array(normal(3, (4, 4, 6)))
    np.testing.assert_allclose(
        mahalanobis(offset, offset, gaussian=unit),
        np.mean(np.square(offset, dtype=np.float64)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(mean_square(offset, offset), np.mean(offset**2), rtol=1e-6)


@pytest.fixture(scope="module")
def bank(samples, spaces):
    features = jax.vmap(spaces[8].standardized)(samples)
    make = jax.jit(feature_mmd.make_feature_bank, static_argnames=("grid", "frequencies"))
    return make(features, key=jax.random.key(1), grid=2, frequencies=64), features


def test_feature_mmd_agrees_with_loops(bank):
    bank, features = bank
    omega, phases = (np.asarray(x, np.float64) for x in (bank.frequencies, bank.phases))

    def phi(column):
        return np.sqrt(2 / 64) * np.cos(column @ omega + phases)

    def cell_mean(picture, i, j):
        cell = picture[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].reshape(-1, 16)
        return np.mean([phi(column) for column in np.asarray(cell, np.float64)], axis=0)

    cells = [(i, j) for i in (0, 1) for j in (0, 1)]
    means = {c: np.mean([cell_mean(features[n], *c) for n in range(6)], axis=0) for c in cells}
    exact = np.mean([np.sum((cell_mean(features[7], *c) - means[c]) ** 2) for c in cells])
    got = feature_mmd.feature_mmd2(features[7], bank)
    np.testing.assert_allclose(got, exact, rtol=1e-4)


def test_random_features_approximate_the_kernel():
    # With one column in each picture the discrepancy of two of them is 2 - 2 K.
    key = jax.random.key(0)
    pictures = jnp.array(normal(4, (40, 1, 1, 8)))
    bank = feature_mmd.make_feature_bank(pictures, key=key, grid=1, frequencies=20_000)
    a, b = pictures[0, 0, 0], pictures[1, 0, 0]
    bandwidth = 2 / jnp.mean(jnp.square(bank.frequencies))
    bank = bank._replace(means=feature_mmd._embedding(pictures[0], bank))
    expected = 2 - 2 * jnp.exp(-jnp.sum((a - b) ** 2) / bandwidth)
    np.testing.assert_allclose(feature_mmd.feature_mmd2(pictures[1], bank), expected, rtol=0.05)


def test_natural_pictures_cost_nothing_and_others_do(bank):
    bank, features = bank
    zeros = jnp.zeros_like(features[0])
    costs = [feature_mmd.hinged_feature_mmd2(zeros, x, bank=bank) for x in features[6:]]
    assert sum(float(cost) == 0.0 for cost in costs) >= 5
    far = feature_mmd.hinged_feature_mmd2(zeros, 5 * features[7], bank=bank)
    assert far > 2 * max(costs)


def test_gradients(bank):
    bank, features = bank
    gaussian = fit_low_rank_gaussian(features.reshape(-1, 16), rank=3)
    x = features[8] * 1.5
    check_grads(
        lambda x: feature_mmd.feature_mmd2(jnp.asarray(x), bank),
        (x,),
        1,
        ["rev"],
        atol=1e-2,
        rtol=1e-2,
    )
    check_grads(
        lambda x: mahalanobis(jnp.asarray(x), jnp.asarray(x), gaussian=gaussian),
        (x,),
        1,
        ["rev"],
        atol=1e-2,
        rtol=1e-2,
    )
