"""Consistency: a restoration, degraded again as its input was, must be the input."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.jpeg_codec import requantise
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics.similarity import psnr
from perceptual_jax.types import JpegHeader


@jax.jit
def consistency(
    restored: Float[Array, "h w 3"], degraded: Float[Array, "h2 w2 3"], header: JpegHeader
) -> Float[Array, ""]:
    """PSNR between the restored image, degraded again, and the degraded one; higher is better.

    In decibels. The restored image is reduced by a bicubic filter to the size of the degraded one
    and, if that is a JPEG, compressed with its tables. What else was done to it, such as blur or
    noise, is not done again: of such images the number is a lower bound, and the level of the noise
    limits it. A degraded image that is larger is reduced instead, without compression.

    Args:
        restored: Restored image in [-1, 1].
        degraded: Degraded image in [-1, 1] of the same proportions.
        header: The JPEG's header; `unknown_header` for images that are none.

    Example:
        >>> from perceptual_jax.types import unknown_header
        >>> grey, light = jnp.zeros((32, 32, 3)), jnp.full((8, 8, 3), 0.2)
        >>> round(float(consistency(grey, light, unknown_header())), 4)
        20.0
    """
    height, width = (min(n, m) for n, m in zip(restored.shape[:2], degraded.shape[:2], strict=True))
    again = downscale(restored, (height, width), filter="bicubic")
    if degraded.shape[:2] == (height, width):
        again = requantise(again, header)
    given = downscale(degraded, (height, width), filter="bicubic")
    return psnr(jnp.clip(again, -1, 1), given)
