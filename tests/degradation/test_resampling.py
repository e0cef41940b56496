import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.resampling import downscale, resample_matrix

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
    np.testing.assert_allclose(reduced, pulse_downscale(np.array(noise_image), factor), atol=3e-6)


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


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least 1 pixel, got 8 to 0"):
        resample_matrix(8, 0, filter="area")
