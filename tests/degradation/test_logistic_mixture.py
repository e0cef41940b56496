import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from perceptual_jax.degradation.logistic_mixture import (
    Mixture,
    bits_per_dim,
    channel_means,
    draw_noise,
    log_prob,
    mixture_from,
    sample,
    to_grid,
)

LEVELS = np.arange(256) / 127.5 - 1
COMPONENTS = ("logistic", "gaussian")


def one(mean=0.0, log_scale=-3.0, k=1):
    """A mixture of equal components for one pixel, channels independent."""
    full = jnp.full((3, k), 0.0, jnp.result_type(float))
    return Mixture(full[0], full + mean, full + log_scale, full, full)


def random_raw(shape, k, seed=0):
    raw = np.random.default_rng(seed).normal(size=(*shape, 10 * k))
    raw[..., 4 * k : 7 * k] = raw[..., 4 * k : 7 * k] * 1.5 - 3
    return raw


def oracle(raw, x, anchors, component):
    """Channel by channel and component by component, in float64, from the definition."""
    k = len(raw) // 10
    logits, means = raw[:k], raw[k : 4 * k].reshape(3, k)
    scales = np.exp(np.maximum(raw[4 * k : 7 * k], -7).reshape(3, k))
    a, b, c = np.tanh(raw[7 * k :].reshape(3, k))
    joint = special.log_softmax(logits)
    for i in range(k):
        m = means[:, i] + anchors[:, i]
        m[1] += a[i] * (x[0] - anchors[0, i])
        m[2] += b[i] * (x[0] - anchors[0, i]) + c[i] * (x[1] - anchors[1, i])
        dist = stats.logistic if component == "logistic" else stats.norm
        for channel in range(3):
            loc, scale, value = m[channel], scales[channel, i], x[channel]
            upper, lower = value + 1 / 255, value - 1 / 255
            if value < -0.999:
                p = dist.logcdf(upper, loc, scale)
            elif value > 0.999:
                p = dist.logsf(lower, loc, scale)
            elif value > loc:  # From the side where nothing cancels.
                high, low = dist.logsf(lower, loc, scale), dist.logsf(upper, loc, scale)
                p = high + np.log1p(-np.exp(low - high))
            else:
                high, low = dist.logcdf(upper, loc, scale), dist.logcdf(lower, loc, scale)
                p = high + np.log1p(-np.exp(low - high))
            joint[i] += p
    return special.logsumexp(joint)


@pytest.mark.parametrize("component", COMPONENTS)
def test_values_are_those_of_the_definition(component):
    k = 3
    raw = random_raw((40,), k)
    rng = np.random.default_rng(1)
    x = LEVELS[rng.integers(256, size=(40, 3))]
    x[:6] = [[-1, -1, -1], [1, 1, 1], [-1, 1, 0.0039], [1, -1, 1], [-1, 0.0039, 1], [1, 1, -1]]
    x = np.rint((x + 1) * 127.5) / 127.5 - 1
    anchors = LEVELS[rng.integers(256, size=(40, 3, k))] * 0.2
    expected = [oracle(r, v, a, component) for r, v, a in zip(raw, x, anchors, strict=True)]
    with jax.enable_x64(True):
        mixture = Mixture(*(jnp.asarray(p) for p in _split(raw, anchors, k)))
        values = log_prob(mixture, jnp.asarray(x), component=component)
        np.testing.assert_allclose(values, expected, rtol=2e-6 if component == "gaussian" else 1e-9)
    mixture = mixture_from(
        jnp.asarray(raw, jnp.float32), anchors=jnp.asarray(anchors, jnp.float32), min_log_scale=-7.0
    )
    values = log_prob(mixture, jnp.asarray(x, jnp.float32), component=component)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)


def _split(raw, anchors, k):
    parts = raw[:, k:].reshape(-1, 3, 3, k)
    return (
        raw[:, :k],
        parts[:, 0] + anchors,
        np.maximum(parts[:, 1], -7),
        np.tanh(parts[:, 2]),
        anchors,
    )


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("log_scale", [-10.0, -7.0, -3.0, 0.0, 2.0])
@pytest.mark.parametrize("mean", [-1.4, -1.0, 0.1, 0.99])
def test_the_256_probabilities_of_a_channel_sum_to_one(component, log_scale, mean):
    # All pixels of equal channels: the cube of a channel's probability.
    mixture = one(mean, log_scale)
    x = jnp.repeat(jnp.asarray(LEVELS, jnp.float32)[:, None], 3, axis=1)
    values = jax.vmap(lambda x: log_prob(mixture, x, component=component))(x)
    assert np.exp(np.asarray(values, np.float64) / 3).sum() == pytest.approx(1, abs=2e-4)


def test_red_and_green_together_sum_to_one():
    raw = jnp.asarray(random_raw((), 2, seed=3), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    grid = jnp.asarray(LEVELS, jnp.float32)
    red, green = jnp.meshgrid(grid, grid, indexing="ij")
    # With a blue so wide that it hardly tells, summed over all its levels.
    blue = jnp.full_like(red, 1.0)
    wide = mixture._replace(log_scales=mixture.log_scales.at[2].set(12.0))
    x = jnp.stack([red, green, blue], axis=-1)
    at_top = jnp.exp(jax.vmap(jax.vmap(lambda x: log_prob(wide, x)))(x)).sum()
    at_bottom = jnp.exp(jax.vmap(jax.vmap(lambda x: log_prob(wide, x)))(x.at[..., 2].set(-1))).sum()
    # An infinitely wide logistic has all its mass in the two open bins.
    assert float(at_top + at_bottom) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("component", COMPONENTS)
def test_values_and_gradients_are_finite_at_the_extremes(component):
    for x in (-1.0, 1.0, 0.0):
        for mean in (-1.0, 1.0, -3.0, 3.0, x, x - 2, x + 2):
            for log_scale in (-10.0, -7.0, 0.0, 5.0):
                value, slopes = jax.value_and_grad(
                    lambda mean, s, x=x: log_prob(
                        one(mean, s), jnp.full(3, x), component=component
                    ),
                    (0, 1),
                )(jnp.float32(mean), jnp.float32(log_scale))
                assert np.isfinite(value), (x, mean, log_scale)
                assert np.all(np.isfinite(slopes)), (x, mean, log_scale)


def test_far_from_the_mean_the_slope_stays_that_of_the_tail():
    slope = jax.grad(lambda m: log_prob(one(m, -7.0), jnp.zeros(3)))(jnp.float32(1.0))
    assert float(slope) == pytest.approx(-3 * np.exp(7), rel=1e-4)


@pytest.mark.parametrize("component", COMPONENTS)
def test_gradients_are_those_of_finite_differences(component):
    with jax.enable_x64(True):
        raw = jnp.asarray(random_raw((6,), 2, seed=5))
        x = jnp.asarray(LEVELS[[0, 255, 100, 128, 3, 200]])[:, None] + jnp.zeros((6, 3))

        def total(raw):
            k = 2
            parts = raw[:, k:].reshape(-1, 3, 3, k)
            zero = jnp.zeros_like(parts[:, 0])
            mixture = Mixture(raw[:, :k], parts[:, 0], parts[:, 1], jnp.tanh(parts[:, 2]), zero)
            return jnp.sum(log_prob(mixture, x, component=component))

        slope = jax.grad(total)(raw)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=raw.shape))
        step = 1e-5
        difference = (total(raw + step * direction) - total(raw - step * direction)) / (2 * step)
        np.testing.assert_allclose(jnp.sum(slope * direction), difference, rtol=1e-5)


def test_the_smallest_scale_is_a_floor_of_bits():
    # log tanh(w / 4), w = 2 / (255 s): 0.0391 bits/dim at -7, none at -10.
    bits = [float(bits_per_dim(log_prob(one(0.0, s), jnp.zeros(3)))) for s in (-7.0, -10.0)]
    assert bits[0] == pytest.approx(0.0391, abs=1e-4)
    assert bits[1] == pytest.approx(0, abs=1e-6)


def test_anchors_of_zero_give_the_plain_recursion():
    raw = jnp.asarray(random_raw((5,), 4, seed=8), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    x = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (5, 3)), jnp.float32)
    a, b, c = (mixture.coefficients[:, i] for i in range(3))
    m = mixture.means
    expected = [m[:, 0], m[:, 1] + a * x[:, :1], m[:, 2] + b * x[:, :1] + c * x[:, 1:2]]
    np.testing.assert_allclose(channel_means(mixture, x), jnp.stack(expected, axis=1), rtol=1e-6)


def test_outputs_are_float32_whatever_comes_in():
    raw = jnp.asarray(random_raw((2,), 2), jnp.bfloat16)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    assert {part.dtype for part in mixture} == {jnp.dtype("float32")}
    with pytest.raises(ValueError, match="multiple of 10 outputs, got 19"):
        mixture_from(raw[:, :19], anchors=None, min_log_scale=-7.0)


@pytest.mark.parametrize("component", COMPONENTS)
def test_samples_have_the_frequencies_of_the_probabilities(component, key):
    n = 20_000
    raw = jnp.asarray(random_raw((), 2, seed=11), jnp.float32)
    anchors = jnp.full((3, 2), 0.1)
    mixture = mixture_from(raw, anchors=anchors, min_log_scale=-2.5)
    many = jax.tree.map(lambda p: jnp.broadcast_to(p[None], (n, *p.shape)), mixture)
    x = sample(many, draw_noise(key, (n,), 2), component=component)
    levels = np.rint((np.asarray(x) + 1) * 127.5).astype(int)
    np.testing.assert_allclose(levels / 127.5 - 1, x, atol=1e-6)
    # Joint bins of red and green, 8 x 8, by the exact probabilities over all blues.
    grid = jnp.asarray(LEVELS, jnp.float32)
    cells = jnp.stack(jnp.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    parts = jax.tree.map(lambda p: p[..., :2, :] if p.ndim == 2 else p, mixture)
    p = np.exp(_log_prob_of_two(parts, cells, component)).reshape(8, 32, 8, 32).sum(axis=(1, 3))
    counts, *_ = np.histogram2d(levels[:, 0], levels[:, 1], bins=np.arange(0, 257, 32))
    keep = p * n > 5
    statistic = ((counts - n * p)[keep] ** 2 / (n * p)[keep]).sum()
    assert statistic < stats.chi2.ppf(0.9999, keep.sum() - 1)


def _log_prob_of_two(mixture, cells, component):
    """log p(red, green), from the definition with scipy in float64."""
    dist = stats.logistic if component == "logistic" else stats.norm
    logits, means, log_scales, coefficients, anchors = (np.asarray(p, np.float64) for p in mixture)
    cells = np.asarray(cells, np.float64)
    joint = np.zeros((len(cells), len(logits))) + special.log_softmax(logits)
    for i in range(len(logits)):
        green = means[1, i] + coefficients[0, i] * (cells[:, 0] - anchors[0, i])
        for channel, m in ((0, means[0, i]), (1, green)):
            v, s = cells[:, channel], np.exp(log_scales[channel, i])
            upper = np.where(v > 0.999, np.inf, v + 1 / 255)
            lower = np.where(v < -0.999, -np.inf, v - 1 / 255)
            p = dist.cdf(upper, m, s) - dist.cdf(lower, m, s)
            joint[:, i] += np.log(np.maximum(p, 1e-300))
    return special.logsumexp(joint, axis=1)


def test_temperature_zero_takes_the_likeliest_component(key):
    raw = jnp.asarray(random_raw((7,), 3, seed=4), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    x = sample(mixture, draw_noise(key, (7,), 3), temperature=0.0)
    best = np.argmax(mixture.logits, axis=-1)
    red = np.asarray(mixture.means)[np.arange(7), 0, best]
    np.testing.assert_allclose(x[:, 0], to_grid(jnp.asarray(red)), atol=1e-6)
