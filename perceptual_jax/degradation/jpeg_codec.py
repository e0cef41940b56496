"""JPEG as mathematics: the picture that a file with a header would show.

    RGB -> YCbCr -> chroma at half the resolution -> 8x8 DCT -> round(c / step) * step -> back

Source: ITU-T T.81 and the JFIF specification; libjpeg's triangle filter for chroma.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.jpeg import GRID
from perceptual_jax.types import JpegHeader

_DCT = np.array(
    [
        [np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * n + 1) * k * np.pi / 16) for n in range(8)]
        for k in range(8)
    ]
)
TO_YCC = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ]
)
_TO_RGB = np.linalg.inv(TO_YCC)
_EXACT = jax.lax.Precision.HIGHEST


def to_ycc(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """RGB in [-1, 1] to luma minus 128 and the two chromas, in levels of 255."""
    luma, *chromas = _mixed(image * 127.5, TO_YCC)
    return jnp.stack([luma - 0.5, *chromas], axis=-1)


def from_ycc(ycc: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The inverse of `to_ycc`."""
    levels = jnp.stack([ycc[:, :, 0] + 0.5, ycc[:, :, 1], ycc[:, :, 2]], axis=-1)
    return jnp.stack(_mixed(levels, _TO_RGB), axis=-1) / 127.5


def _mixed(image: Array, matrix: np.ndarray) -> list[Array]:
    """The channels' weighted sums. Not a product of matrices: one so small is slow on a CPU."""
    a, b, c = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    return [float(row[0]) * a + float(row[1]) * b + float(row[2]) * c for row in matrix]


def blocks_dct(plane: Float[Array, "h w"]) -> Float[Array, "r s 8 8"]:
    """Orthonormal DCT-II of every 8x8 block; sides must be multiples of 8."""
    h, w = plane.shape
    return _transform(plane.reshape(1, h // 8, 8, w // 8, 8), _DCT)[0].transpose(0, 2, 1, 3)


def _transform(blocks: Float[Array, "n r 8 s 8"], matrix: np.ndarray) -> Float[Array, "n r 8 s 8"]:
    """The matrix applied to both axes of every block, without moving blocks in their plane."""
    m = matrix.astype(np.float32)
    blocks = jnp.einsum("ka,nrasb->nrksb", m, blocks, precision=_EXACT)
    return jnp.einsum("nrksb,lb->nrksl", blocks, m, precision=_EXACT)


def subsample(plane: Float[Array, "h w"], rows: int, columns: int) -> Float[Array, "h2 w2"]:
    """Means over `rows` x `columns` pixels."""
    h, w = plane.shape
    return plane.reshape(h // rows, rows, w // columns, columns).mean(axis=(1, 3))


def triangle_upsample(plane: Float[Array, "h w"], axis: int) -> Float[Array, "h2 w2"]:
    """Twice as long along an axis: each new sample is 3/4 of the nearer and 1/4 of the next."""
    size = plane.shape[axis]
    first = jax.lax.slice_in_dim(plane, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(plane, size - 1, size, axis=axis)
    before = jnp.concatenate([first, jax.lax.slice_in_dim(plane, 0, size - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(plane, 1, size, axis=axis), last], axis)
    pairs = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
    return pairs.reshape(*(n * (1 + (i == axis)) for i, n in enumerate(plane.shape)))


@jax.custom_jvp
def _round(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rounding, with the gradient of x - sin(2 pi x) / (2 pi), a staircase with smooth corners.

    The gradient of rounding itself is zero wherever it exists. The staircase never decreases, is
    exact at integers and half-integers and has the mean slope 1.
    """
    return jnp.round(x)


_round.defjvp(lambda x, d: (_round(x[0]), (1 - jnp.cos(2 * jnp.pi * x[0])) * d[0]))


def _round_away(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`_round`, but halves are rounded away from zero as in libjpeg.

    Integer levels make halves common in the mean of a block; the offset of 1e-4 exceeds float32's
    errors.
    """
    return _round(x + 1e-4 * jnp.sign(x))


@jax.custom_jvp
def _whole(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The nearest integer, halves up; its gradient is 1, since its steps are single levels."""
    return jnp.floor(x + 0.5)


_whole.defjvp(lambda x, d: (_whole(x[0]), d[0]))


def on_grid(image: Float[Array, "h w c"], phase: Int[Array, " 2"]) -> Float[Array, "h2 w2 c"]:
    """The image with its edges repeated until the grid begins at the first pixel.

    The result consists of whole 16-px cells, enough of them for every phase; `off_grid` crops it.
    """
    height, width, channels = image.shape
    size = [-(-side // GRID) * GRID + GRID for side in (height, width)]
    padding = [(GRID, whole - side) for whole, side in zip(size, (height, width), strict=True)]
    padded = jnp.pad(image, (*padding, (0, 0)), mode="edge")
    start = GRID - jnp.maximum(jnp.asarray(phase), 0)
    return jax.lax.dynamic_slice(padded, (*start, jnp.zeros_like(start[0])), (*size, channels))


def off_grid(
    image: Float[Array, "h2 w2 c"], phase: Int[Array, " 2"], size: tuple[int, int]
) -> Float[Array, "h w c"]:
    """The inverse of `on_grid`."""
    start = jnp.maximum(jnp.asarray(phase), 0)
    return jax.lax.dynamic_slice(image, (*start, jnp.zeros_like(start[0])), (*size, image.shape[2]))


def requantise(image: Float[Array, "h w 3"], header: JpegHeader) -> Float[Array, "h w 3"]:
    """The image as a JPEG with this header would show it.

    Between the stages all values are rounded to integer levels as in libjpeg. For faces at quality
    50, 0.7 in 1000 coefficients then differ from the file's, and 3 in 1000 without this rounding.
    One of them changes a whole block, so 4 or 18 blocks in 100 of a channel differ.

    Args:
        image: Image in [-1, 1].
        header: Header of the JPEG; may be traced. With unknown tables the image is returned
            unchanged; an unknown subsampling is taken for 4:2:0, an unknown phase for (0, 0).

    Returns:
        The image in [-1, 1], clipped as a decoder does. Its gradient replaces the rounding of
        coefficients by a smooth staircase; it is zero only where the result or a plane is clipped.
    """
    subsampling = jnp.asarray(header.subsampling)
    tables = jnp.maximum(jnp.asarray(header.tables, jnp.float32), 1.0)
    steps = jnp.stack([tables[0], tables[1], tables[1]])[:, None, :, None, :]
    ycc = _whole(to_ycc(on_grid(image, jnp.asarray(header.phase))))
    # libjpeg repeats the last row below the picture only after subsampling.
    last = jnp.maximum(jnp.asarray(header.phase)[0], 0) + image.shape[0] - 1
    chromas = [_packed(ycc[:, :, i], subsampling, last) for i in (1, 2)]
    planes = jnp.stack([ycc[:, :, 0], *chromas])
    _, h, w = planes.shape
    coefficients = _transform(planes.reshape(3, h // 8, 8, w // 8, 8), _DCT)
    coded = _transform(_round_away(coefficients / steps) * steps, _DCT.T).reshape(3, h, w)
    # Exact halves are common here, and float32 puts some of them just below.
    coded = jnp.clip(_whole(coded + 1e-4), -128.0, 127.0)
    chromas = [_unpacked(coded[i], subsampling) for i in (1, 2)]
    shown = from_ycc(jnp.stack([coded[0], *chromas], axis=-1))
    shown = _whole(127.5 * (shown + 1)) / 127.5 - 1
    shown = off_grid(
        jnp.clip(shown, -1.0, 1.0), jnp.asarray(header.phase), (image.shape[0], image.shape[1])
    )
    return jnp.where(jnp.asarray(header.tables)[0, 0, 0] > 0, shown, image)


def _packed(
    plane: Float[Array, "h w"], subsampling: Int[Array, ""], last: Int[Array, ""]
) -> Float[Array, "h w"]:
    """A chroma plane, subsampled into its upper left corner: one DCT serves every subsampling.

    `last` is the row of the plane that holds the picture's last row.
    """
    h, w = plane.shape
    wide, half = subsample(plane, 1, 2), subsample(plane, 2, 2)
    # libjpeg rounds halves down and up in alternate columns.
    wide = _whole(wide - _by_turns(w // 2, 0.5, 0.0))
    half = _whole(half - _by_turns(w // 2, 0.25, 0.0))
    half = half[jnp.minimum(jnp.arange(h // 2), last // 2)]
    wide = jnp.pad(wide, ((0, 0), (0, w // 2)))
    half = jnp.pad(half, ((0, h // 2), (0, w // 2)))
    return _chosen(subsampling, plane, wide, half)


def _unpacked(plane: Float[Array, "h w"], subsampling: Int[Array, ""]) -> Float[Array, "h w"]:
    """The inverse of `_packed`, by the decoder's triangle filter."""
    h, w = plane.shape
    wide = triangle_upsample(plane[:, : w // 2], 1)
    half = triangle_upsample(triangle_upsample(plane[: h // 2, : w // 2], 0), 1)
    wide = _whole(wide - _by_turns(w, 0.25, 0.0))
    half = _whole(half - _by_turns(w, 0.0, 1 / 16))
    return _chosen(subsampling, plane, wide, half)


def _by_turns(size: int, even: float, odd: float) -> Float[Array, "1 size"]:
    """A row that alternates between two values, from column 0 on."""
    return jnp.where(jnp.arange(size) % 2 == 0, even, odd)[None]


def _chosen(subsampling: Int[Array, ""], full: Array, wide: Array, half: Array) -> Array:
    """The plane of the header's subsampling: 4:4:4, 4:2:2, or 4:2:0 also if it is unknown."""
    return jnp.where(subsampling == 0, full, jnp.where(subsampling == 1, wide, half))
