"""What a JPEG and the picture of a search say together of each DCT coefficient: its posterior mean.

The file says in which bin a coefficient c lies: within half a step of the file's own C. The picture
says about where: at g, with an error that depends on the frequency, and on the place, since edges
are harder than skin. Errors c - g of one frequency are a mixture of Gaussians of many widths,

    p(e) = sum_i w_i N(e; 0, s_i^2),      P(bin | g) = sum_i w_i P_i,   P_i = Phi(b_i) - Phi(a_i)

with bounds a_i, b_i = (C -+ step/2 - g) / s_i. The weights maximise the probability of the file's
bins (EM), so nothing is set by hand; then

    E[c | bin, g] = g + sum_i w_i s_i (phi(a_i) - phi(b_i)) / sum_i w_i P_i

Where the picture agrees with the file its detail stays; where it leaves the bin by more than such
errors do it knows nothing, and the coefficient comes to rest near the middle of the bin. Clipping
would put it at the bin's end, the least likely place.

Source: the posterior mean is the estimate of least squared error; for bins without a picture it is
the "centroid" of Price and Rabbani, "Biased reconstruction for JPEG decoding", IEEE Signal
Processing Letters 1999. The mixture, and a picture as the prior, are this project's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.jpeg_codec import on_grid, subsample
from perceptual_jax.restoration.data_terms.dct_box import SAMPLED, Box, coefficients_of, steps_of
from perceptual_jax.types import JpegHeader

_SCALES = tuple(2.0 ** np.arange(-4, 5))
"""Standard deviations s of the errors, in steps: from none that shows to none that tells."""
_LAST = np.eye(len(_SCALES), dtype=np.float32)[-1].reshape(-1, 1, 1, 1, 1)
"""1 for the widest of them."""
_ROUNDS = 20
"""Rounds of EM."""
_TINY = 1e-30


def posterior_coefficients(
    cache: Box, shown: Float[Array, "h w 3"]
) -> tuple[Float[Array, "_ _ 8 8"], ...]:
    """The posterior mean of every coefficient of a file.

    Args:
        cache: The file's, see `DctBox.prepare`.
        shown: The picture that was found, at the size of the file's.

    Returns:
        Planes as in `Box.coefficients`, each value inside its bin.
    """
    height, width, _ = shown.shape
    side = max(height, width) if cache.side is None else cache.side
    counted = _inside(cache.header, (height, width), side)
    found = coefficients_of(shown, cache.header)
    planes = zip(found, cache.coefficients, steps_of(cache.header), SAMPLED, strict=True)
    return tuple(
        own + step * posterior_offset((g - own) / step, _whole_blocks(counted, *sampling))
        for g, own, step, sampling in planes
    )


def posterior_offset(
    offset: Float[Array, "r s 8 8"], counted: Float[Array, "r s"]
) -> Float[Array, "r s 8 8"]:
    """The posterior mean of coefficients in their bins, from the middle, in steps.

    Args:
        offset: Where the picture has them, from the middle of the bin, in steps.
        counted: 1 for blocks from which the errors are learned, else 0.

    Returns:
        Values in [-1/2, 1/2], of the sign of `offset` and not larger.
    """
    # By symmetry the offset may be positive: bounds then lie in the lower tail, where Phi is exact.
    distance = jnp.abs(offset)
    masses, moments = zip(*(_bin(distance, scale) for scale in _SCALES), strict=True)
    mass, moment = jnp.stack(masses), jnp.stack(moments)
    weights = _fit(mass, counted)[:, None, None]
    total = jnp.sum(weights * mass, axis=0)
    mean = distance + jnp.sum(weights * moment, axis=0) / jnp.maximum(total, _TINY)
    # So far out that no error explains it: the picture says nothing.
    mean = jnp.where(total > _TINY, mean, 0.0)
    return jnp.sign(offset) * jnp.clip(mean, 0.0, jnp.minimum(distance, 0.5))


def _bin(
    distance: Float[Array, "r s 8 8"], scale: float
) -> tuple[Float[Array, "r s 8 8"], Float[Array, "r s 8 8"]]:
    """Probability of the bin, and integral of the error over it, for one Gaussian."""
    low, high = (-0.5 - distance) / scale, (0.5 - distance) / scale
    mass = jax.scipy.stats.norm.cdf(high) - jax.scipy.stats.norm.cdf(low)
    moment = scale * (jax.scipy.stats.norm.pdf(low) - jax.scipy.stats.norm.pdf(high))
    return mass, moment


def _fit(mass: Float[Array, "n r s 8 8"], counted: Float[Array, "r s"]) -> Float[Array, "n 8 8"]:
    """The weights of the mixture, for each frequency."""
    blocks = counted[None, :, :, None, None]
    many = jnp.maximum(jnp.sum(counted), 1.0)

    def round_of_em(_: Any, weights: Float[Array, "n 8 8"]) -> Float[Array, "n 8 8"]:
        share = weights[:, None, None] * mass
        # A bin that no Gaussian reaches counts for the widest, which it leaves least.
        share = (share + _TINY * _LAST) / (jnp.sum(share, axis=0, keepdims=True) + _TINY)
        return jnp.sum(share * blocks, axis=(1, 2)) / many

    n = len(_SCALES)
    return jax.lax.fori_loop(0, _ROUNDS, round_of_em, jnp.full((n, 8, 8), 1 / n))


def _inside(
    header: JpegHeader, size: tuple[int, int], side: int | Int[Array, ""]
) -> Float[Array, "h2 w2"]:
    """1 for the pixels of the picture on its grid; a canvas has them in its corner."""
    (rows, columns), start = size, jnp.maximum(jnp.asarray(header.phase), 0)
    inside = (jnp.arange(rows)[:, None] < side) & (jnp.arange(columns)[None] < side)
    whole = on_grid(jnp.zeros((*size, 1)), start)[:, :, 0]
    return jax.lax.dynamic_update_slice(whole, inside.astype(whole.dtype), tuple(start))


def _whole_blocks(inside: Float[Array, "h w"], rows: int, columns: int) -> Float[Array, "r s"]:
    """1 for the blocks of a subsampled plane all of whose pixels are inside."""
    plane = subsample(inside, rows, columns)
    blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8).min(axis=(1, 3))
    return (blocks >= 1).astype(jnp.float32)
