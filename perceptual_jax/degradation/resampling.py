"""Pictures at another size, by two matrix products, one for each axis.

So resampling is linear, differentiable and exact at any factor. The matrices are made on the host
in float64; or, where sizes are traced, under JAX (`canvas_matrix`).

Pictures of different sizes can share one compiled program: each fills the upper left part of an
equally large canvas, and the rest repeats its edge. Then sizes are values in the program, not
shapes.

`jax.image.resize` with its antialiased cubic differs at the borders, where it renormalises the
kernel and PULSE reflects the picture, and it has no means over areas; so both are written here.

Source: Menon et al., "PULSE", CVPR 2020, and its public code (the antialiased downscale); Keys,
"Cubic convolution interpolation for digital image processing", 1981 (the kernel, a = -1/2).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, UInt8

Filter = Literal["bicubic", "area"]


def resample_matrix(
    size_in: int, size_out: int, *, filter: Filter
) -> Float64[np.ndarray, "size_out size_in"]:
    """Matrix that resamples a line of pixels; every row sums to 1.

    Output pixel j is centred at (j + 1/2) s - 1/2 on the input's grid, s = size_in / size_out.

    `bicubic` is the cubic kernel with a = -1/2, stretched by s when s > 1 (so no aliasing), over
    a line continued by reflection. At even s these are PULSE's taps. PULSE's own padding lies
    half a pixel off at odd s, where it would blur even at s = 1; the centred form is used there.

    `area` is the mean over the piece of the line that the output pixel covers, exact at any s.

    Args:
        size_in: Pixels of the input line.
        size_out: Pixels of the output line; may be more than `size_in`.
        filter: `bicubic` or `area`.

    Raises:
        ValueError: If a size is below 1 or the filter is unknown.

    Example:
        >>> resample_matrix(4, 2, filter="area")
        array([[0.5, 0.5, 0. , 0. ],
               [0. , 0. , 0.5, 0.5]])
    """
    if min(size_in, size_out) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {size_in} to {size_out}")
    if filter == "bicubic":
        return _bicubic_matrix(size_in, size_out)
    if filter == "area":
        return _area_matrix(size_in, size_out)
    raise ValueError(f"filter must be 'bicubic' or 'area', got {filter!r}")


def _bicubic_matrix(size_in: int, size_out: int) -> Float64[np.ndarray, "size_out size_in"]:
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    centres = (np.arange(size_out) + 0.5) * scale - 0.5
    reach = np.arange(np.ceil(4 * stretch) + 1, dtype=np.int64)
    positions = np.floor(centres - 2 * stretch).astype(np.int64)[:, None] + reach
    taps = cubic((positions - centres[:, None]) / stretch)
    taps /= taps.sum(axis=1, keepdims=True)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], _reflect(positions, size_in)), taps)
    return matrix


def cubic(x: Any) -> Any:
    """Keys' kernel, a = -1/2, of distances in pixels."""
    xp = jnp if isinstance(x, jax.Array) else np
    x = xp.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return xp.where(x <= 1, near, xp.where(x < 2, far, 0.0))


def _reflect(positions: Int[np.ndarray, "*shape"], size: int) -> Int[np.ndarray, "*shape"]:
    """Folds positions beyond a line back into it, without repeating the end pixels."""
    period = max(2 * (size - 1), 1)
    folded = positions % period
    return np.minimum(folded, period - folded)


def _area_matrix(size_in: int, size_out: int) -> Float64[np.ndarray, "size_out size_in"]:
    scale = size_in / size_out
    edges_in = np.arange(size_in + 1.0)
    edges_out = np.arange(size_out + 1.0)[:, None] * scale
    covered = np.minimum(edges_out[1:], edges_in[1:]) - np.maximum(edges_out[:-1], edges_in[:-1])
    return np.maximum(covered, 0.0) / scale


def downscale(
    image: Float[Array, "h w c"], size: tuple[int, int], *, filter: Filter
) -> Float[Array, "h2 w2 c"]:
    """Image resampled to `size`, in any range of values; not clipped or rounded.

    Args:
        image: Image of any range.
        size: Height and width of the result; larger than the image is allowed.
        filter: `bicubic` or `area`, see `resample_matrix`.

    Example:
        >>> downscale(jnp.ones((64, 64, 3)), (16, 16), filter="bicubic").shape
        (16, 16, 3)
    """
    height, width, _ = image.shape
    if size == (height, width):
        return image
    rows = jnp.asarray(resample_matrix(height, size[0], filter=filter), image.dtype)
    columns = jnp.asarray(resample_matrix(width, size[1], filter=filter), image.dtype)
    return resample(image, rows, columns)


def resample(
    image: Float[Array, "h w c"], rows: Float[Array, "h2 h"], columns: Float[Array, "w2 w"]
) -> Float[Array, "h2 w2 c"]:
    """Image times a resampling matrix along each axis."""
    # By default accelerators round the factors of a float32 product to fewer bits, and the loss is
    # a small difference of its results.
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("ah,hwc->awc", rows, image, precision=exact)
    return jnp.einsum("bw,awc->abc", columns, image, precision=exact)


def resize(image: Float[Array, "h w c"], size: tuple[int, int]) -> Float[Array, "h2 w2 c"]:
    """The image at another size: by averaging areas where it shrinks, bicubic where it grows.

    Example:
        >>> resize(jnp.ones((8, 8, 3)), (4, 4)).shape
        (4, 4, 3)
    """
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return downscale(image, size, filter="area" if shrinks else "bicubic")


def match_size(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image resampled to a size by averaging areas, rounded to 8-bit levels."""
    if image.shape[:2] == size:
        return image
    rows, columns = (
        resample_matrix(a, b, filter="area") for a, b in zip(image.shape, size, strict=False)
    )
    mean = np.einsum("ah,bw,hwc->abc", rows, columns, image, optimize=True)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)
