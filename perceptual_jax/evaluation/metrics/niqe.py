"""NIQE: how far a picture's scene statistics are from those of pristine photographs.

36 statistics of each block of 96 x 96 pixels (18 at full size, 18 at half of it) are summarised by
their mean m and covariance C, and compared with those of pristine photographs, m' and C':

    niqe = sqrt( (m - m')^T ((C + C') / 2)^-1 (m - m') )

Source: Mittal, Soundararajan, Bovik, "Making a Completely Blind Image Quality Analyzer", IEEE SPL
2013, with the model and the details of the authors' code as BasicSR 1.4.2 has them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.evaluation.metrics.scene_statistics import (
    Fit,
    fit,
    mean_of,
    mscn,
    spread,
    weighted_sum,
)

_BLOCK = 96
_LUMA = (65.481, 128.553, 24.966)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
_HALVING = np.array([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]) / 2
"""Distances of the eight pixels under a cubic filter of twice its width, in its units."""


class Pristine(NamedTuple):
    """The statistics of pristine photographs: the measure `niqe`."""

    mean: Float[Array | np.ndarray, "36"]
    covariance: Float[Array | np.ndarray, "36 36"]


@jax.jit
def niqe(image: Float[Array, "h w 3"], pristine: Pristine) -> Float[Array, ""]:
    """Natural image quality evaluator, at least 0; lower is more natural, photographs have 2 to 5.

    No unit. It judges texture and sharpness, not whether a picture shows what it should: artificial
    texture lowers it. Rows and columns beyond whole blocks are left out.

    Args:
        image: Image in [-1, 1] with at least two blocks of 96 x 96 pixels.
        pristine: The model of pristine photographs.

    Returns:
        The distance; NaN if fewer than two blocks have any contrast.

    Raises:
        ValueError: If the image has fewer than two blocks.

    Source: see the top of this file.
    """
    rows, columns = (side // _BLOCK for side in image.shape[:2])
    if rows * columns < 2:
        raise ValueError(
            f"niqe needs images of at least 2 x 1 blocks of {_BLOCK} x {_BLOCK} pixels, got "
            f"{image.shape[0]} x {image.shape[1]} pixels"
        )
    luma = jnp.round(_luma(image[: rows * _BLOCK, : columns * _BLOCK]))
    full = _block_statistics(luma, _BLOCK)
    half = _block_statistics(_halved(luma), _BLOCK // 2)
    statistics = jnp.concatenate([full, half], axis=-1)
    mean = jnp.nanmean(statistics, axis=0)
    covariance, blocks = _covariance(statistics)
    pooled = (covariance + jnp.asarray(pristine.covariance, mean.dtype)) / 2
    difference = mean - jnp.asarray(pristine.mean, mean.dtype)
    # Scaled to a diagonal of ones, since float32 would lose the smallest variances otherwise.
    scale = jnp.sqrt(jnp.diagonal(pooled))
    factor = jnp.linalg.cholesky(pooled / jnp.outer(scale, scale))
    solved = jax.scipy.linalg.solve_triangular(factor, difference / scale, lower=True)
    return jnp.where(blocks < 2, jnp.nan, jnp.sqrt(jnp.sum(solved**2)))


def _luma(image: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """BT.601's luma in [16, 235] of an image in [-1, 1]."""
    return weighted_sum(_LUMA, [(image[..., c] + 1) / 2 for c in range(3)]) + 16


def _block_statistics(luma: Float[Array, "h w"], size: int) -> Float[Array, "n 18"]:
    coefficients = mscn(luma, constant=1.0, border="edge")
    rows, columns = luma.shape[0] // size, luma.shape[1] // size
    blocks = coefficients.reshape(rows, size, columns, size).swapaxes(1, 2)
    blocks = blocks.reshape(rows * columns, size, size)
    fitted = _scaled(fit(blocks, zero_is_positive=False))
    found = [fitted.shape, (fitted.left + fitted.right) / 2]
    for shift in _NEIGHBOURS:
        neighbours = jnp.roll(blocks, shift, axis=(1, 2))
        moments = fit(blocks * neighbours, zero_is_positive=False)
        scaled = _scaled(moments)
        found += [moments.shape, mean_of(moments), scaled.left, scaled.right]
    return jnp.stack(found, axis=-1)


def _scaled(fitted: Fit) -> Fit:
    factor = spread(fitted.shape)
    return Fit(fitted.shape, fitted.left * factor, fitted.right * factor)


def _covariance(statistics: Float[Array, "n 36"]) -> tuple[Float[Array, "36 36"], Array]:
    """The covariance over the blocks without NaN, and their number."""
    valid = jnp.all(jnp.isfinite(statistics), axis=1, keepdims=True)
    count = jnp.sum(valid)
    rows = jnp.where(valid, statistics, 0)
    centred = jnp.where(valid, rows - jnp.sum(rows, axis=0, keepdims=True) / count, 0)
    product = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST)
    return product / jnp.maximum(count - 1, 1), count


def _halved(luma: Float[Array, "h w"]) -> Float[Array, "h2 w2"]:
    """MATLAB's `imresize(luma, 0.5)`: Keys's cubic filter, antialiased, mirrored at the border."""
    d = np.abs(_HALVING)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    weights = np.where(d <= 1, near, far)
    weights /= weights.sum()
    for axis in (0, 1):
        pad = [(3, 3) if axis == other else (0, 0) for other in (0, 1)]
        padded = jnp.pad(luma, pad, mode="symmetric")
        last = luma.shape[axis] - 1
        taps = [jax.lax.slice_in_dim(padded, i, i + last, 2, axis) for i in range(8)]
        luma = weighted_sum(weights, taps)
    return luma
