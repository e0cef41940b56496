"""Data terms that need no learning: the restored face, downscaled, must be the degraded one.

PULSE's data term for super-resolution is

    max( mean_{h,w,c} (D(x) - y)^2, floor ),     images in [0, 1],

with D a separable, antialiased downscale. D is two matrix products, one for each axis, so it is
linear, differentiable and exact at any factor. The matrices are made on the host in float64.

Source: Menon et al., "PULSE", CVPR 2020, and its public code; Keys, "Cubic convolution
interpolation for digital image processing", 1981 (the kernel, a = -1/2).
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

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
    # Accelerators round the factors of a float32 product to fewer bits unless told otherwise,
    # and the loss is a small difference of its results.
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("ah,hwc->awc", rows, image, precision=exact)
    return jnp.einsum("bw,awc->abc", columns, image, precision=exact)


@dataclasses.dataclass(frozen=True)
class DownscaleL2:
    """Mean squared error between the downscaled restored image and the degraded one.

    Hashable, so it can be a static argument of `jax.jit`.

    Example:
        >>> term = DownscaleL2(filter="area")
        >>> cache = term.prepare(jnp.zeros((8, 8, 3)), resolution=32)
        >>> value, errors = term.evaluate(cache, jnp.full((32, 32, 3), 0.2))
        >>> round(float(value), 6), errors.shape
        (0.01, (8, 8))
    """

    filter: Filter = "bicubic"
    """Of the downscale, see `resample_matrix`."""
    floor: float = 0.0
    """Values below it are raised to it, so that their gradient is zero (PULSE's eps: 2e-3)."""
    largest: int | None = None
    """Pixels of a side that larger images are compared at; None compares all there are."""

    def prepare(
        self, degraded: Float[Array, "h w c"], *, resolution: int
    ) -> Float[Array, "h2 w2 c"]:
        """What `evaluate` compares with, once for each image.

        Args:
            degraded: Degraded image in [-1, 1].
            resolution: Pixels of a side of the restored images to come. A degraded image larger
                than that along an axis is reduced to it, since a draft cannot show more.
        """
        height, width, _ = degraded.shape
        most = resolution if self.largest is None else min(resolution, self.largest)
        size = (min(height, most), min(width, most))
        return downscale(degraded, size, filter=self.filter)

    def evaluate(
        self, cache: Float[Array, "h2 w2 c"], restored: Float[Array, "h w c"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term and where it comes from.

        Args:
            cache: Result of `prepare`.
            restored: Restored image in [-1, 1], not smaller than `cache`.

        Returns:
            The mean squared error of images in [0, 1], not below `floor`, and the squared error
            of each pixel, whose mean it is (before the floor).

        Raises:
            ValueError: If the restored image is smaller than the cache.
        """
        size = (cache.shape[0], cache.shape[1])
        if restored.shape[0] < size[0] or restored.shape[1] < size[1]:
            raise ValueError(
                f"the restored image must be at least {size[0]} x {size[1]} pixels, got "
                f"{restored.shape[0]} x {restored.shape[1]}; prepare the term for its resolution"
            )
        difference = (downscale(restored, size, filter=self.filter) - cache) / 2
        errors = jnp.mean(difference**2, axis=-1)
        return jnp.maximum(jnp.mean(errors), self.floor), errors


def consistency_psnr(
    restored: Float[Array, "h w c"], degraded: Float[Array, "h2 w2 c"], *, filter: Filter
) -> Float[Array, ""]:
    """PSNR between the downscaled restored image and the degraded one, in decibels.

    Args:
        restored: Restored image in [-1, 1].
        degraded: Degraded image in [-1, 1]; if it is larger than the restored one, they are
            compared at the restored one's size.
        filter: Of the downscale, see `resample_matrix`.

    Example:
        >>> grey = jnp.zeros((32, 32, 3))
        >>> float(consistency_psnr(grey, jnp.full((8, 8, 3), 0.2), filter="bicubic"))
        20.0
    """
    term = DownscaleL2(filter=filter)
    mse, _ = term.evaluate(term.prepare(degraded, resolution=restored.shape[0]), restored)
    return -10 * jnp.log10(mse)
