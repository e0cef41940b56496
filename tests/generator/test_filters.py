"""Filters other than [1 3 3 1], and bilinear interpolation, against slow numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from perceptual_jax.generator.filters import upsample_bilinearly, upsample_by
from perceptual_jax.generator.upsampling import up_conv, upsample
from tests.helpers import reference_stylegan2 as reference
from tests.helpers.narrow_stylegan2 import f32, synthesis, with_config

FILTERS = [
    (1.0,),
    (1.0, 1.0),
    (1.0, 2.0, 1.0),
    (0.25,) * 4,
    (0.0, 0.5, 0.5, 0.0),
    (1.0, 2.0, 3.0, 5.0),
    (1.0, 5.0, 10.0, 10.0, 5.0, 1.0),
    (-0.5, 1.0, 4.0, 2.0, 0.5),
]


def to_hwc(x):
    return jnp.asarray(x.transpose(1, 2, 0), jnp.float32)


@pytest.mark.parametrize("taps", [*FILTERS, (1.0, 3.0, 3.0, 1.0), "bilinear"])
def test_upsampling_and_up_convolution_agree_with_the_reference(taps):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(3, 5, 4)), rng.normal(size=(2, 3, 3, 3))
    expected = to_hwc(reference.upsample(x, taps))
    np.testing.assert_allclose(upsample(to_hwc(x), filter=taps), expected, atol=1e-5)
    kernel = jnp.asarray(weight.transpose(2, 3, 1, 0), jnp.float32)
    kernel = kernel if taps == "bilinear" else kernel[::-1, ::-1]
    for form in ("dilated", "polyphase"):
        got = up_conv(to_hwc(x), kernel, form=form, filter=taps)
        expected = to_hwc(reference.up_conv(x, weight, taps))
        # float32 sums of up to 27 x 36 products of order 1, whose weights sum to 4.
        np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("taps", FILTERS)
def test_a_filter_is_the_convolution_of_scipy(taps):
    x = np.random.default_rng(1).normal(size=(4, 6))
    kernel = 4 * np.outer(taps, taps) / np.sum(taps) ** 2
    stuffed = np.zeros((8, 12))
    stuffed[::2, ::2] = x
    whole = scipy.signal.convolve2d(stuffed, kernel)
    first = len(taps) - 1 - (len(taps) + 1) // 2  # zeros before the first pixel come off
    whole = np.pad(whole, 1)[first + 1 :, first + 1 :][:8, :12]
    got = upsample_by(jnp.asarray(x[..., None], jnp.float32), taps)[..., 0]
    np.testing.assert_allclose(got, whole, atol=1e-5)


def test_bilinear_is_that_of_jax():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 5, 2)), jnp.float32)
    expected = jax.image.resize(x, (6, 10, 2), "bilinear")
    np.testing.assert_allclose(upsample_bilinearly(x), expected, atol=1e-6)


@pytest.mark.parametrize("taps", [(0.0, 0.5, 0.5, 0.0), (1.0, 2.0, 1.0), "bilinear"])
def test_a_whole_network_uses_its_filter(checkpoint, generator, styles, noise, taps):
    ours = with_config(generator, resample_filter=taps)
    if taps == "bilinear":  # whose kernels are not flipped
        arrays = generator.to_arrays()
        turned = {k: v[::-1, ::-1] for k, v in arrays.items() if k.endswith("conv0.weight")}
        ours = type(ours)(ours.config, {**arrays, **turned})
    expected = reference.synthesis(checkpoint, styles, noise, taps=taps)
    image = synthesis(ours, f32(styles), f32(tuple(noise)))
    np.testing.assert_allclose(image, expected, atol=1e-5 * np.abs(expected).max())
    usual = synthesis(generator, f32(styles), f32(tuple(noise)))
    assert jnp.abs(image - usual).max() > 0.01 * jnp.abs(usual).max()


def test_the_gradient_of_a_filter_is_its_transpose():
    rng = np.random.default_rng(3)
    x, y = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((4, 5, 2), (8, 10, 3)))
    weight = jnp.asarray(rng.normal(size=(3, 3, 2, 3)), jnp.float32)
    for taps in ((1.0, 2.0, 3.0), "bilinear"):
        image, vjp = jax.vjp(
            lambda x, taps=taps: up_conv(x, weight, form="polyphase", filter=taps), x
        )
        np.testing.assert_allclose(jnp.vdot(image, y), jnp.vdot(x, vjp(y)[0]), rtol=1e-4)
