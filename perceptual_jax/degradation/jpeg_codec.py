"""JPEG as mathematics: the picture that a file with a header would show.

    RGB -> YCbCr -> chroma at half the resolution -> 8x8 DCT -> round(c / step) * step -> back

Source: ITU-T T.81 and the JFIF specification; libjpeg's triangle filter for chroma.
"""

from typing import Literal

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
_TO_YCC = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ]
)
_TO_RGB = np.linalg.inv(_TO_YCC)
_EXACT = jax.lax.Precision.HIGHEST


def to_ycc(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """RGB in [-1, 1] to luma minus 128 and the two chromas, in levels of 255."""
    luma, *chromas = _mixed(image * 127.5, _TO_YCC)
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


def blocks_idct(coefficients: Float[Array, "r s 8 8"]) -> Float[Array, "h w"]:
    """The inverse of `blocks_dct`."""
    r, s, _, _ = coefficients.shape
    blocks = _transform(coefficients.transpose(0, 2, 1, 3)[None], _DCT.T)
    return blocks.reshape(8 * r, 8 * s)


def _transform(blocks: Float[Array, "n r 8 s 8"], matrix: np.ndarray) -> Float[Array, "n r 8 s 8"]:
    """The matrix on both axes of every block, which stays where it lies in its plane."""
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


def soft_round(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rounding's staircase with its corners smoothed: x - sin(2 pi x) / (2 pi).

    Exact at whole and half numbers, never decreasing, and of mean slope 1.

    Example:
        >>> [round(float(soft_round(jnp.float32(x))), 3) for x in (0.0, 0.2, 0.5, 0.8, 1.0)]
        [0.0, 0.049, 0.5, 0.951, 1.0]
    """
    return x - jnp.sin(2 * jnp.pi * x) / (2 * jnp.pi)


@jax.custom_jvp
def _hard_round(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rounding, with the gradient of `soft_round`: its own is zero wherever there is one."""
    return jnp.round(x)


_hard_round.defjvp(lambda x, d: (_hard_round(x[0]), (1 - jnp.cos(2 * jnp.pi * x[0])) * d[0]))


def _round_away(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`_hard_round`, but halves go away from zero as libjpeg's do.

    Whole levels make halves common in the mean of a block; the nudge is above float32's errors.
    """
    return _hard_round(x + 1e-4 * jnp.sign(x))


@jax.custom_jvp
def _whole(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The next whole number, halves up; of slope 1, since its steps are of a single level."""
    return jnp.floor(x + 0.5)


_whole.defjvp(lambda x, d: (_whole(x[0]), d[0]))


def on_grid(image: Float[Array, "h w c"], phase: Int[Array, " 2"]) -> Float[Array, "h2 w2 c"]:
    """The image with its edges repeated until the grid begins at the first pixel.

    The result is of whole 16-px cells, large enough for every phase; `off_grid` cuts it back.
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


def requantise(
    image: Float[Array, "h w 3"],
    header: JpegHeader,
    *,
    rounding: Literal["soft", "hard", "libjpeg"] = "libjpeg",
) -> Float[Array, "h w 3"]:
    """The image as a JPEG with this header would show it.

    Args:
        image: In [-1, 1].
        header: May be traced. With unknown tables the image comes back unchanged; an unknown
            subsampling is taken for 4:2:0, an unknown phase for (0, 0).
        rounding: Of coefficients. `hard` is the true one, with the slope of `soft_round` for its
            gradient; `soft` is `soft_round` in both. `libjpeg` is `hard` and also rounds to whole
            levels between the stages as that library does. Of the coefficients of faces at
            quality 50, 3 in 1000 are not the file's with `hard` and 0.7 with `libjpeg`; one is
            enough to change a whole block, so this is 18 and 4 blocks in 100 of any channel.

    Returns:
        In [-1, 1], clipped as a decoder does; only there, and not between the stages, does the
        gradient stop (with `libjpeg` also where a decoded plane leaves its 8 bits).
    """
    library = rounding == "libjpeg"
    round_ = {"soft": soft_round, "hard": _hard_round, "libjpeg": _round_away}[rounding]
    kind = jnp.asarray(header.subsampling)
    tables = jnp.maximum(jnp.asarray(header.tables, jnp.float32), 1.0)
    steps = jnp.stack([tables[0], tables[1], tables[1]])[:, None, :, None, :]
    ycc = to_ycc(on_grid(image, jnp.asarray(header.phase)))
    ycc = _whole(ycc) if library else ycc
    # libjpeg repeats rows below the picture only after it has halved them.
    last = jnp.maximum(jnp.asarray(header.phase)[0], 0) + image.shape[0] - 1 if library else None
    chromas = [_packed(ycc[:, :, i], kind, last) for i in (1, 2)]
    planes = jnp.stack([ycc[:, :, 0], *chromas])
    _, h, w = planes.shape
    coefficients = _transform(planes.reshape(3, h // 8, 8, w // 8, 8), _DCT)
    coded = _transform(round_(coefficients / steps) * steps, _DCT.T).reshape(3, h, w)
    if library:
        # Exact halves are common here, and float32 puts some of them just below.
        coded = jnp.clip(_whole(coded + 1e-4), -128.0, 127.0)
    chromas = [_unpacked(coded[i], kind, library=library) for i in (1, 2)]
    shown = from_ycc(jnp.stack([coded[0], *chromas], axis=-1))
    if library:
        shown = _whole(127.5 * (shown + 1)) / 127.5 - 1
    shown = off_grid(
        jnp.clip(shown, -1.0, 1.0), jnp.asarray(header.phase), (image.shape[0], image.shape[1])
    )
    return jnp.where(jnp.asarray(header.tables)[0, 0, 0] > 0, shown, image)


def _packed(
    plane: Float[Array, "h w"],
    subsampling: Int[Array, ""],
    last: Int[Array, ""] | None,
) -> Float[Array, "h w"]:
    """A chroma plane, subsampled into its upper left corner: one DCT then serves every kind.

    `last` is the picture's last row; given, the plane is subsampled as libjpeg does it.
    """
    h, w = plane.shape
    wide, half = subsample(plane, 1, 2), subsample(plane, 2, 2)
    if last is not None:
        # libjpeg's halves go down and up by turns from column to column.
        wide = _whole(wide - _by_turns(w // 2, 0.5, 0.0))
        half = _whole(half - _by_turns(w // 2, 0.25, 0.0))
        half = half[jnp.minimum(jnp.arange(h // 2), last // 2)]
    wide = jnp.pad(wide, ((0, 0), (0, w // 2)))
    half = jnp.pad(half, ((0, h // 2), (0, w // 2)))
    return _chosen(subsampling, plane, wide, half)


def _unpacked(
    plane: Float[Array, "h w"], subsampling: Int[Array, ""], *, library: bool
) -> Float[Array, "h w"]:
    """The inverse of `_packed`, as smooth as the decoder makes it."""
    h, w = plane.shape
    wide = triangle_upsample(plane[:, : w // 2], 1)
    half = triangle_upsample(triangle_upsample(plane[: h // 2, : w // 2], 0), 1)
    if library:
        wide = _whole(wide - _by_turns(w, 0.25, 0.0))
        half = _whole(half - _by_turns(w, 0.0, 1 / 16))
    return _chosen(subsampling, plane, wide, half)


def _by_turns(size: int, even: float, odd: float) -> Float[Array, "1 size"]:
    """A row that alternates."""
    return jnp.where(jnp.arange(size) % 2 == 0, even, odd)[None]


def _chosen(subsampling: Int[Array, ""], full: Array, wide: Array, half: Array) -> Array:
    """One of the three by a header's subsampling."""
    return jnp.where(subsampling == 0, full, jnp.where(subsampling == 1, wide, half))
