"""Filters that double the size of features and images, other than the usual [1, 3, 3, 1].

A filter f of n taps is applied to both axes, normalised to sum 2: zeros are put between the pixels
and beyond the border, and y = f * x is the convolution. The position of its centre follows
StyleGAN2's `upfirdn2d`: (n + 1) // 2 zeros come before the first pixel. The usual filter has a
faster form of its own in `upsampling.py`.

GFPGAN's clean networks interpolate bilinearly in its place. Inside of an image that is the usual
filter; at the border it repeats the edge, where filters see zeros.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020, and the
official code's definition of `upfirdn2d`; Wang et al., "GFPGAN", 2021, and its public code.
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Filter = tuple[float, ...] | Literal["bilinear"]
"""The taps of a filter, of any sum but zero, or bilinear interpolation."""

USUAL: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
"""The filter of almost all StyleGAN2 networks."""


def filter_transposed(x: Float[Array, "h w c"], taps: tuple[float, ...]) -> Float[Array, "h2 w2 c"]:
    """Filters the result of a transposed convolution, [2h+1 2w+1] -> [2h 2w].

    Args:
        x: Result of a transposed 3x3 convolution of stride 2.
        taps: The filter.
    """
    n = len(taps)
    return _filter(x, taps, before=(n + 1) // 2 - 1, after=(n - 2) // 2)


def upsample_by(x: Float[Array, "h w c"], taps: tuple[float, ...]) -> Float[Array, "h2 w2 c"]:
    """Doubles an image by a filter, with zeros beyond the border.

    Args:
        x: The image.
        taps: The filter.

    Example:
        >>> upsample_by(jnp.ones((2, 2, 1)), (1.0, 1.0))[:, 1, 0]
        Array([1., 1., 1., 1.], dtype=float32)
    """
    n = len(taps)
    zero = jnp.zeros((), x.dtype)
    stuffed = lax.pad(x, zero, ((0, 1, 1), (0, 1, 1), (0, 0, 0)))
    return _filter(stuffed, taps, before=(n + 1) // 2, after=(n - 2) // 2)


def upsample_bilinearly(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Doubles features or an image by bilinear interpolation that repeats the edge.

    Per axis y[2i] = (x[i-1] + 3 x[i]) / 4 and y[2i+1] = (3 x[i] + x[i+1]) / 4.

    Example:
        >>> upsample_bilinearly(jnp.arange(2.0)[:, None, None])[:, 0, 0]
        Array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    for axis in (0, 1):
        size = x.shape[axis]
        padded = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(3)], mode="edge")
        before = lax.slice_in_dim(padded, 0, size, axis=axis)
        after = lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = lax.collapse(pair, axis, axis + 2)
    return x


def _filter(x: Array, taps: tuple[float, ...], *, before: int, after: int) -> Array:
    """Convolves both axes with the filter; a negative number of zeros removes pixels."""
    gain = 2.0 / sum(taps)
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, ((before, after, 0), (before, after, 0), (0, 0, 0)))
    for axis in (0, 1):
        size = x.shape[axis] - len(taps) + 1
        x = sum(
            (
                gain * tap * lax.slice_in_dim(x, i, i + size, axis=axis)
                for i, tap in enumerate(reversed(taps))
                if tap
            ),
            start=zero,
        )
    return x
