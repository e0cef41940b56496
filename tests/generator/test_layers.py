"""Layers against slow numpy, their hand-written gradients against automatic ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from perceptual_jax.generator import layers
from perceptual_jax.generator.convolution import conv
from perceptual_jax.generator.upsampling import up_conv, upsample
from tests.helpers import reference_stylegan2 as reference


def to_hwio(weight):
    return jnp.asarray(weight.transpose(2, 3, 1, 0), jnp.float32)


def to_hwc(x):
    return jnp.asarray(x.transpose(1, 2, 0), jnp.float32)


def to_flipped_hwio(weight):
    return to_hwio(weight)[::-1, ::-1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_leaky_relu_has_the_slope_of_each_side():
    x = jnp.array([-3.0, -0.5, 0.5, 3.0])
    slope = jax.vmap(jax.grad(lambda v: layers.leaky_relu(v, gain=2.0)))(x)
    np.testing.assert_allclose(slope, [0.4, 0.4, 2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(layers.leaky_relu(x), np.where(x > 0, x, 0.2 * x), rtol=1e-6)


def test_normalize_2nd_moment_has_unit_mean_square_and_a_finite_gradient_at_zero():
    x = layers.normalize_2nd_moment(jnp.arange(1.0, 9.0) * 1e3)
    assert jnp.mean(x**2) == pytest.approx(1.0, rel=1e-6)
    at_zero = jax.jit(jax.jacobian(layers.normalize_2nd_moment))(jnp.zeros(3))
    np.testing.assert_allclose(at_zero, 1e4 * np.eye(3), rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "padding", "dilation"),
    [((3, 3), (1, 1), 1), ((3, 3), (2, 2), 2), ((2, 1), (1, 0), 1), ((1, 1), (0, 0), 1)],
)
def test_conv_and_its_gradients_are_those_of_lax(rng, kernel, padding, dilation):
    x = jnp.asarray(rng.normal(size=(5, 6, 3)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(*kernel, 3, 4)), jnp.float32)

    def ours(x, weight):
        return conv(x, weight, padding=padding, dilation=dilation)

    def theirs(x, weight):
        return lax.conv_general_dilated(
            x[None],
            weight,
            (1, 1),
            [(p, p) for p in padding],
            lhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0]

    def value_and_gradients(conv):
        y = conv(x, weight)
        weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return y, jax.grad(lambda *args: jnp.vdot(weights, conv(*args)), (0, 1))(x, weight)

    got, expected = jax.jit(lambda: (value_and_gradients(ours), value_and_gradients(theirs)))()
    # Sums of at most 120 products of order 1 in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)


def test_the_gradient_of_conv_keeps_flip_and_transposition_of_the_kernel_together():
    """Otherwise a `lax.scan` on a CPU takes five times longer, see `convolution.conv`."""
    x, weight = jnp.ones((4, 4, 2)), jnp.ones((3, 3, 2, 2))
    jaxpr = jax.make_jaxpr(jax.grad(lambda x: conv(x, weight).sum()))(x).jaxpr
    barriers = [e for e in jaxpr.eqns if e.primitive.name == "optimization_barrier"]
    assert [v.aval.shape for e in barriers for v in e.outvars] == [(3, 3, 2, 2)]


@pytest.mark.parametrize("form", ["dilated", "polyphase"])
def test_up_conv_scatters_and_filters(rng, form):
    x, weight = rng.normal(size=(3, 5, 4)), rng.normal(size=(2, 3, 3, 3))
    got = up_conv(to_hwc(x), to_flipped_hwio(weight), form=form)
    assert got.shape == (10, 8, 2)
    # float32 sums of 27 products, then of 16 with weights that sum to 4.
    np.testing.assert_allclose(got, to_hwc(reference.up_conv(x, weight)), atol=1e-5)


def test_both_forms_of_up_conv_have_one_gradient(rng):
    x, weight = to_hwc(rng.normal(size=(3, 6, 6))), to_hwio(rng.normal(size=(4, 3, 3, 3)))
    target = jnp.asarray(rng.normal(size=(12, 12, 4)), jnp.float32)

    def loss(x, weight, form):
        return jnp.mean((up_conv(x, weight, form=form) - target) ** 2)

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    dilated, polyphase = gradient(x, weight, "dilated"), gradient(x, weight, "polyphase")
    for a, b in zip(dilated, polyphase, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_up_conv_gradient_is_its_transpose(rng):
    """<A x, y> = <x, A' y>, so the hand-written gradient of the filter is the right one."""
    x, y = rng.normal(size=(4, 5, 2)), rng.normal(size=(8, 10, 3))
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    weight = to_hwio(rng.normal(size=(3, 2, 3, 3)))

    @jax.jit
    def products(x, y):
        image, vjp = jax.vjp(lambda x: up_conv(x, weight, form="dilated"), x)
        return jnp.vdot(image, y), jnp.vdot(x, vjp(y)[0])

    left, right = products(x, y)
    np.testing.assert_allclose(left, right, rtol=1e-4)


@pytest.mark.parametrize("up", [None, "dilated", "polyphase"])
def test_modulated_conv_is_a_convolution_with_the_weights_of_one_sample(rng, up):
    x, weight = rng.normal(size=(3, 4, 4)), rng.normal(size=(2, 3, 3, 3))
    style = 1.0 + rng.normal(size=3)
    own = reference.modulated(weight, style)
    expected = reference.up_conv(x, own) if up else reference.conv(x, own)
    kernel = to_flipped_hwio(weight) if up else to_hwio(weight)
    square = jnp.sum(kernel**2, axis=(0, 1))
    got = layers.modulated_conv(to_hwc(x), kernel, square, jnp.asarray(style, jnp.float32), up=up)
    np.testing.assert_allclose(got, to_hwc(expected), atol=1e-5)


def test_modulated_conv_is_finite_at_a_style_of_zero(rng):
    weight = to_hwio(rng.normal(size=(2, 3, 3, 3)))
    square = jnp.sum(weight**2, axis=(0, 1))

    def total(style):
        return jnp.sum(layers.modulated_conv(jnp.ones((4, 4, 3)), weight, square, style))

    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.zeros(3))
    assert value == 0.0
    assert jnp.isfinite(gradient).all()


def test_to_rgb_is_float32_whatever_the_activations(rng):
    x = jnp.asarray(rng.normal(size=(4, 4, 5)), jnp.float32)
    weight, bias = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32), jnp.arange(3.0)
    style = jnp.asarray(rng.normal(size=5), jnp.float32)
    rgb = layers.to_rgb(x, weight, bias, style)
    expected = np.asarray(x) * np.asarray(style) @ np.asarray(weight) + np.asarray(bias)
    np.testing.assert_allclose(rgb, expected, atol=1e-5)
    half = layers.to_rgb(x.astype(jnp.bfloat16), weight, bias, style)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, rgb, atol=0.1)  # 8 bits of mantissa, sums of 5


def test_upsample_is_the_filtered_zero_stuffed_image(rng):
    x = rng.normal(size=(3, 4, 5))
    expected = reference.upsample(x)
    np.testing.assert_allclose(upsample(to_hwc(x)), to_hwc(expected), atol=1e-6)
