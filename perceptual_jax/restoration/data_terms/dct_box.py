"""The exact data term of a JPEG file: the box of all images that it could have been made from.

A JPEG holds every DCT coefficient rounded to a multiple of its step, so the coefficients c of an
image that gives this file lie within half a step of the file's own C:

    value = mean over coefficients of max(|c - C| - width * step / 2, 0)^2 / 255^2

At width 1 it is 0 for every image that compresses to the file, and says nothing inside; at 0 it is
the squared distance from the decoded picture, whose blocks it copies. Between them it holds a
picture near the centre of the box, where natural ones are: their coefficients are peaked at 0. In
units of a mean squared error of images in [0, 1], since the DCT is orthonormal.

Source: the projection onto quantisation constraint sets of Zakhor, "Iterative procedures for
reduction of blocking effects", 1992.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.canvas import canvas_matrix, canvas_mean
from perceptual_jax.degradation.jpeg import SAMPLINGS
from perceptual_jax.degradation.jpeg_codec import blocks_dct, off_grid, on_grid, subsample, to_ycc
from perceptual_jax.degradation.resampling import resample, resize
from perceptual_jax.types import Given, JpegHeader


class Box(NamedTuple):
    """The coefficients of a file."""

    coefficients: tuple[Float[Array, "_ _ 8 8"], ...]
    """Luma; then each chroma at full size, half width and half size, of which the header's
    subsampling selects one."""
    header: JpegHeader
    degraded: Float[Array, "h w 3"]
    matrix: Float[Array, "h r"] | None = None
    """Brings a restored image to the filled part of a canvas; None: the degraded image fills it."""
    side: Int[Array, ""] | None = None
    """Pixels of a side of that part."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class DctBox:
    """Squared distance of an image's coefficients to a JPEG's box. Holds no arrays: static.

    Attributes:
        width: Width of the box as a fraction of the steps, in [0, 1].
        zero_width: The same for coefficients that the file has as 0, which hold most of the
            detail that was lost; None is `width`.

    Example:
        >>> from perceptual_jax.degradation.jpeg import standard_tables
        >>> header = JpegHeader(standard_tables(10), jnp.int32(0), jnp.zeros(2, jnp.int32))
        >>> grey = jnp.zeros((16, 16, 3))
        >>> value, _ = DctBox().evaluate(DctBox().prepare(Given(grey, header), 16), grey)
        >>> float(value)
        0.0
    """

    width: float = 1.0
    zero_width: float | None = None

    def prepare(self, given: Given, resolution: int) -> Box:
        """The box of a decoded JPEG.

        The coefficients are recovered by transforming the pixels and rounding to the lattice. The
        decoder's clipping, its rounding and its smoothing of chroma change few of them: for a face
        of 256 px, below 1 in 1000 differ from the file's at qualities 10 and 50 and 5 in 1000 at
        90. Blocks that the edge cuts lose more, 2 in 100 at quality 50, since the decoder's
        pixels beyond it are gone. The value at the original image is at most about 1e-6.

        Args:
            given: The decoded picture and its header. With unknown tables the box is a point: every
                step is 1.
            resolution: Pixels of a side of the restored images to come.
        """
        degraded, header, side = jnp.asarray(given.image), given.header, given.side
        matrix = None
        if side is not None:
            shape = (degraded.shape[0], resolution)
            matrix = canvas_matrix(resolution, side, shape, filter="area")
        known = JpegHeader(*(jnp.asarray(x) for x in header))
        planes = zip(coefficients_of(degraded, known), steps_of(known), strict=True)
        return Box(tuple(jnp.round(c / s) * s for c, s in planes), known, degraded, matrix, side)

    def evaluate(
        self, cache: Box, image: Float[Array, "r r 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term's value and its map over the pixels.

        Args:
            cache: Result of `prepare`.
            image: Restored image in [-1, 1]; brought to the degraded image's size.

        Returns:
            The value, and for each pixel the mean over its block, of which the value is the mean.
            A block that the picture's edge cuts counts by its pixels inside; for those outside the
            edge is repeated, which is only a guess.
        """
        header, size = cache.header, (cache.degraded.shape[0], cache.degraded.shape[1])
        if cache.matrix is None:
            restored = resize(image, size)
        else:
            restored = resample(image, cache.matrix, cache.matrix)
        energies = []
        found = coefficients_of(restored, header)
        for c, own, step in zip(found, cache.coefficients, steps_of(header), strict=True):
            width: Any = self.width
            if self.zero_width is not None:
                width = jnp.where(own == 0, self.zero_width, self.width)
            beyond = jnp.maximum(jnp.abs(c - own) - width * step / 2, 0.0) / 255
            energies.append(jnp.mean(beyond**2, axis=(2, 3)))
        luma, chroma = energies[0], energies[1:]
        sampling = header.subsampling
        full = [_spread(chroma[i], 1, 1) for i in (0, 3)]
        wide = [_spread(chroma[i], 1, 2) for i in (1, 4)]
        half = [_spread(chroma[i], 2, 2) for i in (2, 5)]
        parts = [_spread(luma, 1, 1)]
        for f, w, h in zip(full, wide, half, strict=True):
            # Each plane's coefficients count alike: a quarter of them, a quarter of the weight.
            parts.append(jnp.where(sampling == 0, f, jnp.where(sampling == 1, w / 2, h / 4)))
        blocks = sum(parts[1:], parts[0])
        per_pixel = jnp.repeat(jnp.repeat(blocks, 8, axis=0), 8, axis=1)[:, :, None]
        per_pixel = per_pixel / samples_per_pixel(header)
        per_pixel = off_grid(per_pixel, jnp.asarray(header.phase), size)[:, :, 0]
        if cache.side is None:
            return jnp.mean(per_pixel), per_pixel
        return canvas_mean(per_pixel, cache.side), per_pixel


SAMPLED = ((1, 1), *SAMPLINGS, *SAMPLINGS)
"""Rows and columns of pixels in a sample of each plane of coefficients."""


def coefficients_of(
    image: Float[Array, "h w 3"], header: JpegHeader
) -> tuple[Float[Array, "_ _ 8 8"], ...]:
    """DCTs of luma, and of both chromas at the three subsamplings, on the header's grid."""
    ycc = to_ycc(on_grid(image, jnp.asarray(header.phase)))
    channels = (0, *[1] * len(SAMPLINGS), *[2] * len(SAMPLINGS))
    planes = zip(channels, SAMPLED, strict=True)
    return tuple(blocks_dct(subsample(ycc[:, :, i], *sampling)) for i, sampling in planes)


def steps_of(header: JpegHeader) -> tuple[Float[Array, "1 1 8 8"], ...]:
    """The step of every coefficient in each plane of `coefficients_of`; 1 where it is unknown."""
    luma, chroma = jnp.maximum(header.tables.astype(jnp.float32), 1.0)[:, None, None]
    return (luma, *[chroma] * (len(SAMPLED) - 1))


def samples_per_pixel(header: JpegHeader) -> Float[Array, ""]:
    """Samples of luma and both chromas for each pixel: 3, 2 or 1.5."""
    sampling = header.subsampling
    return jnp.where(sampling == 0, 3.0, jnp.where(sampling == 1, 2.0, 1.5))


def _spread(blocks: Float[Array, "r s"], rows: int, columns: int) -> Float[Array, "r2 s2"]:
    """Values of larger blocks on the grid of 8x8 ones."""
    return jnp.repeat(jnp.repeat(blocks, rows, axis=0), columns, axis=1)
