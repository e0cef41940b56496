"""Discretised mixtures of logistics: the distribution of an 8-bit pixel.

    p(x) = sum_k softmax(logits)_k  prod_c P_kc(x_c)
    P(x) = F((x - m + 1/255) / s) - F((x - m - 1/255) / s)

with F the logistic function, x on the grid of levels 2 v / 255 - 1, and the outer bins open: to
minus infinity at x = -1, to infinity at x = 1. One index k is shared by the three channels, and
the means of later channels depend on the earlier channels (`channel_means`).

With z = (x - m) / s and h = 1 / (255 s) the inner bins are, without any overflow or cancellation,

    log P = log(2 sinh h) - log(2 cosh z + 2 cosh h)

which needs no approximation by a density for bins of small probability: it is exact at every scale.

Source: Salimans et al., "PixelCNN++", 2017; the closed form is ours.
"""

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Component = Literal["logistic", "gaussian"]

HALF_BIN = 1 / 255
_EDGE = 1 - HALF_BIN
"""Bound beyond which a grid value, however rounded, is one of the outermost levels."""
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class Mixture(NamedTuple):
    """The distribution of pixels: k components over three channels."""

    logits: Float[Array, "*n k"]
    means: Float[Array, "*n 3 k"]
    """Means with their anchors, before the dependence on earlier channels."""
    log_scales: Float[Array, "*n 3 k"]
    coefficients: Float[Array, "*n 3 k"]
    """Coefficients of green on red, of blue on red and of blue on green, in (-1, 1)."""
    anchors: Float[Array, "*n 3 k"]
    """Values that the means are relative to; 0 for free means."""


class Noise(NamedTuple):
    """The random numbers of one draw of pixels."""

    gumbel: Float[Array, "*n k"]
    uniform: Float[Array, "*n 3"]


def mixture_from(
    raw: Float[Array, "*n m"],
    *,
    anchors: Float[Array, "*n 3 k"] | None,
    min_log_scale: float | Float[Array, ""],
) -> Mixture:
    """A network's outputs as a mixture, in float32 whatever their type (in float64 from float64).

    Args:
        raw: 10 k outputs: logits (k), means (3 k), log-scales (3 k), coefficients (3 k).
        anchors: Values that are added to the means; None for zeros.
        min_log_scale: Lower bound of the log-scales. May be traced, so that a restoration can start
            from a flatter likelihood.

    Raises:
        ValueError: If the number of outputs is no multiple of 10.
    """
    if raw.shape[-1] % 10:
        raise ValueError(f"expected a multiple of 10 outputs, got {raw.shape[-1]}")
    k = raw.shape[-1] // 10
    raw = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
    parts = raw[..., k:].reshape(*raw.shape[:-1], 3, 3, k)
    means, log_scales, coefficients = parts[..., 0, :, :], parts[..., 1, :, :], parts[..., 2, :, :]
    if anchors is None:
        anchors = jnp.zeros_like(means)
    return Mixture(
        logits=raw[..., :k],
        means=means + anchors,
        log_scales=jnp.maximum(log_scales, jnp.asarray(min_log_scale, raw.dtype)),
        coefficients=jnp.tanh(coefficients),
        anchors=anchors,
    )


def channel_means(mixture: Mixture, x: Float[Array, "*n 3"]) -> Float[Array, "*n 3 k"]:
    """Means of every channel, given the channels before it.

        m_R = mu_R
        m_G = mu_G + alpha (x_R - anchor_R)
        m_B = mu_B + beta (x_R - anchor_R) + gamma (x_G - anchor_G)

    Args:
        mixture: Distribution of the pixels.
        x: The pixels; blue is not read.
    """
    red, green, blue = (mixture.means[..., i, :] for i in range(3))
    alpha, beta, gamma = (mixture.coefficients[..., i, :] for i in range(3))
    of_red = x[..., 0, None] - mixture.anchors[..., 0, :]
    of_green = x[..., 1, None] - mixture.anchors[..., 1, :]
    green = green + alpha * of_red
    blue = blue + beta * of_red + gamma * of_green
    return jnp.stack([red, green, blue], axis=-2)


def log_prob(
    mixture: Mixture, x: Float[Array, "*n 3"], *, component: Component = "logistic"
) -> Float[Array, "*n"]:
    """Log-probability of whole pixels, in nats.

    Args:
        mixture: Distribution of the pixels.
        x: The pixels, on the grid of 8-bit levels in [-1, 1].
        component: Distribution of the components.

    Raises:
        ValueError: If there is no such distribution.
    """
    _check_component(component)
    inverse = jnp.exp(-mixture.log_scales)
    z = (x[..., None] - channel_means(mixture, x)) * inverse
    h = HALF_BIN * inverse
    tail = jnp.where(x > _EDGE, 1.0, jnp.where(x < -_EDGE, -1.0, 0.0))[..., None]
    tail = jnp.broadcast_to(tail, z.shape)
    log_bin = _log_bin_logistic if component == "logistic" else _log_bin_gaussian
    joint = mixture.logits + jnp.sum(log_bin(z, h, tail), axis=-2)
    return jax.nn.logsumexp(joint, axis=-1) - jax.nn.logsumexp(mixture.logits, axis=-1)


def bits_per_dim(log_prob: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The log-probability of a pixel in nats as bits/dim, over its three channels.

    Example:
        >>> round(float(bits_per_dim(jnp.log(2.0**-24))), 4)
        8.0
    """
    return log_prob / (-3 * math.log(2))


@jax.custom_jvp
def _log_bin_logistic(z: Array, h: Array, tail: Array) -> Array:
    return _log_bin_logistic_parts(z, h, tail)[0]


@_log_bin_logistic.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    value, by_z, by_h = _log_bin_logistic_parts(*primals)
    return value, by_z * tangents[0] + by_h * tangents[1]


def _log_bin_logistic_parts(z: Array, h: Array, tail: Array) -> tuple[Array, Array, Array]:
    """The log P of a bin and its derivatives, from four exponentials and one logarithm.

    With a the larger and b the smaller of |z| and h, all exponents are at most 0:
        2 cosh z + 2 cosh h = e^a (1 + e^(b - a) + e^(-b - a) + e^(-2 a))
    An open bin, where `tail` is -1 at x = -1 and 1 at x = 1, is one logistic function, of y = z + h
    and of y = h - z, whose e^-|y| is one of the same terms.
    """
    size = jnp.abs(z)
    larger, smaller = jnp.maximum(size, h), jnp.minimum(size, h)
    z_larger, open_ = size > h, tail != 0
    shrunk = jnp.expm1(-h)  # e^-h - 1, so that 1 - e^-2h does not cancel where h is small.
    missing = -shrunk * (2 + shrunk)
    of_z, of_h = jnp.exp(-size), 1 + shrunk
    near, far = jnp.exp(smaller - larger), of_z * of_h
    twice = jnp.minimum(of_z, of_h) ** 2
    y = h - tail * z
    small = jnp.where(tail * z > 0, near, far)
    inverse = 1 / jnp.where(open_, 1 + small, 1 + near + far + twice)
    exponent = jnp.where(open_, jnp.minimum(y, 0.0), h - larger)
    value = exponent + jnp.log(jnp.where(open_, 1.0, missing) * inverse)
    # sinh of the larger and of the smaller over cosh z + cosh h, reduced by e^larger.
    of_larger, of_smaller = (1 - twice) * inverse, (near - far) * inverse
    by_z = -jnp.sign(z) * jnp.where(z_larger, of_larger, of_smaller)
    by_h = (2 - missing) / missing - jnp.where(z_larger, of_smaller, of_larger)
    slope = jnp.where(y > 0, small, 1.0) * inverse
    return value, jnp.where(open_, -tail * slope, by_z), jnp.where(open_, slope, by_h)


@jax.custom_jvp
def _log_bin_gaussian(z: Array, h: Array, tail: Array) -> Array:
    return _log_bin_gaussian_parts(z, h, tail)[0]


@_log_bin_gaussian.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    value, by_z, by_h = _log_bin_gaussian_parts(*primals)
    return value, by_z * tangents[0] + by_h * tangents[1]


def _log_bin_gaussian_parts(z: Array, h: Array, tail: Array) -> tuple[Array, Array, Array]:
    """The log P of a bin and its derivatives, from the logs of two distribution functions.

        log P = log F(h - |z|) + log(1 - e^-gap),   gap = log F(h - |z|) - log F(-h - |z|)

    The bin is mirrored to the left tail, where log F does not cancel. Where h is small, the two
    values of log F are nearly equal, and P is the density at z times 2 h (1 + h^2 (z^2 - 1) / 6)
    instead: for |x - m| <= 2 and h below the limit, the error of log P is below 1e-6.
    """
    size = jnp.abs(z)
    open_, narrow = tail != 0, h < 1e-2
    upper = jnp.where(open_, h - tail * z, h - size)
    lower = -h - size
    log_upper, log_lower = (jax.scipy.special.log_ndtr(edge) for edge in (upper, lower))
    # A lower bound of the gap, where rounding cancels the difference.
    gap = jnp.maximum(log_upper - log_lower, 2 * h * size)
    missing = jnp.where(narrow, 1.0, -jnp.expm1(-gap))
    bend = h**2 * (z**2 - 1) / 6
    log_density = -0.5 * z**2 - _LOG_ROOT_2PI + jnp.where(narrow, bend, 0.0)
    base = jnp.where(narrow, log_density, log_upper)
    inner = base + jnp.log(jnp.where(narrow, 2 * h, missing))
    of_upper = _slope_of_log_ndtr(upper, log_upper)
    at_upper = of_upper / missing
    at_lower = _slope_of_log_ndtr(lower, log_lower) * (1 - missing) / missing
    by_z = jnp.where(narrow, z * (h**2 / 3 - 1), jnp.sign(z) * (at_lower - at_upper))
    by_h = jnp.where(narrow, 1 / h + h * (z**2 - 1) / 3, at_upper + at_lower)
    return (
        jnp.where(open_, log_upper, inner),
        jnp.where(open_, -tail * of_upper, by_z),
        jnp.where(open_, of_upper, by_h),
    )


def _slope_of_log_ndtr(x: Array, value: Array) -> Array:
    """The normal density over its distribution function, given the log of the latter."""
    body = jnp.exp(-0.5 * jnp.maximum(x, -6.0) ** 2 - _LOG_ROOT_2PI - value)
    # Far to the left the exponent is a difference of large numbers. There Laplace's continued
    # fraction t + 1 / (t + 2 / (t + ...)) has a relative error of 2e-8 at t = 6 and less beyond.
    t = jnp.maximum(-x, 6.0)
    tail = t
    for level in range(6, 0, -1):
        tail = t + level / tail
    return jnp.where(x < -6, tail, body)


def draw_noise(key: Key[Array, ""], shape: tuple[int, ...], components: int) -> Noise:
    """The noise of all pixels, drawn before any of them is sampled.

    Args:
        key: PRNG key; consumed.
        shape: Shape of the array of pixels, without channels.
        components: Number of components of the mixture.
    """
    gumbel_key, uniform_key = jax.random.split(key)
    uniform = jax.random.uniform(uniform_key, (*shape, 3))
    # Moved by half a step from [0, 1) to (0, 1), so that quantiles are finite.
    uniform = uniform + float(jnp.finfo(uniform.dtype).eps) / 2
    return Noise(jax.random.gumbel(gumbel_key, (*shape, components)), uniform)


def sample(
    mixture: Mixture,
    noise: Noise,
    *,
    temperature: float | Float[Array, ""] = 1.0,
    component: Component = "logistic",
) -> Float[Array, "*n 3"]:
    """Pixels drawn from a mixture, on the grid of 8-bit levels in [-1, 1].

        k = argmax(logits + temperature * gumbel),   x = m_k + temperature * s_k * F^-1(uniform)

    channel by channel, each rounded to its level before the next one is drawn. Clipped values are
    those of an open bin, so at temperature 1 this is exact.

    Args:
        mixture: Distribution of the pixels.
        noise: From `draw_noise`; the same noise gives the same pixels.
        temperature: 1 draws from the mixture, 0 takes the mean of the likeliest component.
        component: Distribution of the components.

    Raises:
        ValueError: If there is no such distribution.
    """
    _check_component(component)
    k = mixture.logits.shape[-1]
    chosen = jax.nn.one_hot(jnp.argmax(mixture.logits + temperature * noise.gumbel, axis=-1), k)

    def take(values: Array) -> Array:
        return jnp.sum(values * chosen[..., None, :], axis=-1)

    mean, scale = take(mixture.means), jnp.exp(take(mixture.log_scales))
    anchor, coefficient = take(mixture.anchors), take(mixture.coefficients)
    u = noise.uniform
    standard = jnp.log(u) - jnp.log1p(-u)
    if component == "gaussian":
        standard = jax.scipy.special.ndtri(u)
    step = temperature * scale * standard
    red = to_grid(mean[..., 0] + step[..., 0])
    of_red = red - anchor[..., 0]
    green = to_grid(mean[..., 1] + coefficient[..., 0] * of_red + step[..., 1])
    of_green = green - anchor[..., 1]
    blue = mean[..., 2] + coefficient[..., 1] * of_red + coefficient[..., 2] * of_green
    return jnp.stack([red, green, to_grid(blue + step[..., 2])], axis=-1)


def _check_component(component: str) -> None:
    if component not in get_args(Component):
        raise ValueError(f"component must be logistic or gaussian, got {component!r}")


def to_grid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The nearest of the 256 levels in [-1, 1].

    Example:
        >>> float(to_grid(jnp.float32(1.7)))
        1.0
    """
    return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255) / 127.5 - 1
