"""`mmd2` against float64 double loops, finite differences, closed forms and defining properties."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from perceptual_jax.prior import mmd

OPTIONS = ("kernel", "bandwidth", "unbiased")
mmd2 = jax.jit(mmd.mmd2, static_argnames=OPTIONS)
make_prior_bank = jax.jit(mmd.make_prior_bank, static_argnames=OPTIONS)
mmd2_to_bank = jax.jit(mmd.mmd2_to_bank)

KERNELS = ["gaussian", "laplacian"]

# float32 against float64: each of the three means is rounded to about 1e-7.
ATOL = 5e-7


def normal(seed, shape, *, scale=1.0, shift=0.0):
    """Float32 values, so that float64 references see exactly what the code sees."""
    return np.float32(np.random.default_rng(seed).normal(size=shape) * scale + shift)


def reference_kernel(a, b, kernel, bandwidth):
    squared = sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True))
    return np.exp(-(squared if kernel == "gaussian" else squared**0.5) / bandwidth)


def reference_mmd2(x, y, *, kernel, bandwidth, unbiased):
    def within(points):
        n = len(points)
        pairs = [(i, j) for i in range(n) for j in range(n) if not (unbiased and i == j)]
        return np.mean(
            [reference_kernel(points[i], points[j], kernel, bandwidth) for i, j in pairs]
        )

    across = np.mean([[reference_kernel(a, b, kernel, bandwidth) for b in y] for a in x])
    return within(x) + within(y) - 2 * across


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_agrees_with_double_loops(kernel, unbiased):
    x, y = normal(0, (4, 3), shift=0.5), normal(1, (7, 3), scale=2.0)
    options = {"kernel": kernel, "bandwidth": 2.0, "unbiased": unbiased}
    expected = reference_mmd2(x, y, **options)
    np.testing.assert_allclose(mmd2(jnp.array(x), jnp.array(y), **options), expected, atol=ATOL)


def test_keeps_small_values():
    # Averaging K itself instead of K - 1 is wrong by 1e-4 relative here (measured).
    x, y = normal(0, (18, 512), scale=0.45), normal(1, (500, 512), scale=0.45)
    with jax.enable_x64(True):
        exact = float(
            mmd2(jnp.array(x, jnp.float64), jnp.array(y, jnp.float64), kernel="laplacian")
        )
    assert exact < 2e-3
    value = mmd2(jnp.array(x), jnp.array(y), kernel="laplacian")
    np.testing.assert_allclose(value, exact, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_far_from_the_origin_precision_stays(kernel):
    x, y = normal(0, (5, 16), shift=100.0), normal(1, (9, 16), shift=100.0)
    options = {"kernel": kernel, "bandwidth": 20.0, "unbiased": False}
    expected = reference_mmd2(x, y, **options)
    np.testing.assert_allclose(mmd2(jnp.array(x), jnp.array(y), **options), expected, atol=ATOL)


@pytest.mark.parametrize(("kernel", "unbiased"), [("gaussian", True), ("laplacian", False)])
def test_gradients_agree_with_finite_differences(kernel, unbiased):
    with jax.enable_x64(True):
        x, y = jnp.array(normal(0, (3, 4)), jnp.float64), jnp.array(normal(1, (5, 4)), jnp.float64)

        def value(x, y):
            points = jnp.asarray(x), jnp.asarray(y)
            return mmd2(*points, kernel=kernel, bandwidth=3.0, unbiased=unbiased)

        check_grads(value, (x, y), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_gradient_at_the_size_of_a_search(kernel):
    x, y = normal(0, (18, 512), scale=0.45), normal(1, (200, 512), scale=0.45)
    gradient = jax.jit(jax.grad(lambda x, y: mmd2(x, y, kernel=kernel)))
    with jax.enable_x64(True):
        exact = np.asarray(gradient(jnp.array(x, jnp.float64), jnp.array(y, jnp.float64)))
    # 18 x 200 terms of size 1 / (18 * 512), rounded: relative to the largest entry.
    error = np.abs(gradient(jnp.array(x), jnp.array(y)) - exact).max()
    assert error < 5e-6 * np.abs(exact).max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_samples_have_no_discrepancy(kernel):
    x = jnp.array(normal(0, (6, 32)))
    np.testing.assert_allclose(mmd2(x, x, kernel=kernel, bandwidth=5.0), 0, atol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_points_give_a_finite_gradient(kernel):
    bank = make_prior_bank(jnp.array(normal(0, (8, 4))), kernel=kernel, bandwidth=2.0)
    tiled = jnp.tile(bank.samples[3], (5, 1))
    gradient = jax.jit(jax.grad(mmd2_to_bank))(tiled, bank)
    assert np.isfinite(gradient).all()
    # Tiled styles, all of them equal to a bank sample, feel the other samples only.
    difference = np.asarray(tiled[:1]) - np.delete(np.asarray(bank.samples), 3, axis=0)
    distance = np.linalg.norm(difference, axis=1, keepdims=True)
    slope = 2 * difference * np.exp(-(distance**2) / 2.0)
    if kernel == "laplacian":
        slope = difference / distance * np.exp(-distance / 2.0)
    expected = 2 / (5 * 8 * 2.0) * slope.sum(axis=0)
    np.testing.assert_allclose(gradient, np.tile(expected, (5, 1)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_is_zero_where_all_points_are_equal(kernel):
    x, y = jnp.full((3, 4), 7.3), jnp.full((5, 4), 7.3)
    value, gradients = jax.value_and_grad(
        lambda x, y: mmd2(x, y, kernel=kernel, bandwidth=1.0), argnums=(0, 1)
    )(x, y)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_no_nan_on_the_way_to_a_gradient_at_equal_points():
    # Users look for their own NaNs with this switch; each operation is checked, so without jit.
    with jax.debug_nans(True):
        jax.grad(mmd.mmd2)(jnp.full((2, 3), 7.3), jnp.full((2, 3), 7.3), kernel="laplacian")


def test_nan_styles_are_not_hidden():
    styles = jnp.array(normal(0, (3, 4))).at[1, 2].set(jnp.nan)
    for kernel in KERNELS:
        bank = make_prior_bank(jnp.array(normal(1, (5, 4))), kernel=kernel)
        assert np.isnan(mmd2_to_bank(styles, bank))


@pytest.mark.parametrize("kernel", KERNELS)
def test_order_does_not_matter(kernel):
    x, y = jnp.array(normal(0, (5, 8))), jnp.array(normal(1, (9, 8)))
    value = mmd2(x, y, kernel=kernel, bandwidth=8.0)
    for a, b in [(x[::-1], y[::-1]), (y, x)]:
        np.testing.assert_allclose(mmd2(a, b, kernel=kernel, bandwidth=8.0), value, atol=ATOL)


@pytest.mark.parametrize("kernel", KERNELS)
def test_v_statistic_is_never_negative(kernel):
    scales = np.float32(np.geomspace(1e-3, 30, 200))[:, None, None]
    x, y = jnp.array(normal(0, (200, 3, 2)) * scales), jnp.array(normal(1, (200, 4, 2)) * scales)
    values = jax.vmap(lambda x, y: mmd2(x, y, kernel=kernel, bandwidth=4.0))(x, y)
    assert (values >= -ATOL).all()
    assert (values <= 2).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_style_against_one_sample(kernel):
    x, y = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]])
    expected = 2 - 2 * np.exp(-(25 if kernel == "gaussian" else 5) / 10)
    np.testing.assert_allclose(mmd2(x, y, kernel=kernel, bandwidth=10.0), expected, rtol=1e-5)


def test_two_gaussians_have_the_closed_form():
    # For x ~ N(a, s^2 I), y ~ N(b, t^2 I), E exp(-|x - y|^2 / g) =
    # (1 + 2 (s^2 + t^2) / g)^(-d/2) exp(-|a - b|^2 / (g + 2 (s^2 + t^2))).
    d, g, s, t, shift = 4, 6.0, 1.0, 1.5, 0.5

    def expected_kernel(variance, squared_distance):
        return (1 + 2 * variance / g) ** (-d / 2) * np.exp(-squared_distance / (g + 2 * variance))

    across = expected_kernel(s**2 + t**2, d * shift**2)
    expected = expected_kernel(2 * s**2, 0) + expected_kernel(2 * t**2, 0) - 2 * across
    n, repeats = 50, 200
    x = jnp.array(normal(2, (repeats, n, d), scale=s))
    y = jnp.array(normal(3, (repeats, n, d), scale=t, shift=shift))

    def estimate(unbiased):
        values = jax.vmap(lambda x, y: mmd2(x, y, bandwidth=g, unbiased=unbiased))(x, y)
        return np.mean(values), np.std(values) / repeats**0.5

    mean, error = estimate(unbiased=True)
    assert error < 0.05 * expected
    assert abs(mean - expected) < 3 * error
    # The V-statistic counts the n pairs i = j of each sample, whose kernel is 1, among its n^2.
    bias = (2 - expected_kernel(2 * s**2, 0) - expected_kernel(2 * t**2, 0)) / n
    mean, error = estimate(unbiased=False)
    assert abs(mean - expected - bias) < 3 * error


@pytest.mark.parametrize("kernel", KERNELS)
def test_prefers_prior_draws_to_tiled_and_stretched_ones(kernel):
    bank = make_prior_bank(jnp.array(normal(0, (400, 64), scale=1.25)), kernel=kernel)
    draws = jnp.array(normal(1, (18, 64), scale=1.25))
    value = mmd2_to_bank(draws, bank)
    assert mmd2_to_bank(jnp.tile(draws[:1], (18, 1)), bank) > 5 * value
    assert mmd2_to_bank(jnp.zeros((18, 64)), bank) > value
    assert mmd2_to_bank(3 * draws, bank) > 5 * value


@pytest.mark.parametrize(("kernel", "unbiased"), [("gaussian", False), ("laplacian", True)])
def test_minimising_it_recovers_the_spread_of_the_prior(kernel, unbiased):
    samples = jnp.array(normal(0, (200, 16)))
    bank = make_prior_bank(samples, kernel=kernel, bandwidth="median", unbiased=unbiased)

    def descend(_, styles):
        step = jax.grad(mmd2_to_bank)(styles, bank)
        return styles - 0.1 * step / (1e-12 + jnp.linalg.norm(step) / 12**0.5)

    styles = jax.lax.fori_loop(0, 150, descend, jnp.array(normal(1, (12, 16), scale=0.1)))
    spread = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(styles), axis=1)))
    assert 0.8 < spread / 4 < 1.2


def test_median_bandwidth_is_taken_over_pairs():
    samples = normal(0, (7, 3))
    pairs = [(i, j) for i in range(7) for j in range(i)]
    squared = [np.sum(np.square(np.float64(samples[i]) - samples[j])) for i, j in pairs]
    for kernel, values in [("gaussian", squared), ("laplacian", np.sqrt(squared))]:
        bank = make_prior_bank(jnp.array(samples), kernel=kernel, bandwidth="median")
        np.testing.assert_allclose(bank.bandwidth, np.median(values), rtol=1e-6)


def test_bank_is_a_pytree_whose_kernel_is_static():
    samples, styles = jnp.array(normal(0, (6, 4))), jnp.array(normal(1, (3, 2, 4)))
    compiled = jax.jit(jax.vmap(mmd2_to_bank, in_axes=(0, None)))
    for kernel in KERNELS:
        bank = make_prior_bank(samples, kernel=kernel, bandwidth=3.0)
        assert len(jax.tree.leaves(bank)) == 3
        single = [mmd2_to_bank(image, bank) for image in styles]
        np.testing.assert_allclose(compiled(styles, bank), single, atol=ATOL)


def test_errors_say_what_to_do():
    samples, one = jnp.zeros((3, 2)), jnp.zeros((1, 2))
    with pytest.raises(ValueError, match="bandwidth must be a positive number"):
        make_prior_bank(samples, bandwidth=0.0)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        make_prior_bank(one, bandwidth="median")
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        make_prior_bank(one, unbiased=True)
    with pytest.raises(ValueError, match="at least 2 styles, got 1"):
        mmd2_to_bank(one, make_prior_bank(samples, unbiased=True))
    with pytest.raises(ValueError, match="the bank's 2 dimensions, got 5"):
        mmd2_to_bank(jnp.zeros((3, 5)), make_prior_bank(samples))
    # Without the type checks of the tests, as users call it.
    with pytest.raises(ValueError, match="one of gaussian, laplacian, got 'rbf'"):
        inspect.unwrap(mmd.make_prior_bank)(samples, kernel="rbf")


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian"])
def test_the_papers_bandwidth_is_512_for_ffhq_and_as_wide_beside_other_latents(kernel):
    points = jnp.array(normal(3, (40, 20)))
    median = make_prior_bank(points, kernel=kernel, bandwidth="median").bandwidth
    like_ffhq = {"gaussian": 193.0 * 1.05, "laplacian": 13.9 * 1.05}[kernel] / median
    scale = like_ffhq**0.5 if kernel == "gaussian" else like_ffhq
    banks = [make_prior_bank(s * points, kernel=kernel, bandwidth="paper") for s in (scale, 1.0)]
    assert float(banks[0].bandwidth) == 512.0
    np.testing.assert_allclose(
        banks[1].bandwidth / median, 512 / like_ffhq / median * 1.05, rtol=1e-4
    )
