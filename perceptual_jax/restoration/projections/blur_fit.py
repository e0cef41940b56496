"""The blur between a restored picture and a degraded image whose damage is not known.

The degraded image y shows the truth t blurred, with noise; of the truth the picture's downscale x
knows large structures and has invented small ones. In a cosine transform, ring by ring,

    t  =  c x + e,    E |e|^2 = (1 - c^2) |x|^2        c(f) = 1 / (1 + (f / limit)^order)
    y  =  h t + n,    E |n|^2 = N                      h(f) = exp(-2 (pi width f)^2)

with frequencies f in cycles per pixel: x has the power of a natural face, whatever it has invented.
Blur, coherence c and noise are those of the greatest Whittle likelihood of y given x; c and N are
those of luma and of each chroma. Without c, what a search has invented would count as blur.

Source: Whittle, "Estimation and Information in Stationary Time Series", 1953.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

WIDTHS = tuple(float(width) for width in np.geomspace(0.2, 6.0, 40))
"""Widths of the blur that are compared: standard deviations in pixels of the degraded image."""

LIMITS = tuple(float(limit) for limit in np.geomspace(0.01, 1.0, 24))
"""Frequencies in cycles per pixel at which the coherence is 1/2."""

ORDERS = (2.0, 3.0, 5.0)
"""How fast the coherence falls."""

NOISES = tuple(float(noise) for noise in np.geomspace(0.2, 80.0, 36))
"""Standard deviations of the noise in levels of 255."""

_RINGS = 24
"""Rings of frequency, each a constant ratio wide."""


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


def blur_response(frequency: Float[Array, "..."], width: Float[Array, "..."] | float) -> Array:
    """Factor h in [0, 1] by which a Gaussian blur of a width in pixels damps a frequency."""
    return jnp.exp(-2 * jnp.square(jnp.pi * frequency * width))


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
