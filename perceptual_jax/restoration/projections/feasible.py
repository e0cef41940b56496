"""The last word of the data: the picture is moved to what the degraded image allows.

What a downscale D shows of a picture can be replaced without changing what it does not show:

    x  <-  x + P (y - D(x)),        D = M x M^T,  P = M^+ R (M^+)^T,  M^+ = M^T (M M^T + e I)^-1

Afterwards D(x) = y up to e, and x has lost nothing that D does not see. For a JPEG, y is the
picture near D(x) whose coefficients are the posterior means of `dequantisation`.

After a search the residual is small; a large one would leave halos. Differences of less than half a
level are rounding and stay.

Source: Wang et al., "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", 2023
(the range-space part of DDNM).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.canvas import canvas_matrix
from perceptual_jax.degradation.resampling import Filter, resample, resample_matrix
from perceptual_jax.restoration.data_terms.dct_box import DctBox, samples_per_pixel
from perceptual_jax.restoration.projections.dequantisation import posterior_coefficients
from perceptual_jax.types import Given

_RIDGE = 1e-3
"""Weight e of the identity, relative to the mean diagonal of M M^T."""

_HALF_LEVEL = 1 / 255
"""Half of a level of 255 in pictures in [-1, 1]."""

_STEPS = 20
"""Gradient steps to the coefficients. The DCT is orthonormal; colour and subsampling are not, so
the nearest picture takes some."""

_CURVATURE = 0.6
"""Bound of the curvature of the squared distance of coefficients: the largest eigenvalue of the
colour transformation's square."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Projection:
    """Projection of a picture on what the degraded image allows. Holds no arrays: static.

    Example:
        >>> from perceptual_jax.degradation.resampling import downscale
        >>> flat = Given(jnp.full((8, 8, 3), 0.5))
        >>> moved = Projection()(flat, jnp.zeros((32, 32, 3)))
        >>> round(float(downscale(moved, (8, 8), filter="bicubic")[4, 4, 0]), 2)
        0.5
    """

    quantised: bool = False
    """Whether the degraded image is a JPEG, whose header says what it allows; with unknown tables
    nothing is known of the picture, which stays as it is."""
    filter: Filter = "bicubic"
    """Filter of the downscale, see `resample_matrix`."""
    strength: float = 1.0
    """Fraction of the way in [0, 1] that the picture is moved."""

    def __call__(self, given: Given, image: Float[Array, "r r 3"]) -> Float[Array, "r r 3"]:
        """The projected picture; not clipped.

        Args:
            given: The degraded image, not larger than the picture.
            image: A picture in [-1, 1].
        """
        height, width, _ = given.image.shape
        size = image.shape[0]
        if height > size or width > size:
            return image
        rows, columns = (downscale_matrix(given, n, size, self.filter) for n in (height, width))
        shown = resample(image, rows, columns)
        if self.quantised:
            known = jnp.any(given.header.tables > 0)
            residual = jnp.where(known, _dequantised(given, shown) - shown, 0.0)
        else:
            residual = given.image - shown
            residual -= jnp.clip(residual, -_HALF_LEVEL, _HALF_LEVEL)
        # A degraded image that is not finite says nothing, and must not cost the picture.
        residual = jnp.where(jnp.isfinite(residual), residual, 0.0)
        return image + self.strength * resample(
            residual, right_inverse(rows), right_inverse(columns)
        )


def downscale_matrix(given: Given, n: int, size: int, filter: Filter) -> Float[Array, "n r"]:
    """Matrix of the downscale of a picture's lines to a side of the degraded image.

    Args:
        given: The degraded image.
        n: Pixels of that side, or of its canvas.
        size: Pixels of a side of the picture.
        filter: Filter of the downscale.
    """
    if given.side is None:
        return jnp.asarray(resample_matrix(size, n, filter=filter), jnp.float32)
    matrix = canvas_matrix(size, given.side, (n, size), filter=filter)
    # Beyond the filled part of a canvas nothing is known.
    return jnp.where(jnp.arange(n)[:, None] < given.side, matrix, 0.0)


def right_inverse(matrix: Float[Array, "n r"]) -> Float[Array, "r n"]:
    """The regularised right inverse of a matrix from `downscale_matrix`."""
    square = jnp.matmul(matrix, matrix.T, precision=jax.lax.Precision.HIGHEST)
    rows = jnp.count_nonzero(jnp.diag(square))  # those beyond a canvas's filled part are 0
    ridge = _RIDGE * jnp.trace(square) / rows
    return jnp.linalg.solve(square + ridge * jnp.eye(len(square)), matrix).T


def _dequantised(given: Given, shown: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The picture near `shown` with the posterior means of its coefficients, by gradient steps."""
    height, width, _ = given.image.shape
    # A box of no width is the squared distance from its middle.
    point = DctBox(width=0.0)
    cache = point.prepare(given, max(height, width))._replace(matrix=None)
    cache = cache._replace(coefficients=posterior_coefficients(cache, shown))
    pixels = height * width if given.side is None else given.side**2
    # Half the sum of squared distances has the gradient `distance`; the term is a mean of squares
    # of pictures in [0, 1].
    rate = 2 * samples_per_pixel(given.header) * pixels / _CURVATURE

    def step(_: Any, x: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        return x - rate * jax.grad(lambda x: point.evaluate(cache, x)[0])(x)

    return jax.lax.fori_loop(0, _STEPS, step, shown)
