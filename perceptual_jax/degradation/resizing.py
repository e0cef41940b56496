"""A picture at another size, as the data terms want it.

Pictures of different sizes can share one compiled program: each fills a part of an equally large
canvas, up and left, and the rest repeats its edge. Then sizes are numbers of the program, not of
its shapes.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.consistency import Filter, cubic, downscale


def resize(image: Float[Array, "h w c"], size: tuple[int, int]) -> Float[Array, "h2 w2 c"]:
    """By averaging areas where it shrinks, bicubic where it grows.

    Example:
        >>> resize(jnp.ones((8, 8, 3)), (4, 4)).shape
        (4, 4, 3)
    """
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return downscale(image, size, filter="area" if shrinks else "bicubic")


def canvas_matrix(
    side_in: Int[Array, ""] | int,
    side_out: Int[Array, ""] | int,
    shape: tuple[int, int],
    *,
    filter: Filter,
) -> Float[Array, "rows columns"]:
    """`resample_matrix` of sizes that may be traced, for lines that fill a part of a canvas.

    Distances between pixels are fractions of whole numbers, taken exactly, so float32 is as good
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
        values: Of the whole canvas, or of the first of `every` rows each.
        side: Pixels of the part.
        every: See `values`.
    """
    rows = jnp.arange(values.shape[0]) * every < side
    columns = jnp.arange(values.shape[1]) < side
    inside = rows[:, None] & columns[None, :]
    return jnp.sum(jnp.where(inside, values, 0.0)) / jnp.sum(inside)
