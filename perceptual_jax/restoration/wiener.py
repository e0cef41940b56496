"""The last word of the data where its damage is not known: a Wiener filter of what is unexplained.

The degraded image y shows the truth t blurred, with noise; of the truth the picture's downscale x
knows large structures and has invented small ones. In a cosine transform T, ring by ring,

    t  =  c x + e,    E |e|^2 = (1 - c^2) |x|^2        c(f) = 1 / (1 + (f / limit)^order)
    y  =  h t + n,    E |n|^2 = N                      h(f) = exp(-2 (pi width f)^2)

with frequencies f in cycles per pixel: x has the power of a natural face, whatever it has invented.
Blur, coherence c and noise are those of the greatest Whittle likelihood of y given x, so nothing is
set by hand; c and N are those of luma and of each chroma. The picture is moved by the Wiener
estimate of its error,

    x  <-  x + M^+ T^-1 [ g (y - h x) ],    g = h E |e|^2 / (h^2 E |e|^2 + N').

N' is the noise or all that the model leaves unexplained: noise of large grain is not white. Hairs
and pores that the degraded image has lost are beyond the noise and stay; so do those that a JPEG
has quantised to zero, where y has less power than h x.

Source: Wiener 1949; Whittle, "Estimation and Information in Stationary Time Series", 1953; Wang et
al. 2023 (DDNM) for the move of the range space.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.degradation.resampling import Filter, resample
from perceptual_jax.restoration.blurred import COLOUR_RIDGE
from perceptual_jax.restoration.projection import downscale_matrix, right_inverse
from perceptual_jax.types import Given

WIDTHS = tuple(float(width) for width in np.geomspace(0.2, 6.0, 40))
"""Widths of the blur that are compared: standard deviations in pixels of the degraded image."""

LIMITS = tuple(float(limit) for limit in np.geomspace(0.01, 1.0, 24))
"""Frequencies in cycles per pixel at which the coherence is 1/2."""

ORDERS = (2.0, 3.0, 5.0)
"""How fast the coherence falls."""

NOISES = tuple(float(noise) for noise in np.geomspace(0.2, 80.0, 36))
"""Standard deviations of the noise in levels of 255."""

MAX_GAIN = 2.0
"""Largest gain: how much of a blur is undone. Measured on 12 faces as old photographs: identity
0.312 at 1 and 0.291 at 2, LPIPS 0.215 and 0.214; with a worse model of the noise 1.5 cost LPIPS."""

_RINGS = 24
"""Rings of frequency, each a constant ratio wide."""

_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Orthonormal luma and chromas: a face's chromas have little power, a camera's noise much."""

_LOST = 0.02
"""Ridge of the inverse map of colours, relative to the sum of the map's squares: a colour that is
damped to a seventh of the others is not amplified again."""

_FLOOR = 1e-12
"""Power in squared pictures in [-1, 1] below which there is none."""


class Rings(NamedTuple):
    """Powers of two transformed pictures in rings of frequency: means over coefficients."""

    frequency: Float[Array, " k"]
    """Mean frequency in cycles per pixel."""
    number: Float[Array, " k"]
    """Number of coefficients."""
    xx: Float[Array, "c k"]
    """Power of the first picture."""
    xy: Float[Array, "c k"]
    """Product of both."""
    yy: Float[Array, "c k"]
    """Power of the second picture."""


class Damage(NamedTuple):
    """What `fit_damage` finds."""

    width: Float[Array, ""]
    """Standard deviation of the blur in pixels."""
    noise: Float[Array, " c"]
    """Power N of the noise in squared pictures in [-1, 1]."""
    limit: Float[Array, " c"]
    """Frequency in cycles per pixel at which the coherence is 1/2."""
    order: Float[Array, " c"]
    """How fast the coherence falls."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class WienerProjection:
    """Moves a picture by the Wiener estimate of its error. Holds no arrays: static.

    Example:
        >>> flat = Given(jnp.full((16, 16, 3), 0.5))
        >>> moved = WienerProjection()(flat, jnp.zeros((32, 32, 3)))
        >>> round(float(moved[8, 8, 0]), 2)
        0.5
    """

    filter: Filter = "bicubic"
    """Filter of the downscale, see `resample_matrix`."""
    strength: float = 1.0
    """Fraction of the way in [0, 1] that the picture is moved."""
    colours: bool = False
    """Whether the degraded image has lost contrast and saturation: x is mapped to its colours by
    `fit_colours` first, and the error is mapped back."""

    def __call__(self, given: Given, image: Float[Array, "r r 3"]) -> Float[Array, "r r 3"]:
        """The moved picture; not clipped.

        Args:
            given: The degraded image, square and not larger than the picture.
            image: A picture in [-1, 1].
        """
        size, resolution = given.image.shape[0], image.shape[0]
        if max(given.image.shape[:2]) > resolution:
            return image
        side = size if given.side is None else given.side
        rows = downscale_matrix(given, size, resolution, self.filter)
        cosines, frequency = cosine_matrix(size, side), frequencies(size, side)
        x = resample(resample(image, rows, rows), cosines, cosines)
        y = resample(given.image, cosines, cosines)
        colours = jnp.eye(3)
        if self.colours:
            colours = fit_colours(x, y)
            y = y.at[0, 0].set(colours @ x[0, 0])  # the mean colour is the restored one
            # Where the blur is known, colours are, too: a second fit leaves out what is lost.
            width = fit_damage(
                rings_of(x @ (_OPPONENT @ colours).T, y @ _OPPONENT.T, frequency)
            ).width
            colours = fit_colours(blur_response(frequency, width)[:, :, None] * x, y)
            x, y = x @ colours.T, y.at[0, 0].set(colours @ x[0, 0])
        x, y = x @ _OPPONENT.T, y @ _OPPONENT.T
        rings = rings_of(x, y, frequency)
        damage = fit_damage(rings)
        response = blur_response(frequency, damage.width)[:, :, None]
        gain = _at(frequency, rings, wiener_gain(damage, rings))
        gain = gain.at[0, 0].set(1.0)  # nothing blurs the mean, and noise has none
        error = (gain * (y - response * x)) @ _OPPONENT
        error = error @ _back(colours).T if self.colours else error
        # A degraded image that is not finite says nothing, and must not cost the picture.
        error = jnp.where(jnp.isfinite(error), error, 0.0)
        moved = resample(error, cosines.T, cosines.T)
        inverse = right_inverse(rows)
        return image + self.strength * resample(moved, inverse, inverse)


def cosine_matrix(size: int, side: int | Array) -> Float[Array, "k i"]:
    """The orthonormal cosine transform (DCT-II) of the first `side` pixels of a line, else 0."""
    k, i = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    # An integer modulo the period keeps the angle exact in float32.
    angle = jnp.mod((2 * i + 1) * k, 4 * side) * (jnp.pi / (2 * side))
    scale = jnp.where(k == 0, 1.0, jnp.sqrt(2.0)) / jnp.sqrt(jnp.asarray(side, jnp.float32))
    return jnp.where((k < side) & (i < side), scale * jnp.cos(angle), 0.0)


def frequencies(size: int, side: int | Array) -> Float[Array, "k k"]:
    """Frequency of each coefficient in cycles per pixel; infinite beyond the filled part."""
    line = jnp.where(jnp.arange(size) < side, jnp.arange(size) / (2 * side), jnp.inf)
    return jnp.hypot(line[:, None], line[None, :])


def fit_colours(x: Float[Array, "k k 3"], y: Float[Array, "k k 3"]) -> Float[Array, "3 3"]:
    """The linear map of colours that brings one transformed picture nearest to another.

    Means, the first coefficients, are left out. The fit is a ridge regression towards the identity.

    Args:
        x: Coefficients of the picture that is mapped.
        y: Coefficients of the other picture.
    """
    exact = jax.lax.Precision.HIGHEST
    x, y = x.at[0, 0].set(0.0), y.at[0, 0].set(0.0)
    count = jnp.maximum(jnp.count_nonzero(x[:, :, 0]), 1)
    ridge = COLOUR_RIDGE * jnp.eye(3)
    across = jnp.einsum("hwi,hwj->ij", y, x, precision=exact) / count
    within = jnp.einsum("hwi,hwj->ij", x, x, precision=exact) / count
    return jnp.linalg.solve(within + ridge, (across + ridge).T).T


def _back(colours: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """The map of colours back, without what the first one has nearly lost."""
    square = colours @ colours.T
    ridge = _LOST * jnp.trace(square) * jnp.eye(3)
    return colours.T @ jnp.linalg.inv(square + ridge)


def blur_response(frequency: Float[Array, "..."], width: Float[Array, "..."] | float) -> Array:
    """Factor h in [0, 1] by which a Gaussian blur of a width in pixels damps a frequency."""
    return jnp.exp(-2 * jnp.square(jnp.pi * frequency * width))


def _at(
    frequency: Float[Array, "k k"], rings: Rings, gain: Float[Array, "c rings"]
) -> Float[Array, "k k c"]:
    """The gain at each coefficient, interpolated between the rings."""
    order = jnp.where(rings.number > 0, rings.frequency, jnp.inf)
    at = jnp.argsort(order)
    return jax.vmap(lambda g: jnp.interp(frequency, order[at], g[at]), 0, -1)(gain)


def rings_of(
    x: Float[Array, "k k c"], y: Float[Array, "k k c"], frequency: Float[Array, "k k"]
) -> Rings:
    """Powers of two transformed pictures in rings of frequency, in luma and two chromas.

    Args:
        x: Coefficients of the first picture.
        y: Coefficients of the second picture.
        frequency: From `frequencies`.
    """
    low, high = 0.5 / x.shape[0], np.sqrt(0.5)
    position = jnp.log(jnp.maximum(frequency, low) / low) / np.log(high / low)
    ring = jnp.clip(jnp.floor(position * _RINGS), 0, _RINGS - 1).astype(int)
    counted = jnp.isfinite(frequency) & (frequency > 0)  # a mean has no frequency

    def total(values: Float[Array, "k k"]) -> Float[Array, " rings"]:
        return jnp.zeros(_RINGS).at[ring].add(jnp.where(counted, values, 0.0))

    count = total(jnp.ones_like(frequency))
    some = jnp.maximum(count, 1.0)
    means = jax.vmap(lambda values: total(values) / some, -1)
    return Rings(total(frequency) / some, count, means(x * x), means(x * y), means(y * y))


def fit_damage(rings: Rings) -> Damage:
    """Blur, noise and coherence of the greatest Whittle likelihood of y given x, over a grid.

    Rings weigh by the square root of their coefficients: their powers differ by more than chance,
    and the highest ring would decide alone.
    """
    weights = jnp.sqrt(rings.number)
    weights = weights / jnp.sum(weights)

    def cost(width: Array, limit: Array, order: Array, noise: Array) -> Array:
        h = blur_response(rings.frequency, width)[None, :]
        c = coherence(rings.frequency, limit, order)[None, :]
        residual = (h * c) ** 2 * rings.xx - 2 * h * c * rings.xy + rings.yy
        variance = h**2 * (1 - c**2) * rings.xx + noise
        return (jnp.log(variance) + residual / variance) @ weights

    grid = jax.vmap(cost, (None, None, None, 0), 1)
    grid = jax.vmap(grid, (None, None, 0, None), 1)
    grid = jax.vmap(grid, (None, 0, None, None), 1)
    grid = jax.vmap(grid, (0, None, None, None), 1)
    noises = jnp.square(jnp.asarray(NOISES) / 127.5)
    costs = grid(jnp.asarray(WIDTHS), jnp.asarray(LIMITS), jnp.asarray(ORDERS), noises)
    # One blur for all channels; noise and coherence are each channel's own.
    width = jnp.argmin(jnp.sum(jnp.min(costs, axis=(2, 3, 4)), axis=0))

    def best(costs: Array) -> tuple[Array, Array, Array]:
        limit, order, noise = jnp.unravel_index(jnp.argmin(costs), costs.shape)
        return noises[noise], jnp.asarray(LIMITS)[limit], jnp.asarray(ORDERS)[order]

    return Damage(jnp.asarray(WIDTHS)[width], *jax.vmap(best)(costs[:, width]))


def coherence(frequency: Array, limit: Array, order: Array) -> Array:
    """Correlation of the picture and the truth: 1 for large structures, 1/2 at the limit."""
    return 1 / (1 + (frequency / limit) ** order)


def unexplained(rings: Rings, h: Float[Array, "1 k"]) -> Float[Array, "c k"]:
    """Power of y - h x in each ring."""
    return jnp.maximum(h**2 * rings.xx - 2 * h * rings.xy + rings.yy, _FLOOR)


def wiener_gain(damage: Damage, rings: Rings) -> Float[Array, "c k"]:
    """Gain of each ring from what is unexplained to the estimate of the error."""
    h = blur_response(rings.frequency, damage.width)[None, :]
    c = jax.vmap(lambda *x: coherence(rings.frequency, *x))(damage.limit, damage.order)
    error = (1 - c**2) * rings.xx
    grain = unexplained(rings, h) - h**2 * 2 * (1 - c) * rings.xx
    gain = h * error / (h**2 * error + jnp.maximum(grain, damage.noise[:, None]))
    there = jnp.clip(rings.yy / jnp.maximum(h**2 * rings.xx, _FLOOR), 0.0, 1.0)
    return jnp.minimum(gain, MAX_GAIN) * there
