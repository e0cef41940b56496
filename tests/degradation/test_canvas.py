"""Pictures that fill a part of a canvas are treated as if there were no canvas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.degradation.canvas import canvas_matrix, canvas_mean
from perceptual_jax.degradation.resampling import resample, resample_matrix, resize

made = jax.jit(canvas_matrix, static_argnames=("shape", "filter"))


@pytest.mark.parametrize("filter", ["bicubic", "area"])
@pytest.mark.parametrize(
    ("side_in", "side_out", "shape"),
    [
        (1024, 30, (32, 1024)),
        (1024, 4, (8, 1024)),
        (128, 127, (128, 128)),
        (128, 128, (128, 128)),
        (130, 64, (64, 160)),
        (255, 128, (128, 256)),
        (20, 31, (32, 32)),
        (4, 9, (16, 8)),
        (256, 250, (256, 256)),
    ],
)
def test_the_matrix_is_that_of_float64(side_in, side_out, shape, filter):
    found = np.asarray(made(jnp.int32(side_in), jnp.int32(side_out), shape=shape, filter=filter))
    expected = resample_matrix(side_in, side_out, filter=filter)
    np.testing.assert_allclose(found[:side_out, :side_in], expected, atol=1e-6)
    np.testing.assert_array_equal(found[:, side_in:], 0)
    np.testing.assert_array_equal(found[side_out:], found[[side_out - 1] * (shape[0] - side_out)])


def test_a_picture_on_a_canvas_is_reduced_as_one_without():
    picture = np.random.default_rng(0).uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    matrix = made(64, 20, shape=(32, 64), filter="area")
    found = resample(jnp.asarray(picture), matrix, matrix)
    expected = resize(jnp.asarray(picture), (20, 20))
    np.testing.assert_allclose(found[:20, :20], expected, atol=1e-6)
    np.testing.assert_allclose(found[20:, :20], np.repeat(expected[-1:], 12, axis=0), atol=1e-6)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_means_are_over_the_part_that_is_filled(every):
    values = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    found = canvas_mean(jnp.asarray(values[::every]), jnp.int32(11), every=every)
    np.testing.assert_allclose(found, values[:11:every, :11].mean(), rtol=1e-5)
