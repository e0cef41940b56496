import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import as_float, picture

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.dct_box import DctBox
from perceptual_jax.degradation.jpeg import JpegHeader

TERM = DctBox()


def box_of(image, quality, sampling):
    file = jpeg(image, quality=quality, subsampling=sampling)
    return TERM.prepare(jnp.asarray(as_float(file.image)), file.header)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [10, 40])
def test_the_original_lies_in_its_own_box_and_others_do_not(sampling, quality):
    image = picture(1)
    cache = box_of(image, quality, sampling)
    own, _ = TERM.evaluate(cache, jnp.asarray(as_float(image)))
    shifted, _ = TERM.evaluate(cache, jnp.asarray(as_float(np.roll(image, 2, axis=1))))
    other, _ = TERM.evaluate(cache, jnp.asarray(as_float(picture(2))))
    # Not quite zero: the decoder's smoothing of chroma and its clipping move some coefficients.
    assert own < 3e-5
    assert shifted > 30 * own
    assert other > shifted


def test_the_map_says_where_it_comes_from():
    image = picture(1)
    cache = box_of(image, 20, "4:2:0")
    wrong = image.copy()
    wrong[16:32, 32:48] = 255 - wrong[16:32, 32:48]
    value, where = TERM.evaluate(cache, jnp.asarray(as_float(wrong)))
    np.testing.assert_allclose(jnp.mean(where), value, rtol=1e-5)
    assert float(where[16:32, 32:48].sum() / where.sum()) > 0.95


def test_the_gradient_is_that_of_differences_and_zero_inside():
    image = picture(4, 32, 32)
    file = jpeg(image, quality=30, subsampling="4:2:0")
    with jax.enable_x64(True):
        cache = TERM.prepare(jnp.asarray(file.image / 127.5 - 1), file.header)
        x = jnp.asarray(picture(5, 32, 32) / 127.5 - 1)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))

        def value(x):
            return TERM.evaluate(cache, x)[0]

        slope = jnp.sum(jax.grad(value)(x) * direction)
        e = 1e-5
        difference = (value(x + e * direction) - value(x - e * direction)) / (2 * e)
        np.testing.assert_allclose(slope, difference, rtol=1e-4)
    grey = jnp.zeros((16, 16, 3))
    header = file.header
    inside = jax.grad(lambda x: TERM.evaluate(TERM.prepare(grey, header), x)[0])(grey + 0.01)
    np.testing.assert_array_equal(inside, 0)


def test_larger_pictures_are_averaged_and_headers_batched():
    images = [picture(i, 32, 32) for i in range(2)]
    files = [
        jpeg(x, quality=20, subsampling=s) for x, s in zip(images, ("4:2:0", "4:4:4"), strict=True)
    ]
    headers = JpegHeader(*(jnp.stack(x) for x in zip(*(f.header for f in files), strict=True)))
    degraded = jnp.stack([jnp.asarray(as_float(f.image)) for f in files])
    large = jnp.stack([jnp.asarray(as_float(x.repeat(2, 0).repeat(2, 1))) for x in images])
    caches = jax.vmap(TERM.prepare)(degraded, headers)
    values, _ = jax.jit(jax.vmap(TERM.evaluate))(caches, large)
    for i in range(2):
        alone, _ = TERM.evaluate(
            TERM.prepare(degraded[i], files[i].header), jnp.asarray(as_float(images[i]))
        )
        np.testing.assert_allclose(values[i], alone, rtol=1e-3, atol=1e-8)
