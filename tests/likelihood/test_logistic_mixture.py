import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from perceptual_jax.likelihood import logistic_mixture as module
from perceptual_jax.likelihood.logistic_mixture import (
    Mixture,
    Noise,
    bits_per_dim,
    channel_means,
    to_grid,
)

LEVELS = np.arange(256) / 127.5 - 1
COMPONENTS = ("logistic", "gaussian")
DISTRIBUTION = {"logistic": stats.logistic, "gaussian": stats.norm}

compiled = functools.partial(jax.jit, static_argnames="component")
log_prob = compiled(module.log_prob)
sample = compiled(module.sample)
mixture_from = jax.jit(module.mixture_from)
draw_noise = jax.jit(module.draw_noise, static_argnums=(1, 2))


def equal_channels(mean, log_scale):
    """Pixels of one component whose channels are independent and alike."""
    shape = (*jnp.shape(mean), 3, 1)
    full = jnp.zeros(shape, jnp.result_type(mean))
    mean, log_scale = (jnp.broadcast_to(p[..., None, None], shape) for p in (mean, log_scale))
    return Mixture(full[..., 0, :], mean, log_scale, full, full)


@compiled
def log_prob_of_level(x, mean, log_scale, component="logistic"):
    """Log-probability of one channel: a third of a pixel whose three are alike."""
    pixels = jnp.broadcast_to(x[..., None], (*x.shape, 3))
    return log_prob(equal_channels(mean, log_scale), pixels, component=component) / 3


def random_raw(shape, k, seed=0):
    raw = np.random.default_rng(seed).normal(size=(*shape, 10 * k))
    raw[..., 4 * k : 7 * k] = raw[..., 4 * k : 7 * k] * 1.5 - 3
    return raw


def log_bin(x, mean, scale, component):
    """Log-probability of a level in float64, from the side where nothing cancels."""
    dist = DISTRIBUTION[component]
    if x > 0.999 or (x > mean and x > -0.999):
        x, mean = -x, -mean  # Both kinds are symmetric.
    high = dist.logcdf(x + 1 / 255, mean, scale)
    if x < -0.999:
        return high
    return high + np.log(-np.expm1(dist.logcdf(x - 1 / 255, mean, scale) - high))


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
        for channel in range(3):
            joint[i] += log_bin(x[channel], m[channel], scales[channel, i], component)
    return special.logsumexp(joint)


@pytest.mark.parametrize("component", COMPONENTS)
def test_values_are_those_of_the_definition(component):
    k = 3
    raw = random_raw((40,), k)
    rng = np.random.default_rng(1)
    x = LEVELS[rng.integers(256, size=(40, 3))]
    x[:6] = [[-1, -1, -1], [1, 1, 1], [-1, 1, 1 / 255], [1, -1, 1], [-1, 1 / 255, 1], [1, 1, -1]]
    anchors = LEVELS[rng.integers(256, size=(40, 3, k))] * 0.2
    expected = [oracle(r, v, a, component) for r, v, a in zip(raw, x, anchors, strict=True)]
    with jax.enable_x64(True):
        mixture = mixture_from(jnp.asarray(raw), anchors=jnp.asarray(anchors), min_log_scale=-7.0)
        values = log_prob(mixture, jnp.asarray(x), component=component)
        np.testing.assert_allclose(values, expected, rtol=1e-6 if component == "gaussian" else 1e-9)
    # float32 rounds x - m before it is divided by scales down to e^-7.
    mixture = mixture_from(
        jnp.asarray(raw, jnp.float32), anchors=jnp.asarray(anchors, jnp.float32), min_log_scale=-7.0
    )
    values = log_prob(mixture, jnp.asarray(x, jnp.float32), component=component)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_channel_is_exact_at_every_scale_and_distance(component):
    x, distance, log_scale = (
        part.ravel()
        for part in np.meshgrid(
            LEVELS[[0, 1, 77, 128, 254, 255]],
            [0.0, 1e-4, -1 / 255, 0.01, -0.06, 0.3, -1.1, 2.0],
            np.linspace(-10, 3, 27),
        )
    )
    mean = x - distance
    rows = zip(x, mean, np.exp(log_scale), strict=True)
    expected = np.array([log_bin(*row, component) for row in rows])
    with jax.enable_x64(True):
        values = log_prob_of_level(*map(jnp.asarray, (x, mean, log_scale)), component)
        limits = {"logistic": 1e-11, "gaussian": 1e-6}
        np.testing.assert_allclose(values, expected, rtol=limits[component], atol=limits[component])
    # What float32 makes of z = (x - m) / s, times how steeply log P falls there.
    parts = (jnp.asarray(p, jnp.float32) for p in (x, mean, log_scale))
    values = log_prob_of_level(*parts, component)
    unknown = 4e-7 * np.exp(-log_scale)
    if component == "gaussian":
        unknown *= 1 + (np.abs(distance) + 1 / 255) * np.exp(-log_scale)
    error = np.abs(np.asarray(values) - expected)
    assert np.all(error <= 1e-5 + 2e-6 * np.abs(expected) + unknown)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_256_probabilities_of_a_channel_sum_to_one(component):
    mean, log_scale = np.meshgrid([-1.4, -1.0, 0.1, 0.99], [-10.0, -7.0, -5.0, -3.0, 0.0, 2.0])
    x, mean, log_scale = np.broadcast_arrays(LEVELS, mean[..., None], log_scale[..., None])
    with jax.enable_x64(True):
        values = log_prob_of_level(*map(jnp.asarray, (x, mean, log_scale)), component)
        np.testing.assert_allclose(np.exp(values).sum(axis=-1), 1, atol=1e-5)
    values = log_prob_of_level(
        *(jnp.asarray(p, jnp.float32) for p in (x, mean, log_scale)), component
    )
    total = np.exp(np.asarray(values, np.float64)).sum(axis=-1)
    np.testing.assert_allclose(total[2:], 1, atol=1e-5)
    # Bins far narrower than the rounding of x - m in units of the scale do not quite meet.
    np.testing.assert_allclose(total[:2], 1, atol=1e-3)


@pytest.mark.parametrize("component", COMPONENTS)
def test_red_and_green_together_sum_to_one(component):
    raw = jnp.asarray(random_raw((), 2, seed=3), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    # An infinitely wide blue has all its mass in the two open bins, so two levels of it do.
    wide = mixture._replace(log_scales=mixture.log_scales.at[2].set(14.0))
    x = np.stack(np.meshgrid(LEVELS, LEVELS, [-1.0, 1.0], indexing="ij"), axis=-1)
    x = jnp.asarray(x.reshape(-1, 3), jnp.float32)
    wide = jax.tree.map(lambda p: jnp.broadcast_to(p[None], (len(x), *p.shape)), wide)
    values = np.asarray(log_prob(wide, x, component=component), np.float64)
    assert np.exp(values).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
def test_values_and_gradients_are_finite_at_the_extremes(component):
    grid = np.meshgrid(
        [-1.0, 1.0, 0.0, 1 / 255],
        [0.0, 1 / 255, -1 / 255, 2.0, -2.0, 4.0, 1e6],
        [-12.0, -10.0, -7.0, -4.60517, -1.0, 0.0, 5.0, 10.0],
    )
    x, distance, log_scale = (part.ravel() for part in grid)
    raw = np.zeros((len(x), 10, 2))
    raw[:, 1:4] = (x - distance)[:, None, None]
    raw[:, 4:7] = log_scale[:, None, None]
    raw[:, 0, 1] = 30.0
    raw, x = jnp.asarray(raw.reshape(-1, 20), jnp.float32), jnp.asarray(x, jnp.float32)
    pixels = jnp.broadcast_to(x[:, None], (len(x), 3))

    def values(raw, pixels):
        mixture = mixture_from(raw, anchors=None, min_log_scale=-10.0)
        return log_prob(mixture, pixels, component=component)

    assert np.all(np.isfinite(jax.jit(values)(raw, pixels)))
    for slopes in jax.jit(jax.grad(lambda *args: values(*args).sum(), (0, 1)))(raw, pixels):
        assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("x", [1.0, 0.0])
def test_far_from_the_mean_the_slopes_stay_those_of_the_tail(component, x):
    # Up to 44 000 scales away: logistics fall in proportion to distance, Gaussians to its square.
    log_scale = np.array([-10.0, -7.0, -5.0, -3.0])
    z, h = 2 / np.exp(log_scale), 1 / 255 / np.exp(log_scale)
    level = jnp.full(4, x)
    slopes = jax.grad(lambda *p: log_prob_of_level(level, *p, component).sum(), (0, 1))
    by_mean, by_log_scale = slopes(jnp.full(4, x - 2), jnp.asarray(log_scale, jnp.float32))
    # What log P loses for each of the near and of the far edge's distance.
    near, far = np.ones(4), np.zeros(4)
    if component == "gaussian":
        near = 1 / _mills(z - h)
    if x < 1:  # Not an open bin, so there is a far edge.
        ratio = np.exp(-2 * h)
        if component == "gaussian":
            ratio = np.exp(-2 * z * h) * _mills(z + h) / _mills(z - h)
        near, far = near / (1 - ratio), ratio / (1 - ratio)
        far = far / (_mills(z + h) if component == "gaussian" else 1)
    np.testing.assert_allclose(by_mean, (near - far) / np.exp(log_scale), rtol=1e-5)
    np.testing.assert_allclose(by_log_scale, near * (z - h) - far * (z + h), rtol=1e-5)


def _mills(x):
    """Upper tail of the normal distribution over its density."""
    return np.sqrt(np.pi / 2) * special.erfcx(x / np.sqrt(2))


@pytest.mark.parametrize("component", COMPONENTS)
def test_gradients_are_those_of_finite_differences(component):
    with jax.enable_x64(True):
        # All ways of a bin: open, wide, narrow, and more than six Gaussian scales away.
        raw = random_raw((6,), 2, seed=5)
        raw[3:, 8:14] += np.array([2.0, -2.0, 3.0])[:, None]
        x = jnp.asarray(LEVELS[[0, 255, 100, 128, 3, 200]])[:, None] + jnp.zeros((6, 3))
        rng = np.random.default_rng(0)
        place = (jnp.asarray(raw), jnp.asarray(rng.normal(size=(6, 3, 2)) * 0.1))

        @jax.jit
        def total(raw, anchors):
            mixture = mixture_from(raw, anchors=anchors, min_log_scale=-20.0)
            return jnp.sum(log_prob(mixture, x, component=component))

        slopes = jax.jit(jax.grad(total, (0, 1)))(*place)
        for _ in range(5):
            ways = [jnp.asarray(rng.normal(size=p.shape)) for p in place]
            step = 1e-6
            after = total(*(p + step * way for p, way in zip(place, ways, strict=True)))
            before = total(*(p - step * way for p, way in zip(place, ways, strict=True)))
            slope = sum(jnp.sum(s * way) for s, way in zip(slopes, ways, strict=True))
            np.testing.assert_allclose(slope, (after - before) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
def test_slopes_of_a_channel_are_those_of_its_values(component):
    # Each by itself: Gaussian slopes change their form six scales away and where bins are narrow.
    grid = np.meshgrid(LEVELS[[0, 77, 255]], np.linspace(-2, 2, 41), np.linspace(-6, 1, 29))
    x, distance, log_scale = (part.ravel() for part in grid)
    with jax.enable_x64(True):
        x, mean, log_scale = map(jnp.asarray, (x, x - distance, log_scale))

        def values(mean, log_scale):
            return log_prob_of_level(x, mean, log_scale, component)

        slopes = jax.grad(lambda *p: values(*p).sum(), (0, 1))(mean, log_scale)
        step = 1e-6
        for slope, (a, b) in zip(slopes, [(step, 0.0), (0.0, step)], strict=True):
            rise = values(mean + a, log_scale + b) - values(mean - a, log_scale - b)
            np.testing.assert_allclose(slope, rise / (2 * step), rtol=2e-6, atol=2e-6)


def test_the_smallest_scale_is_a_floor_of_bits():
    # log tanh(w / 4), w = 2 / (255 s): 0.0391 bits/dim at -7, none at -10.
    raw = jnp.zeros(10).at[4:7].set(-12.0)

    def bits(floor):
        mixture = mixture_from(raw, anchors=None, min_log_scale=floor)
        return float(bits_per_dim(log_prob(mixture, jnp.zeros(3))))

    assert bits(-7.0) == pytest.approx(-np.log2(np.tanh(np.exp(7) / 510)), abs=1e-6)
    assert bits(-7.0) == pytest.approx(0.0391, abs=5e-5)
    assert bits(-10.0) == pytest.approx(0, abs=1e-6)


def test_the_floor_of_scales_may_be_traced():
    raw = jnp.asarray(random_raw((4,), 2, seed=6), jnp.float32)

    @jax.jit
    def raised(raw, floor):
        return mixture_from(raw, anchors=None, min_log_scale=floor).log_scales

    for floor in (-7.0, -3.0):
        expected = np.maximum(np.asarray(raw)[:, 8:14].reshape(4, 3, 2), floor)
        np.testing.assert_array_equal(raised(raw, jnp.float32(floor)), expected)
    slopes = jax.grad(lambda raw: raised(raw, -3.0).sum())(raw)[:, 8:14]
    np.testing.assert_array_equal(slopes, np.asarray(raw)[:, 8:14] > -3)


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
    x = jnp.asarray(LEVELS[[[0, 7, 90], [3, 255, 8]]], jnp.float32)
    values = log_prob(mixture, x)
    assert values.dtype == jnp.float32
    wide = mixture_from(raw.astype(jnp.float32), anchors=None, min_log_scale=-7.0)
    np.testing.assert_array_equal(values, log_prob(wide, x))
    with pytest.raises(ValueError, match="multiple of 10 outputs, got 19"):
        mixture_from(raw[:, :19], anchors=None, min_log_scale=-7.0)


@pytest.mark.parametrize("component", COMPONENTS)
def test_samples_have_the_frequencies_of_the_probabilities(component, key):
    n = 20_000
    raw = jnp.asarray(random_raw((), 2, seed=11), jnp.float32)
    anchors = jnp.full((3, 2), 0.1)
    mixture = mixture_from(raw, anchors=anchors, min_log_scale=-1.0)
    many = jax.tree.map(lambda p: jnp.broadcast_to(p[None], (n, *p.shape)), mixture)
    x = sample(many, draw_noise(key, (n,), 2), component=component)
    levels = np.rint((np.asarray(x) + 1) * 127.5).astype(int)
    np.testing.assert_allclose(levels / 127.5 - 1, x, atol=1e-6)
    # Joint bins of red and green, by the exact probabilities; the open levels stand alone.
    cells = np.stack(np.meshgrid(LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(_log_prob_of_two(mixture, cells, component)).reshape(256, 256)
    edges = np.array([0, 1, 32, 64, 96, 128, 160, 192, 224, 255, 256])
    p = np.add.reduceat(np.add.reduceat(p, edges[:-1], axis=0), edges[:-1], axis=1)
    assert p.sum() == pytest.approx(1, abs=1e-9)
    counts, *_ = np.histogram2d(levels[:, 0], levels[:, 1], bins=edges)
    keep = p * n > 5
    assert keep[0].any()
    assert keep[:, -1].any()
    statistic = ((counts - n * p)[keep] ** 2 / (n * p)[keep]).sum()
    assert statistic < stats.chi2.ppf(0.9999, keep.sum())


def _log_prob_of_two(mixture, cells, component):
    """log p(red, green), from the definition with scipy in float64."""
    dist = DISTRIBUTION[component]
    logits, means, log_scales, coefficients, anchors = (np.asarray(p, np.float64) for p in mixture)
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


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_are_those_of_a_loop(component, temperature, key):
    n, k = 50, 3
    raw = random_raw((n,), k, seed=12)
    anchors = np.random.default_rng(3).uniform(-0.5, 0.5, (n, 3, k))
    with jax.enable_x64(True):
        mixture = mixture_from(jnp.asarray(raw), anchors=jnp.asarray(anchors), min_log_scale=-7.0)
        noise = draw_noise(key, (n,), k)
        x = sample(mixture, noise, temperature=temperature, component=component)
    gumbel, uniform = (np.asarray(part) for part in noise)
    for i in range(n):
        chosen = np.argmax(raw[i, :k] / temperature + gumbel[i])
        _, means, log_scales, (a, b, c), at = (np.asarray(p)[i, ..., chosen] for p in mixture)
        pixel = np.zeros(3)
        for channel, follows in enumerate([(0, 0), (a, 0), (b, c)]):
            m = means[channel] + follows[0] * (pixel[0] - at[0]) + follows[1] * (pixel[1] - at[1])
            spread = temperature * np.exp(log_scales[channel])
            value = DISTRIBUTION[component].ppf(uniform[i, channel], m, spread)
            pixel[channel] = LEVELS[np.argmin(np.abs(LEVELS - value))]
        np.testing.assert_allclose(x[i], pixel, atol=1e-9)


def test_the_same_noise_gives_the_same_pixels_in_any_order(key):
    raw = jnp.asarray(random_raw((4, 5), 2, seed=13), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    noise = draw_noise(key, (4, 5), 2)
    again = draw_noise(jax.random.key(0), (4, 5), 2)
    np.testing.assert_array_equal(noise.gumbel, again.gumbel)
    np.testing.assert_array_equal(noise.uniform, again.uniform)
    together = sample(mixture, noise)
    at = jax.jit(lambda i, j: sample(*jax.tree.map(lambda p: p[i, j], (mixture, noise))))
    for i in reversed(range(4)):
        for j in range(5):
            np.testing.assert_allclose(at(i, j), together[i, j], atol=1e-5)


def test_noise_reaches_both_tails_and_stays_finite(key):
    uniform = draw_noise(key, (400_000,), 1).uniform
    assert 0 < uniform.min() < 1e-5
    assert 1 - 1e-5 < uniform.max() < 1
    ends = jnp.array([[2.0**-24, 0.5, 1 - 2.0**-24]])
    mixture = equal_channels(jnp.zeros(1), jnp.full(1, -4.0))
    for component, reach in (("logistic", np.log(2.0**24 - 1)), ("gaussian", 5.2947)):
        x = sample(mixture, Noise(jnp.zeros((1, 1)), ends), component=component)
        expected = np.array([[-reach, 0, reach]]) * np.exp(-4)
        np.testing.assert_allclose(x, to_grid(jnp.asarray(expected, jnp.float32)), atol=1e-6)


def test_temperature_zero_takes_the_likeliest_component(key):
    raw = jnp.asarray(random_raw((7,), 3, seed=4), jnp.float32)
    mixture = mixture_from(raw, anchors=None, min_log_scale=-7.0)
    x = sample(mixture, draw_noise(key, (7,), 3), temperature=0.0)
    best = np.argmax(mixture.logits, axis=-1)
    red = np.asarray(mixture.means)[np.arange(7), 0, best]
    np.testing.assert_allclose(x[:, 0], to_grid(jnp.asarray(red)), atol=1e-6)
