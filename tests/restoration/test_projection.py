"""The projection: what is shown becomes the input, what is not shown stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.resampling import downscale, resample_matrix
from perceptual_jax.restoration.data_terms.dct_box import DctBox
from perceptual_jax.restoration.projections.feasible import Projection
from perceptual_jax.types import Given


def picture(seed, side, coarse=4):
    rng = np.random.default_rng(seed)
    small = jnp.asarray(rng.uniform(-1, 1, (side // coarse, side // coarse, 3)), jnp.float32)
    return downscale(small, (side, side), filter="bicubic").clip(-0.9, 0.9)


project = jax.jit(lambda projection, given, image: projection(given, image))


@pytest.mark.parametrize("filter", ["bicubic", "area"])
def test_the_downscaled_picture_is_the_input(filter):
    image, y = picture(0, 64), picture(1, 16)
    moved = project(Projection(filter=filter), Given(y), image)
    errors = downscale(moved, (16, 16), filter=filter) - y
    # Half a level is left as rounding; the ridge leaves a thousandth.
    assert np.max(np.abs(errors)) < 1 / 255 + 0.01
    assert np.max(np.abs(downscale(image, (16, 16), filter=filter) - y)) > 0.5


def test_what_the_downscale_does_not_see_stays():
    """The float64 projector on the null space gives the same before and after."""
    matrix = resample_matrix(64, 16, filter="bicubic")
    inverse = np.linalg.pinv(matrix)

    def unseen(image):
        image = np.asarray(image, np.float64)
        seen = np.einsum("ah,bw,hwc->abc", matrix, matrix, image)
        return image - np.einsum("ha,wb,abc->hwc", inverse, inverse, seen)

    image, y = picture(0, 64), picture(1, 16)
    moved = project(Projection(), Given(y), image)
    np.testing.assert_allclose(unseen(moved), unseen(image), atol=2e-3)


def test_an_original_is_left_as_it_is():
    image = picture(2, 64)
    levels = jnp.rint((downscale(image, (16, 16), filter="bicubic") + 1) * 127.5)
    moved = project(Projection(), Given(levels / 127.5 - 1), image)
    np.testing.assert_allclose(moved, image, atol=1e-5)


def test_strength_is_the_fraction_of_the_way():
    image, y = picture(0, 64), picture(1, 16)
    whole = project(Projection(), Given(y), image) - image
    half = project(Projection(strength=0.5), Given(y), image) - image
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_a_canvas_changes_nothing():
    image, y = picture(3, 64), picture(4, 12)
    alone = project(Projection(), Given(y), image)
    padded = jnp.pad(y, ((0, 4), (0, 4), (0, 0)), mode="edge")
    on_canvas = project(Projection(), Given(padded, side=jnp.int32(12)), image)
    np.testing.assert_allclose(on_canvas, alone, atol=1e-4)


def test_a_picture_smaller_than_the_input_is_not_moved():
    image = picture(5, 16)
    np.testing.assert_array_equal(project(Projection(), Given(picture(6, 32)), image), image)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_coefficients_are_brought_into_their_bins(subsampling):
    clean = picture(7, 32)
    file = jpeg(np.uint8((clean + 1) * 127.5), quality=15, subsampling=subsampling)
    given = Given(jnp.asarray(file.image / 127.5 - 1, jnp.float32), file.header)

    @jax.jit
    def distance(image):
        box = DctBox(1.0)
        return box.evaluate(box.prepare(given, 64), image)[0]

    large = downscale(clean, (64, 64), filter="bicubic")
    far = large + 0.2 * picture(8, 64)
    near = project(Projection(quantised=True, filter="area"), given, far)
    assert distance(near) < 0.05 * distance(far)
    assert np.mean((near - large) ** 2) < np.mean((far - large) ** 2)
    whole, half = (
        project(Projection(quantised=True, strength=s), given, far) - far for s in (1.0, 0.5)
    )
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_unknown_tables_move_nothing():
    image = picture(9, 64)
    moved = project(Projection(quantised=True), Given(picture(10, 32)), image)
    np.testing.assert_array_equal(moved, image)
