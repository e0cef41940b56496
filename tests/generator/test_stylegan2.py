"""StyleGAN2 against a slow numpy reference in float64, and what a search relies on."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.draft import init_draft_head
from perceptual_jax.generator.mapping import broadcast_styles, truncate
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.types import Generator
from tests.helpers import reference_stylegan2 as reference
from tests.helpers.narrow_stylegan2 import CLAMP, CONFIG, f32, synthesis, to_ours, with_config


@pytest.mark.parametrize("up_conv", ["dilated", "polyphase"])
@pytest.mark.parametrize("clamp", [None, CLAMP])
def test_synthesis_agrees_with_the_reference(checkpoint, generator, styles, noise, up_conv, clamp):
    ours = with_config(generator, up_conv=up_conv, conv_clamp=clamp)
    const = [x for name, x in checkpoint.items() if name.endswith("noise_const")]
    for maps, expected_maps in (
        (ours.noise_maps(), const),
        (ours.noise_maps(mode="none"), [np.zeros_like(x) for x in const]),
        (f32(tuple(noise)), noise),
    ):
        expected = reference.synthesis(checkpoint, styles, expected_maps, clamp=clamp or np.inf)
        image = synthesis(ours, f32(styles), maps)
        assert image.dtype == jnp.float32
        # 1e-5 of the image's range: float32 through five layers.
        np.testing.assert_allclose(image, expected, atol=1e-5 * np.abs(expected).max())


def test_the_whole_way_from_a_labelled_latent_to_the_image():
    rng = np.random.default_rng(3)
    config = dataclasses.replace(CONFIG, c_dim=3, conv_clamp=256.0)
    ckpt = reference.make_checkpoint(rng, config.channels, c_dim=3)
    ours = StyleGAN2(config, to_ours(ckpt))
    z, label = rng.normal(size=8), np.eye(3)[1]
    w = reference.mapping(ckpt, z, label)
    styles = reference.truncate(np.tile(w, (6, 1)), ckpt["mapping.w_avg"], 0.7)
    maps = [x for name, x in ckpt.items() if name.endswith("noise_const")]
    expected = reference.synthesis(ckpt, styles, maps, clamp=256.0)
    got = broadcast_styles(ours.mapping(f32(z), f32(label)), ours.num_styles)
    got = truncate(got, ours.w_mean, psi=0.7)
    got = synthesis(ours, got, ours.noise_maps())
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_the_draft_is_the_skip_image(checkpoint, generator, styles, noise):
    @jax.jit
    def drafts(generator, styles, noise):
        return [generator.draft(styles, noise, r) for r in (4, 8, 16)]

    for resolution, image in zip(
        (4, 8, 16), drafts(generator, f32(styles), f32(tuple(noise))), strict=True
    ):
        expected = reference.synthesis(checkpoint, styles, noise, last=resolution)
        assert image.shape == (resolution, resolution, 3)
        np.testing.assert_allclose(image, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("clamp", [None, CLAMP])
def test_gradients_agree_with_finite_differences(checkpoint, generator, styles, noise, clamp):
    """All of the styles and a random fifth of every noise map, in float64 on the reference."""
    rng = np.random.default_rng(4)
    target = rng.normal(size=(16, 16, 3))
    ours = with_config(generator, conv_clamp=clamp)

    def loss(styles, noise):
        image = reference.synthesis(checkpoint, styles, noise, clamp=clamp or np.inf)
        return np.sum(image * target)

    def derivative(x, index):
        # A step so small hardly ever crosses a kink; at float64 the difference keeps 8 digits.
        step, value = 1e-6, x[index]
        x[index] = value + step
        above = loss(styles, noise)
        x[index] = value - step
        below = loss(styles, noise)
        x[index] = value
        return (above - below) / (2 * step)

    styles, noise = styles.copy(), [x.copy() for x in noise]
    got = jax.jit(jax.grad(lambda s, n: jnp.vdot(ours.synthesis(s, n), f32(target)), (0, 1)))(
        f32(styles), f32(tuple(noise))
    )
    expected = np.array([derivative(styles, i) for i in np.ndindex(styles.shape)])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.ravel(got[0]), expected, atol=1e-4 * scale)
    for gradient, x in zip(got[1], noise, strict=True):
        where = [tuple(i) for i in rng.integers(0, len(x), (12, 2))]
        expected = np.array([derivative(x, i) for i in where])
        np.testing.assert_allclose([gradient[i] for i in where], expected, atol=1e-4 * scale)


@pytest.mark.parametrize("up_conv", ["dilated", "polyphase"])
def test_a_batch_is_its_rows_and_one_ordinary_convolution_per_layer(small, key, up_conv):
    generator, _, noise = small
    generator = with_config(generator, up_conv=up_conv)
    batch = jax.random.normal(key, (3, 4, 6))

    def gradient(generator, styles):
        return jax.grad(lambda s: jnp.sum(generator.synthesis(s, noise) ** 2))(styles)

    vmapped = jax.jit(jax.vmap(gradient, (None, 0)))
    single = jax.jit(gradient)(generator, batch[1])
    row = vmapped(generator, batch)[1]
    np.testing.assert_allclose(row, single, rtol=1e-4, atol=1e-5 * jnp.abs(single).max())
    text = vmapped.lower(generator, batch).as_text()
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", text)
    assert len(groups) >= 2 * 2 * 3  # two counts, forward and backward, three layers
    assert set(groups) == {"1"}


def test_a_call_changes_no_leaf_and_compiles_once(generator, styles):
    before = jax.tree.leaves(generator)

    synthesis.clear_cache()
    for scale in (1.0, 2.0):
        synthesis(generator, scale * f32(styles), generator.noise_maps())
    assert all(a is b for a, b in zip(before, jax.tree.leaves(generator), strict=True))
    assert synthesis._cache_size() == 1


def test_every_style_reaches_the_image_and_drafts_see_their_own(generator, styles, noise):
    assert isinstance(generator, Generator)
    assert (generator.resolution, generator.num_styles, generator.z_dim) == (16, 6, 8)

    @jax.jit
    def gradients(generator, styles):
        def total(styles, resolution):
            return jnp.sum(generator.draft(styles, f32(tuple(noise)), resolution) ** 2)

        return [jax.grad(total)(styles, r) for r in (4, 8, 16)]

    for resolution, count, gradient in zip(
        (4, 8, 16), (2, 4, 6), gradients(generator, f32(styles)), strict=True
    ):
        assert generator.num_seen_styles(resolution) == count
        np.testing.assert_array_equal(jnp.any(gradient != 0, axis=1), np.arange(6) < count)


def test_psi_zero_is_the_mean_face_for_every_latent(generator, key):
    @jax.jit
    def styles(generator, z):
        w = jax.vmap(generator.mapping)(z)
        return jax.vmap(lambda w: truncate(broadcast_styles(w, 6), generator.w_mean, psi=0.0))(w)

    mean = broadcast_styles(generator.w_mean, 6)
    for row in styles(generator, jax.random.normal(key, (2, 8))):
        np.testing.assert_array_equal(row, mean)


def test_noise_maps(generator, key):
    const = generator.noise_maps()
    assert [x.shape for x in const] == [(r, r) for r in (4, 8, 8, 16, 16)]
    assert all(not x.any() for x in generator.noise_maps(mode="none"))
    random = jax.jit(jax.vmap(lambda key: generator.noise_maps(key, mode="random")))
    first, second = zip(*random(jax.random.split(key)), strict=True)
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    draws = jnp.concatenate([x.ravel() for x in first])
    assert jnp.std(draws) == pytest.approx(1.0, abs=0.15)  # four standard errors of 656 draws
    with pytest.raises(ValueError, match="needs a key"):
        generator.noise_maps(mode="random")


def test_a_draft_head_corrects_the_skip_image(small, key):
    generator, styles, noise = small
    head = init_draft_head(key, channels=6, dim=6, hidden=4, out=3)
    corrected = StyleGAN2(generator.config, generator.to_arrays(), draft_heads={4: head})
    assert (generator.num_seen_styles(4), corrected.num_seen_styles(4)) == (2, 4)

    @jax.jit
    def correction_and_expected(generator, corrected):
        features, skip = generator.synthesis.until(styles, noise, 4)
        late = styles[1:] - generator.w_mean[None]  # style 1 is the first the features lack
        return corrected.draft(styles, noise, 4) - skip, head(features, late)

    correction, expected = correction_and_expected(generator, corrected)
    assert jnp.abs(expected).max() > 1e-3
    np.testing.assert_allclose(correction, expected, atol=1e-5)


def test_bfloat16_activations_give_about_the_same_float32_image_and_gradient(small):
    generator, styles, noise = small

    @functools.partial(jax.jit, static_argnums=1)
    def image_and_gradient(generator, dtype):
        generator = with_config(generator, dtype=dtype)

        def loss(styles):
            image = generator.synthesis(styles, noise)
            return jnp.mean(image**2), image

        gradient, image = jax.grad(loss, has_aux=True)(styles)
        return image, gradient

    full, full_gradient = image_and_gradient(generator, "float32")
    half, half_gradient = image_and_gradient(generator, "bfloat16")
    assert (half.dtype, half_gradient.dtype) == (jnp.float32, jnp.float32)
    # Eight bits of mantissa: 0.4 % a rounding, a handful of roundings a layer.
    assert 0 < jnp.sqrt(jnp.mean((half - full) ** 2)) < 0.02 * jnp.std(full)
    cosine = jnp.vdot(half_gradient, full_gradient)
    cosine /= jnp.linalg.norm(half_gradient) * jnp.linalg.norm(full_gradient)
    assert cosine > 0.99
