"""`cross_loss` against float64 loops, true angles, finite differences, and equal styles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from perceptual_jax.prior import geodesic

cross_loss = jax.jit(geodesic.cross_loss)
pairwise_angles = jax.jit(geodesic.pairwise_angles)


def styles_of(seed, k, d, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(k, d)).astype(dtype)


def reference(styles):
    """PULSE's formula for 18 styles of 512 dimensions, in float64, pair by pair."""
    total, k = 0.0, len(styles)
    for a in np.float64(styles):
        for b in np.float64(styles):
            difference = np.sqrt(np.sum((a - b) ** 2) + 1e-9)
            total += 512 * (2 * np.arctan2(difference, np.sqrt(np.sum((a + b) ** 2) + 1e-9))) ** 2
    return total / k**2 / 8


@pytest.mark.parametrize(("k", "d"), [(18, 512), (5, 7), (2, 1)])
def test_agrees_with_loops(k, d):
    styles = styles_of(0, k, d)
    np.testing.assert_allclose(cross_loss(jnp.array(styles)), reference(styles), rtol=1e-5)


def test_angles_are_true_angles_at_equal_norms():
    styles = np.float64(styles_of(0, 4, 6))
    directions = styles / np.linalg.norm(styles, axis=1, keepdims=True)
    expected = np.arccos(np.clip(directions @ directions.T, -1, 1))
    # On the diagonal, PULSE's 1e-9 leaves sqrt(1e-9) / 3 = 1e-5.
    angles = pairwise_angles(jnp.array(3 * directions, jnp.float32))
    np.testing.assert_allclose(angles, expected, atol=2e-5)


def test_unequal_norms_move_the_angle_towards_a_right_one():
    angles = pairwise_angles(jnp.array([[1.0, 0.0], [3.0, 0.0], [-3.0, 0.0]]))
    # cos theta = 2 * 1 * 3 / (1 + 9) = 0.6
    np.testing.assert_allclose(angles[0, 1:], [np.arccos(0.6), np.arccos(-0.6)], rtol=1e-5)


def test_equal_styles_cost_nothing_and_feel_nothing():
    style = styles_of(0, 1, 512) * 4.12 / np.sqrt(512)
    value, gradient = jax.value_and_grad(cross_loss)(jnp.array(np.tile(style, (18, 1))))
    # PULSE's 1e-9: 64 (2 sqrt(1e-9) / |2 w|)^2. A useful gradient is 1e-3 and more.
    np.testing.assert_allclose(value, 64 * 1e-9 / np.sum(style**2), rtol=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_one_style_costs_nothing():
    value, gradient = jax.value_and_grad(cross_loss)(jnp.array(styles_of(0, 1, 8)))
    assert 0 <= value < 1e-7
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.parametrize(
    "styles", [np.zeros((3, 4)), [[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]]
)
def test_gradient_is_finite_at_zero_and_opposite_styles(styles):
    value, gradient = jax.value_and_grad(cross_loss)(jnp.array(styles, jnp.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_gradient_agrees_with_finite_differences():
    with jax.enable_x64(True):
        styles = jnp.array(styles_of(0, 3, 4, np.float64))
        check_grads(
            lambda x: cross_loss(jnp.asarray(x)),
            (styles,),
            order=1,
            modes=["rev"],
            atol=1e-6,
            rtol=1e-6,
        )


def test_order_and_common_scale_do_not_matter():
    styles = jnp.array(styles_of(0, 6, 16))
    value = cross_loss(styles)
    np.testing.assert_allclose(cross_loss(styles[::-1]), value, rtol=1e-5)
    np.testing.assert_allclose(cross_loss(10 * styles), value, rtol=1e-5)


def test_vmapped_is_single():
    batch = jnp.array(styles_of(0, 12, 16)).reshape(3, 4, 16)
    single = [cross_loss(styles) for styles in batch]
    np.testing.assert_allclose(jax.jit(jax.vmap(cross_loss))(batch), single, rtol=1e-5)
