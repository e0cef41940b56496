"""BRISQUE: a score of opinion, regressed on a picture's scene statistics.

36 statistics (18 at full size, 18 at half of it) of the whole picture, scaled to [-1, 1], go into a
support vector regression with a Gaussian kernel, trained on the opinions of the LIVE data base:

    brisque = sum_i weights_i exp(-gamma |vectors_i - x|^2) - rho

Source: Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE
TIP 2012; model and details as in the package brisque 0.2.0, whose values these are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.evaluation.metrics.scene_statistics import fit, mean_of, mscn, weighted_sum

_LUMA = (0.2125, 0.7154, 0.0721)
_CUBIC = (-0.09375, 0.59375, 0.59375, -0.09375)
"""OpenCV's cubic filter (a = -0.75) half-way between two pixels, without antialiasing."""
_SMALLEST = 16


class Regression(NamedTuple):
    """The support vector regression: the measure `brisque`."""

    low: Float[Array | np.ndarray, "36"]
    high: Float[Array | np.ndarray, "36"]
    """Range of each statistic in the training."""
    vectors: Float[Array | np.ndarray, "n 36"]
    weights: Float[Array | np.ndarray, " n"]
    gamma: Float[Array | np.ndarray, ""]
    rho: Float[Array | np.ndarray, ""]


@jax.jit
def brisque(image: Float[Array, "h w 3"], regression: Regression) -> Float[Array, ""]:
    """Blind/referenceless image spatial quality evaluator; lower is better.

    No unit: a difference of opinion scores, about 0 for pristine photographs and 100 for badly
    damaged ones; it is not bounded, and good pictures can be below 0.

    Args:
        image: Image in [-1, 1] of at least 16 x 16 pixels.
        regression: The trained regression.

    Returns:
        The score; NaN for a picture without contrast.

    Raises:
        ValueError: If the image is too small.

    Source: see the top of this file.
    """
    if min(image.shape[:2]) < _SMALLEST:
        raise ValueError(
            f"brisque needs images of at least {_SMALLEST} x {_SMALLEST} pixels, got "
            f"{image.shape[0]} x {image.shape[1]}"
        )
    luma = weighted_sum(_LUMA, [(image[..., c] + 1) / 2 for c in range(3)])
    found = jnp.concatenate([_statistics(luma), _statistics(_halved(luma))])
    low, high, vectors, weights, gamma, rho = (jnp.asarray(v, found.dtype) for v in regression)
    scaled = 2 * (found - low) / (high - low) - 1
    kernel = jnp.exp(-gamma * jnp.sum((vectors - scaled[None]) ** 2, axis=1))
    return jnp.sum(weights * kernel) - rho


def _statistics(luma: Float[Array, "h w"]) -> Float[Array, "18"]:
    z = mscn(luma, constant=1 / 255, border="zero")
    fitted = fit(z, zero_is_positive=True)
    found = [fitted.shape, (fitted.left**2 + fitted.right**2) / 2]
    for product in (
        z[:, :-1] * z[:, 1:],
        z[:-1] * z[1:],
        z[:-1, :-1] * z[1:, 1:],
        z[1:, :-1] * z[:-1, 1:],
    ):
        fitted = fit(product, zero_is_positive=True)
        found += [fitted.shape, mean_of(fitted), fitted.left**2, fitted.right**2]
    return jnp.stack(found)


def _halved(luma: Float[Array, "h w"]) -> Float[Array, "h2 w2"]:
    """OpenCV's `resize(luma, fx=0.5, fy=0.5, INTER_CUBIC)`."""
    for axis in (0, 1):
        size = round(luma.shape[axis] / 2)
        places = 2 * np.arange(size)[:, None] + np.arange(-1, 3)
        places = np.clip(places, 0, luma.shape[axis] - 1)
        taps = [jnp.take(luma, places[:, i], axis=axis) for i in range(4)]
        luma = weighted_sum(_CUBIC, taps)
    return luma
