"""Offsets of features: both generators, full resolution and drafts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.draft import init_draft_head
from perceptual_jax.generator.mobilestylegan import MobileStyleGAN
from perceptual_jax.generator.stylegan2 import StyleGAN2
from tests.helpers.narrow import mobile, mobile_arrays
from tests.helpers.narrow_stylegan2 import CONFIG


@functools.cache
def stylegan2():
    """A narrow StyleGAN2."""
    return jax.jit(lambda key: StyleGAN2.init(key, CONFIG))(jax.random.key(0))


def normal(seed, shape):
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def inputs(generator, resolution):
    styles = normal(1, (generator.num_styles, *generator.w_mean.shape))
    noise = generator.noise_maps()
    shape = jax.eval_shape(lambda s: generator.features(s, noise, resolution), styles).shape
    return styles, noise, normal(2, shape)


@pytest.fixture(params=["mobilestylegan", "stylegan2"])
def generator(request):
    return mobile() if request.param == "mobilestylegan" else stylegan2()


def test_no_offset_is_an_offset_of_zeros(generator):
    styles, noise, offset = inputs(generator, 8)
    image = jax.jit(lambda g, o: g.synthesis(styles, noise, o))
    none, zeros, some = (
        image(generator, None),
        image(generator, 0 * offset),
        image(generator, offset),
    )
    np.testing.assert_array_equal(none, zeros)
    assert np.max(np.abs(some - none)) > 1e-2


def test_the_offset_is_added_after_its_block():
    """The features of later blocks are those blocks applied to features plus offset."""
    generator = mobile()
    styles, noise, offset = inputs(generator, 8)

    @jax.jit
    def both(generator):
        early = generator.features(styles, noise, 8) + offset
        later = generator.blocks[1](early, styles[3:5], noise[3:5])
        return later, generator.features(styles, noise, 16, offset)

    np.testing.assert_allclose(*both(generator), rtol=1e-5, atol=1e-5)


def test_stylegan2s_own_image_of_the_block_does_not_see_the_offset():
    styles, noise, offset = inputs(stylegan2(), 8)
    until = jax.jit(lambda g, o: g.synthesis.until(styles, noise, 8, o))
    features, image = until(stylegan2(), None)
    moved, same = until(stylegan2(), offset)
    np.testing.assert_array_equal(image, same)
    np.testing.assert_allclose(moved - features, offset, atol=1e-5)


def test_drafts_see_the_offset():
    head = init_draft_head(jax.random.key(0), 16, 16)
    arrays = {name: np.asarray(x[...]) for name, x in vars(head).items() if hasattr(x, "shape")}
    generator = MobileStyleGAN.from_arrays(mobile_arrays(), draft_heads={16: arrays})
    styles, noise, offset = inputs(generator, 8)
    draft = jax.jit(lambda g, o: g.draft(styles, noise, 16, o))
    assert np.max(np.abs(draft(generator, offset) - draft(generator, 0 * offset))) > 1e-4


def test_offsets_that_do_not_fit(generator):
    styles, noise, offset = inputs(generator, 8)
    with pytest.raises(ValueError, match=r"must have shape \(8, 8, \d+\), got \(8, 8, 3\)"):
        generator.synthesis(styles, noise, offset[..., :3])


def test_an_offset_beyond_the_last_block_of_a_draft():
    styles, noise, offset = inputs(stylegan2(), 8)
    with pytest.raises(ValueError, match="only blocks of up to 4 px are computed"):
        stylegan2().draft(styles, noise, 4, offset)
    generator = mobile()
    styles, noise, _ = inputs(generator, 8)
    with pytest.raises(ValueError, match="a power of two of pixels from 4 to 16, got 12"):
        generator.features(styles, noise, 12)
