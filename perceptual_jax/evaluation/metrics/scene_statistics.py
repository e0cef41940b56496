"""Statistics of natural scenes: what photographs have in common and damaged ones lose.

A photograph's luminance, divided by its local contrast, is nearly Gaussian, and the products of
neighbours follow an asymmetric generalised Gaussian. NIQE and BRISQUE score a picture by the
parameters of such fits.

    mscn(x) = (x - mu) / (sigma + c)          mu, sigma over a Gaussian window of 7 x 7 pixels

Source: Ruderman, "The statistics of natural images", 1994; Mittal et al., "No-Reference Image
Quality Assessment in the Spatial Domain" (BRISQUE), IEEE TIP 2012; the fit by moments is that of
Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from scipy.special import gamma

_LINE = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
_WINDOW = np.outer(_LINE, _LINE) / _LINE.sum() ** 2
_SHAPES = np.arange(200, 10_001) / 1000
"""Shapes of the distribution among which a fit chooses, those of the authors' code."""
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))
"""The squared mean over the mean square of |x| at these shapes; it increases."""


class Fit(NamedTuple):
    """An asymmetric generalised Gaussian, one for each leading index."""

    shape: Float[Array, "..."]
    """Exponent: 2 is a Gaussian, 1 a Laplacian; within [0.2, 10]."""
    left: Float[Array, "..."]
    """Root of the mean square of the negative values."""
    right: Float[Array, "..."]
    """Root of the mean square of the others."""


def mscn(
    image: Float[Array, "h w"], *, constant: float, border: Literal["edge", "zero"]
) -> Float[Array, "h w"]:
    """Mean-subtracted, contrast-normalised coefficients of a luminance.

    Args:
        image: Luminance.
        constant: Added to the contrast, against division by zero.
        border: What lies beyond the border: copies of it, or zeros.
    """
    height, width = image.shape
    mode = "edge" if border == "edge" else "constant"
    padded = jnp.pad(image, 3, mode=mode)
    # Differences from the centre: they vanish where a picture is flat, as in exact arithmetic, and
    # squares of them lose nothing in float32.
    differences = [
        padded[i : i + height, j : j + width] - image for i in range(7) for j in range(7)
    ]
    weights = _WINDOW.ravel()
    mean = weighted_sum(weights, differences)
    variance = weighted_sum(weights, [(part - mean) ** 2 for part in differences])
    return -mean / (jnp.sqrt(variance) + constant)


def fit(values: Float[Array, "... h w"], *, zero_is_positive: bool) -> Fit:
    """Fits an asymmetric generalised Gaussian by its moments, over the last two axes.

    Args:
        values: Coefficients or products of neighbours.
        zero_is_positive: Whether zeros count among the values on the right, as in BRISQUE's code,
            or on neither side, as in NIQE's.

    Returns:
        The fit; a side without a value is NaN, and the shape then 0.2.
    """
    axes = (-2, -1)
    squares, negative = values**2, values < 0
    positive = values >= 0 if zero_is_positive else values > 0
    left, right = (
        jnp.sqrt(jnp.sum(jnp.where(side, squares, 0), axis=axes) / jnp.sum(side, axis=axes))
        for side in (negative, positive)
    )
    skew = left / right
    ratio = jnp.mean(jnp.abs(values), axis=axes) ** 2 / jnp.mean(squares, axis=axes)
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    return Fit(_shape_of(ratio), left, right)


def _shape_of(ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """The shape of the table whose ratio is nearest; the first for NaN, as in the authors' code."""
    ratios, shapes = jnp.asarray(_RATIOS, ratio.dtype), jnp.asarray(_SHAPES, ratio.dtype)
    above = jnp.clip(jnp.searchsorted(ratios, ratio), 1, len(_RATIOS) - 1)
    nearer_below = ratio - ratios[above - 1] <= ratios[above] - ratio
    found = jnp.where(nearer_below, shapes[above - 1], shapes[above])
    return jnp.where(jnp.isnan(ratio), shapes[0], found)


def spread(shape: Float[Array, "..."]) -> Float[Array, "..."]:
    """The scale of the distribution over the root of its mean square."""
    return jnp.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)


def mean_of(fitted: Fit) -> Float[Array, "..."]:
    """The mean of a fitted distribution."""
    ratio = jnp.exp(gammaln(2 / fitted.shape) - gammaln(1 / fitted.shape))
    return (fitted.right - fitted.left) * spread(fitted.shape) * ratio


def weighted_sum(
    weights: Sequence[float] | np.ndarray, parts: Sequence[Float[Array, "h w"]]
) -> Float[Array, "h w"]:
    """The sum of images times numbers; one fused loop of a compiled program."""
    terms = [float(weight) * part for weight, part in zip(weights, parts, strict=True)]
    return functools.reduce(jnp.add, terms)
