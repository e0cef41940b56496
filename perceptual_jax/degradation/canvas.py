"""Canvases: images of many sizes in arrays of few sizes, so that they share compiled programs.

A degraded image fills the upper left of its canvas (`types.Given`). A restored image is brought to
that part by a resampling matrix whose sizes may be traced, and means are taken over it only.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from perceptual_jax.degradation.resampling import Filter, cubic
from perceptual_jax.io.images import to_float
from perceptual_jax.types import Given, JpegHeader


def canvas_of(side: int) -> int:
    """Pixels of a side of the canvas of a picture: few sizes for all pictures.

    The sizes of drafts and of comparisons are powers of 2. One that is larger than a picture is not
    smaller than its canvas either.

    Example:
        >>> [canvas_of(side) for side in (4, 30, 32, 100, 129, 250, 256, 600)]
        [8, 32, 32, 128, 160, 256, 256, 640]
    """
    if side <= 128:
        return max(8, 2 ** (side - 1).bit_length())
    step = 32 if side <= 256 else 128
    return -(-side // step) * step


def on_canvas(pixels: UInt8[np.ndarray, "h h 3"]) -> UInt8[np.ndarray, "c c 3"]:
    """A picture in the upper left of its canvas, its edge repeated over the rest."""
    padding = canvas_of(pixels.shape[0]) - pixels.shape[0]
    return np.pad(pixels, ((0, padding), (0, padding), (0, 0)), mode="edge")


def on_canvases(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], headers: Sequence[JpegHeader]
) -> Given:
    """Square pictures of one canvas, as a batch.

    Args:
        pictures: Square uint8 pictures; `canvas_of` must be the same for all of them.
        headers: The JPEG header of each picture.
    """
    levels = np.stack([on_canvas(picture) for picture in pictures])
    return Given(
        jnp.asarray(to_float(levels)),
        jax.tree.map(lambda *parts: np.stack(parts), *headers),
        jnp.array([picture.shape[0] for picture in pictures], jnp.int32),
    )


def canvas_matrix(
    side_in: Int[Array, ""] | int,
    side_out: Int[Array, ""] | int,
    shape: tuple[int, int],
    *,
    filter: Filter,
) -> Float[Array, "rows columns"]:
    """`resample_matrix` of sizes that may be traced, for lines that fill a part of a canvas.

    Distances between pixels are quotients of integers, computed exactly, so float32 is as accurate
    as float64 here.

    Args:
        side_in: Pixels of the input line, of `columns` in its canvas; at least 4.
        side_out: Pixels of the output line, of `rows` in its canvas; at least 4.
        shape: Rows and columns. Rows beyond `side_out` repeat the last one; columns beyond
            `side_in` are 0.
        filter: `bicubic` or `area`.

    Example:
        >>> canvas_matrix(4, 4, (5, 6), filter="area")[3:]
        Array([[0., 0., 0., 1., 0., 0.],
               [0., 0., 0., 1., 0., 0.]], dtype=float32)
    """
    rows, columns = shape
    j = jnp.minimum(jnp.arange(rows), side_out - 1)[:, None]
    i = jnp.arange(columns)[None, :]
    if filter == "area":
        begin, end = jnp.maximum(i * side_out, j * side_in), (i + 1) * side_out
        weights = jnp.maximum(jnp.minimum(end, (j + 1) * side_in) - begin, 0)
        return jnp.asarray(weights, jnp.float32) / side_in
    stretched = 2 * jnp.maximum(side_in, side_out)

    def taps(i: Int[Array, "1 columns"]) -> Float[Array, "rows columns"]:
        distance = jnp.abs((2 * j + 1) * side_in - (2 * i + 1) * side_out)
        return cubic(jnp.asarray(distance, jnp.float32) / stretched)

    # The line is continued by reflection, once on each side.
    last = side_in - 1
    weights = taps(i) + jnp.where(i > 0, taps(-i), 0.0)
    weights += jnp.where(i < last, taps(2 * last - i), 0.0)
    weights = jnp.where(i <= last, weights, 0.0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def canvas_mean(
    values: Float[Array, "h w"], side: Int[Array, ""], *, every: int = 1
) -> Float[Array, ""]:
    """Mean over the part of a canvas that is filled.

    Args:
        values: Values at the pixels of the canvas, or of every `every`-th row from the first on.
        side: Pixels of a side of the filled part.
        every: Distance in pixels between the rows of `values`.
    """
    rows = jnp.arange(values.shape[0]) * every < side
    columns = jnp.arange(values.shape[1]) < side
    inside = rows[:, None] & columns[None, :]
    return jnp.sum(jnp.where(inside, values, 0.0)) / jnp.sum(inside)
