import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.resampling import downscale, resample_matrix
from perceptual_jax.restoration.downscale import DownscaleL2, consistency_psnr

FILTERS = ["bicubic", "area"]


def pulse_downscale(image, factor):
    """PULSE's downscale written as loops in float64: taps, reflect padding, strided sums."""

    def cubic(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    taps = np.array([cubic((i - 2 * factor + 0.5) / factor) for i in range(4 * factor)])
    taps /= taps.sum()
    before = 3 * factor // 2
    for axis in (0, 1):
        lines = np.moveaxis(image.astype(np.float64), axis, 0)
        padded = np.pad(lines, [(before, 3 * factor - before), (0, 0), (0, 0)], mode="reflect")
        reduced = [
            sum(taps[i] * padded[j * factor + i] for i in range(4 * factor))
            for j in range(len(lines) // factor)
        ]
        image = np.moveaxis(np.stack(reduced), 0, axis)
    return image


@pytest.fixture
def noise_image(key):
    return jax.random.uniform(key, (32, 48, 3), minval=-1, maxval=1)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bicubic_is_pulses_downscale(noise_image, factor):
    reduced = downscale(noise_image, (32 // factor, 48 // factor), filter="bicubic")
    # float32 sums of at most 32 products of numbers below 1.
    np.testing.assert_allclose(reduced, pulse_downscale(np.array(noise_image), factor), atol=1e-6)


@pytest.mark.parametrize("size_out", [8, 13, 21, 50])
def test_bicubic_is_pillows_away_from_the_borders(size_out):
    line = np.random.default_rng(0).uniform(size=(1, 40)).astype(np.float32)
    expected = np.asarray(Image.fromarray(line).resize((size_out, 1), Image.Resampling.BICUBIC))
    scale = max(40 / size_out, 1)
    inner = slice(int(np.ceil(2 * scale * size_out / 40)), -int(np.ceil(2 * scale * size_out / 40)))
    got = resample_matrix(40, size_out, filter="bicubic") @ line[0]
    # Pillow sums float images in float32.
    np.testing.assert_allclose(got[inner], expected[0, inner], atol=2e-6)


def test_area_is_the_block_mean(noise_image):
    blocks = np.array(noise_image).reshape(8, 4, 12, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(downscale(noise_image, (8, 12), filter="area"), blocks, atol=1e-6)


@pytest.mark.parametrize(("size_in", "size_out"), [(10, 4), (7, 5), (1024, 37), (3, 7)])
def test_area_is_the_exact_coverage_at_any_factor(size_in, size_out):
    # The mean over [a, b] of a piecewise constant line is a difference of its integral.
    line = np.random.default_rng(0).normal(size=size_in)
    integral = np.concatenate([[0], np.cumsum(line)])
    at = np.interp(np.arange(size_out + 1) * size_in / size_out, np.arange(size_in + 1), integral)
    expected = np.diff(at) * size_out / size_in
    matrix = resample_matrix(size_in, size_out, filter="area")
    np.testing.assert_allclose(matrix @ line, expected, atol=1e-11)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(
    ("size_in", "size_out"), [(32, 32), (33, 11), (64, 9), (16, 1), (1, 4), (2, 1), (9, 64)]
)
def test_constants_stay_and_pictures_do_not_shift(size_in, size_out, filter):
    matrix = resample_matrix(size_in, size_out, filter=filter)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    # A flipped line gives the flipped result: the sampling grid is centred.
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("filter", FILTERS)
def test_the_same_size_is_the_identity(filter):
    np.testing.assert_array_equal(resample_matrix(16, 16, filter=filter), np.eye(16))


def test_bicubic_keeps_a_ramp_away_from_the_borders():
    matrix = resample_matrix(96, 16, filter="bicubic")
    centres = (np.arange(16) + 0.5) * 6 - 0.5
    np.testing.assert_allclose((matrix @ np.arange(96.0))[2:-2], centres[2:-2], atol=1e-11)


@pytest.mark.parametrize("filter", FILTERS)
def test_the_gradient_is_the_transpose(filter):
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(1), (20, 26, 3))
        y = jax.random.normal(jax.random.key(2), (7, 8, 3))
        reduced, transpose = jax.vjp(lambda x: downscale(x, (7, 8), filter=filter), x)
        np.testing.assert_allclose(jnp.vdot(reduced, y), jnp.vdot(x, transpose(y)[0]), rtol=1e-12)


@pytest.mark.parametrize("filter", FILTERS)
def test_gradient_of_the_term_is_the_finite_difference(filter):
    with jax.enable_x64(True):
        degraded, restored, direction = (
            jax.random.uniform(jax.random.key(i), shape)
            for i, shape in enumerate([(5, 6, 3), (16, 16, 3), (16, 16, 3)])
        )
        term = DownscaleL2(filter=filter)
        cache = term.prepare(degraded, resolution=16)

        def value(t):
            return term.evaluate(cache, restored + t * direction)[0]

        expected = (value(1e-4) - value(-1e-4)) / 2e-4
        # The term is quadratic, so central differences err by rounding only.
        np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-8)


@pytest.mark.parametrize("filter", FILTERS)
def test_a_restoration_that_degrades_to_the_input_costs_nothing(noise_image, filter):
    degraded = downscale(noise_image, (8, 12), filter=filter)
    term = DownscaleL2(filter=filter)
    value, errors = term.evaluate(term.prepare(degraded, resolution=48), noise_image)
    assert value == 0
    assert errors.shape == (8, 12)


def test_the_value_is_the_mean_of_the_map_in_unit_range():
    term = DownscaleL2(filter="area")
    degraded = jnp.full((4, 4, 3), -1.0).at[0, 0, 0].set(1.0)
    value, errors = term.evaluate(degraded, jnp.full((16, 16, 3), -1.0))
    np.testing.assert_allclose(errors[0, 0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(value, 1 / 48, rtol=1e-6)
    assert errors[1:].sum() == 0


def test_below_the_floor_there_is_no_gradient():
    degraded = jnp.zeros((4, 4, 3))
    restored = jnp.full((8, 8, 3), 0.08)  # squared error in [0, 1]: 1.6e-3

    def value_and_slope(floor):
        term = DownscaleL2(filter="bicubic", floor=floor)
        return jax.value_and_grad(lambda x: term.evaluate(degraded, x)[0])(restored)

    value, slope = value_and_slope(2e-3)
    np.testing.assert_allclose(value, 2e-3, rtol=1e-6)
    assert not slope.any()
    value, slope = value_and_slope(1e-3)
    np.testing.assert_allclose(value, 1.6e-3, rtol=1e-5)
    assert slope.any()


def test_a_nan_is_not_hidden_by_the_floor():
    term = DownscaleL2(floor=2e-3)
    value, _ = term.evaluate(jnp.zeros((4, 4, 3)), jnp.full((8, 8, 3), jnp.nan))
    assert jnp.isnan(value)


def test_a_large_input_is_reduced_to_the_draft(noise_image):
    term = DownscaleL2(filter="area")
    cache = term.prepare(noise_image, resolution=16)
    np.testing.assert_array_equal(cache, downscale(noise_image, (16, 16), filter="area"))
    assert term.prepare(noise_image, resolution=40).shape == (32, 40, 3)
    assert term.prepare(noise_image, resolution=48) is noise_image


def test_a_restoration_smaller_than_the_cache_is_refused():
    with pytest.raises(ValueError, match="at least 16 x 16 pixels, got 8 x 8"):
        DownscaleL2().evaluate(jnp.zeros((16, 16, 3)), jnp.zeros((8, 8, 3)))


def test_vmap_gives_each_image_its_own_value(key):
    restored = jax.random.uniform(key, (3, 16, 16, 3))
    degraded = jnp.zeros((3, 4, 4, 3))
    values, _ = jax.vmap(DownscaleL2().evaluate)(degraded, restored)
    for i in range(3):
        single, _ = DownscaleL2().evaluate(degraded[i], restored[i])
        np.testing.assert_allclose(values[i], single, rtol=1e-6)


def test_consistency_psnr_is_in_decibels():
    restored = jnp.zeros((32, 32, 3))
    # 0.02 of [-1, 1] is 0.01 of [0, 1]: 40 dB, whichever image is larger.
    for size in (8, 32, 64):
        psnr = consistency_psnr(restored, jnp.full((size, size, 3), 0.02), filter="area")
        np.testing.assert_allclose(psnr, 40, rtol=1e-5)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least 1 pixel, got 8 to 0"):
        resample_matrix(8, 0, filter="area")
