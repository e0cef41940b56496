"""The posterior mean of coefficients, against numerical integration and against simulated truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.restoration.data_terms.dct_box import DctBox, coefficients_of, steps_of
from perceptual_jax.restoration.projections import dequantisation
from perceptual_jax.restoration.projections.dequantisation import (
    posterior_coefficients,
    posterior_offset,
)
from perceptual_jax.types import Given

offset_of = jax.jit(posterior_offset)
BLOCKS = (40, 40)


def simulated(scale, seed=0):
    """Coefficients that a search would find, and the true ones, from the middle of their bins."""
    rng = np.random.default_rng(seed)
    shape = (*BLOCKS, 8, 8)
    width = scale * np.exp(rng.normal(0, 0.8, (*BLOCKS, 1, 1)))  # Hard places and easy ones.
    true = rng.laplace(0, 0.7, shape)
    found = true + width * rng.normal(size=shape)
    middle = np.rint(true)
    return jnp.asarray(found - middle, jnp.float32), true - middle


def reference(offset, rounds=20):
    """The same of one frequency in float64, all integrals by sums over the bin."""
    scales, places = np.array(dequantisation._SCALES), (np.arange(400) + 0.5) / 400 - 0.5
    weights = np.full(len(scales), 1 / len(scales))
    density = scipy.stats.norm.pdf(
        places[None, None] - offset[None, :, None], 0, scales[:, None, None]
    )
    mass = density.mean(axis=2)
    for _ in range(rounds):
        share = weights[:, None] * mass
        weights = (share / share.sum(axis=0)).mean(axis=1)
    joint = np.einsum("s,sbp->bp", weights, density)
    return (joint * places).sum(axis=1) / joint.sum(axis=1)


def test_the_posterior_is_that_of_numerical_integration():
    offset, _ = simulated(0.5)
    found = offset_of(offset, jnp.ones(BLOCKS))
    for u, v in ((0, 0), (3, 5)):
        one = np.asarray(offset[:, :, u, v], np.float64).ravel()
        # The least scale is 1/16 of a step, 25 nodes of the reference.
        np.testing.assert_allclose(found[:, :, u, v].ravel(), reference(one), atol=2e-3)


@pytest.mark.parametrize("scale", [0.1, 0.4, 1.5])
def test_it_is_nearer_to_the_truth_than_clipping_and_than_the_middle(scale):
    offset, true = simulated(scale)

    def error(estimate):
        return float(np.mean((np.asarray(estimate) - true) ** 2))

    ours = error(offset_of(offset, jnp.ones(BLOCKS)))
    assert ours < 0.99 * min(error(np.clip(offset, -w / 2, w / 2)) for w in (0, 0.25, 0.5, 0.75, 1))


def test_values_stay_in_the_bin_on_their_side_and_never_move_out():
    offset, _ = simulated(1.0)
    offset = offset.at[0, 0].set(1e4).at[0, 1].set(-1e4).at[0, 2].set(0.0)
    found = offset_of(offset, jnp.ones(BLOCKS))
    assert jnp.all(jnp.isfinite(found))
    assert jnp.all(jnp.abs(found) <= jnp.minimum(jnp.abs(offset), 0.5))
    assert jnp.all(found * offset >= 0)
    np.testing.assert_array_equal(offset_of(-offset, jnp.ones(BLOCKS)), -found)


def test_a_picture_that_agrees_is_believed_and_one_that_never_does_is_not():
    inside = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 0.4, (*BLOCKS, 8, 8)), jnp.float32)
    assert jnp.abs(offset_of(inside, jnp.ones(BLOCKS)) - inside).mean() < 0.03
    outside = 20 * jnp.asarray(np.random.default_rng(1).normal(size=(*BLOCKS, 8, 8)), jnp.float32)
    assert jnp.abs(offset_of(outside, jnp.ones(BLOCKS))).mean() < 0.08


def test_blocks_that_do_not_count_do_not_teach():
    offset, _ = simulated(0.2)
    counted = jnp.ones(BLOCKS).at[20:].set(0)
    spoiled = offset.at[20:].set(50.0)
    alone = offset_of(offset[:20], jnp.ones((20, 40)))
    np.testing.assert_allclose(offset_of(spoiled, counted)[:20], alone, atol=1e-5)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_coefficients_of_a_file_stay_in_their_bins_on_any_canvas(subsampling):
    rng = np.random.default_rng(0)
    small = rng.uniform(-0.9, 0.9, (12, 12, 3))
    clean = np.asarray(jax.image.resize(small, (48, 48, 3), "cubic")).clip(-1, 1)
    file = jpeg(np.uint8((clean + 1) * 127.5), quality=15, subsampling=subsampling)
    given = Given(jnp.asarray(file.image / 127.5 - 1, jnp.float32), file.header)
    shown = jnp.asarray(clean + rng.normal(0, 0.1, clean.shape), jnp.float32)

    @jax.jit
    def found(given, shown):
        cache = DctBox().prepare(given, 48)
        return cache, posterior_coefficients(cache, shown)

    cache, planes = found(given, shown)
    for plane, own, step in zip(planes, cache.coefficients, steps_of(cache.header), strict=True):
        assert jnp.all(jnp.abs(plane - own) <= step / 2 * (1 + 1e-5))
    truth = coefficients_of(jnp.asarray(clean, jnp.float32), cache.header)
    before = coefficients_of(shown, cache.header)
    # Luma; of the chromas the file has one of three.
    assert jnp.mean((planes[0] - truth[0]) ** 2) < jnp.mean((before[0] - truth[0]) ** 2)

    wider = ((0, 16), (0, 16), (0, 0))
    on_canvas = Given(jnp.pad(given.image, wider, mode="edge"), file.header, side=jnp.int32(48))
    _, padded = found(on_canvas, jnp.pad(shown, wider))
    for plane, alone in zip(padded, planes, strict=True):
        np.testing.assert_allclose(plane[:3, :3], alone[:3, :3], atol=1e-3)
