import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2, L2Target, consistency_psnr
from perceptual_jax.types import Given

FILTERS = ["bicubic", "area"]


@pytest.fixture
def noise_image(key):
    return jax.random.uniform(key, (32, 48, 3), minval=-1, maxval=1)


@pytest.mark.parametrize("filter", FILTERS)
def test_gradient_of_the_term_is_the_finite_difference(filter):
    with jax.enable_x64(True):
        degraded, restored, direction = (
            jax.random.uniform(jax.random.key(i), shape)
            for i, shape in enumerate([(5, 6, 3), (16, 16, 3), (16, 16, 3)])
        )
        term = DownscaleL2(filter=filter)
        cache = term.prepare(Given(degraded), 16)

        def value(t):
            return term.evaluate(cache, restored + t * direction)[0]

        expected = (value(1e-4) - value(-1e-4)) / 2e-4
        # The term is quadratic, so central differences err by rounding only.
        np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-8)


@pytest.mark.parametrize("filter", FILTERS)
def test_a_restoration_that_degrades_to_the_input_costs_nothing(noise_image, filter):
    degraded = downscale(noise_image, (8, 12), filter=filter)
    term = DownscaleL2(filter=filter)
    value, errors = term.evaluate(term.prepare(Given(degraded), 48), noise_image)
    assert value == 0
    assert errors.shape == (8, 12)


def test_the_value_is_the_mean_of_the_map_in_unit_range():
    term = DownscaleL2(filter="area")
    degraded = jnp.full((4, 4, 3), -1.0).at[0, 0, 0].set(1.0)
    value, errors = term.evaluate(L2Target(degraded), jnp.full((16, 16, 3), -1.0))
    np.testing.assert_allclose(errors[0, 0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(value, 1 / 48, rtol=1e-6)
    assert errors[1:].sum() == 0


def test_below_the_floor_there_is_no_gradient():
    degraded = jnp.zeros((4, 4, 3))
    restored = jnp.full((8, 8, 3), 0.08)  # squared error in [0, 1]: 1.6e-3

    def value_and_slope(floor):
        term = DownscaleL2(filter="bicubic", floor=floor)
        return jax.value_and_grad(lambda x: term.evaluate(L2Target(degraded), x)[0])(restored)

    value, slope = value_and_slope(2e-3)
    np.testing.assert_allclose(value, 2e-3, rtol=1e-6)
    assert not slope.any()
    value, slope = value_and_slope(1e-3)
    np.testing.assert_allclose(value, 1.6e-3, rtol=1e-5)
    assert slope.any()


def test_a_nan_is_not_hidden_by_the_floor():
    term = DownscaleL2(floor=2e-3)
    value, _ = term.evaluate(L2Target(jnp.zeros((4, 4, 3))), jnp.full((8, 8, 3), jnp.nan))
    assert jnp.isnan(value)


def test_a_large_input_is_reduced_to_the_draft(noise_image):
    term = DownscaleL2(filter="area")
    given = Given(noise_image)
    reduced = downscale(noise_image, (16, 16), filter="area")
    np.testing.assert_array_equal(term.prepare(given, 16).image, reduced)
    assert term.prepare(given, 40).image.shape == (32, 40, 3)
    assert term.prepare(given, 48).image is noise_image


def test_a_restoration_smaller_than_the_cache_is_refused():
    with pytest.raises(ValueError, match="at least 16 x 16 pixels, got 8 x 8"):
        DownscaleL2().evaluate(L2Target(jnp.zeros((16, 16, 3))), jnp.zeros((8, 8, 3)))


def test_vmap_gives_each_image_its_own_value(key):
    restored = jax.random.uniform(key, (3, 16, 16, 3))
    degraded = jnp.zeros((3, 4, 4, 3))
    values, _ = jax.vmap(DownscaleL2().evaluate)(L2Target(degraded), restored)
    for i in range(3):
        single, _ = DownscaleL2().evaluate(L2Target(degraded[i]), restored[i])
        np.testing.assert_allclose(values[i], single, rtol=1e-5)


def test_consistency_psnr_is_in_decibels():
    restored = jnp.zeros((32, 32, 3))
    # 0.02 of [-1, 1] is 0.01 of [0, 1]: 40 dB, whichever image is larger.
    for size in (8, 32, 64):
        psnr = consistency_psnr(restored, jnp.full((size, size, 3), 0.02), filter="area")
        np.testing.assert_allclose(psnr, 40, rtol=1e-5)
