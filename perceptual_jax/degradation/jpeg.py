"""JPEG as mathematics: what a header tells, and the picture that such a file would show.

    RGB -> YCbCr -> chroma at half the resolution -> 8x8 DCT -> round(c / step) * step -> back

The grid of blocks need not begin at the image's first pixel: a crop of a decoded JPEG keeps the
phase of the grid, and 16 pixels hold every grid (8 for luma, 16 for chroma at half resolution).

Source: ITU-T T.81 and the JFIF specification; libjpeg's tables and its triangle filter for chroma.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from PIL import Image, JpegImagePlugin

GRID = 16
"""Pixels after which any JPEG's grid repeats."""

_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
72 92 95 98 112 100 103 99
"""
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))


class JpegHeader(NamedTuple):
    """What is known of the JPEG that an image comes from. Arrays, so it can be batched."""

    tables: Float[Array | np.ndarray, "*n 2 8 8"]
    """Quantisation steps of luma and chroma, [vertical, horizontal frequency]; 0 if unknown."""
    subsampling: Int[Array | np.ndarray, "*n"]
    """Of chroma: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is unknown."""
    phase: Int[Array | np.ndarray, "*n 2"]
    """Row and column of the image's first pixel in the grid, 0 to 15; -1 if unknown."""


def unknown_header() -> JpegHeader:
    """The header of an image of which nothing is known."""
    return JpegHeader(
        np.zeros((2, 8, 8), np.float32), np.asarray(-1, np.int32), np.array([-1, -1], np.int32)
    )


def standard_tables(quality: int) -> Float[np.ndarray, "2 8 8"]:
    """The tables that libjpeg, and so nearly every program, writes at a quality.

    Args:
        quality: 1 to 100.

    Raises:
        ValueError: If the quality is out of its range.

    Example:
        >>> standard_tables(50)[:, 0, :3]
        array([[16., 11., 10.],
               [17., 18., 24.]], dtype=float32)
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma = np.array(_LUMA.split(), np.int64).reshape(8, 8)
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = _CHROMA_CORNER
    return np.clip((np.stack([luma, chroma]) * percent + 50) // 100, 1, 255).astype(np.float32)


def quality_of(tables: Float[np.ndarray, "2 8 8"]) -> int:
    """The quality whose standard tables are nearest, by the mean ratio of steps.

    Example:
        >>> quality_of(standard_tables(37))
        37
    """
    steps = np.log(np.maximum(np.asarray(tables), 1))
    away = [np.abs(np.log(standard_tables(q)) - steps).mean() for q in range(1, 101)]
    return int(np.argmin(away)) + 1


def read_header(image: Image.Image) -> JpegHeader | None:
    """The header of a JPEG as Pillow opened it; None for another format or for CMYK.

    Args:
        image: Straight from `PIL.Image.open`: a converted copy has lost its tables. The phase is
            that of the picture as stored; turning it upright moves the grid.
    """
    tables = getattr(image, "quantization", None)
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not tables:
        return None
    if image.mode not in ("RGB", "L"):
        return None
    subsampling = JpegImagePlugin.get_sampling(image)
    if image.mode == "L":
        chroma, subsampling = tables[0], 0
    else:
        # The file says which table each component uses; Cb and Cr share one.
        chroma = tables[image.layer[1][3]] if len(image.layer) > 1 else tables[0]
    both = np.stack([np.reshape(t, (8, 8)) for t in (tables[0], chroma)]).astype(np.float32)
    return JpegHeader(both, np.asarray(subsampling, np.int32), np.zeros(2, np.int32))


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
    levels = jnp.einsum("hwc,dc->hwd", image * 127.5, _TO_YCC.astype(np.float32), precision=_EXACT)
    return levels - jnp.array([0.5, 0, 0])[None, None]


def from_ycc(ycc: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The inverse of `to_ycc`."""
    levels = ycc + jnp.array([0.5, 0, 0])[None, None]
    return jnp.einsum("hwc,dc->hwd", levels, _TO_RGB.astype(np.float32), precision=_EXACT) / 127.5


def blocks_dct(plane: Float[Array, "h w"]) -> Float[Array, "r s 8 8"]:
    """Orthonormal DCT-II of every 8x8 block; sides must be multiples of 8."""
    h, w = plane.shape
    blocks = plane.reshape(h // 8, 8, w // 8, 8)
    dct = _DCT.astype(np.float32)
    return jnp.einsum("ka,rasb,lb->rskl", dct, blocks, dct, precision=_EXACT)


def blocks_idct(coefficients: Float[Array, "r s 8 8"]) -> Float[Array, "h w"]:
    """The inverse of `blocks_dct`."""
    r, s, _, _ = coefficients.shape
    dct = _DCT.astype(np.float32)
    blocks = jnp.einsum("ka,rskl,lb->rasb", dct, coefficients, dct, precision=_EXACT)
    return blocks.reshape(8 * r, 8 * s)


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


def _hard_round(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rounding, with the gradient of `soft_round`: its own is zero wherever there is one."""
    soft = soft_round(x)
    return soft + jax.lax.stop_gradient(jnp.round(x) - soft)


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
    rounding: Literal["soft", "hard"] = "hard",
) -> Float[Array, "h w 3"]:
    """The image as a JPEG with this header would show it.

    Args:
        image: In [-1, 1].
        header: May be traced. With unknown tables the image comes back unchanged; an unknown
            subsampling is taken for 4:2:0, an unknown phase for (0, 0).
        rounding: The true one, with the slope of `soft_round` for its gradient; or `soft_round`
            in both.

    Returns:
        In [-1, 1], clipped as a decoder does.
    """
    round_ = _hard_round if rounding == "hard" else soft_round
    tables = jnp.maximum(jnp.asarray(header.tables, jnp.float32), 1.0)
    ycc = to_ycc(on_grid(image, jnp.asarray(header.phase)))

    def code(plane: Array, table: Array) -> Array:
        steps = table[None, None]
        return blocks_idct(round_(blocks_dct(plane) / steps) * steps)

    luma = code(ycc[:, :, 0], tables[0])
    chromas = []
    for i in (1, 2):
        full = code(ycc[:, :, i], tables[1])
        wide = triangle_upsample(code(subsample(ycc[:, :, i], 1, 2), tables[1]), 1)
        half = code(subsample(ycc[:, :, i], 2, 2), tables[1])
        half = triangle_upsample(triangle_upsample(half, 0), 1)
        subsampling = jnp.asarray(header.subsampling)
        chroma = jnp.where(subsampling == 0, full, jnp.where(subsampling == 1, wide, half))
        chromas.append(chroma)
    coded = jnp.clip(from_ycc(jnp.stack([luma, *chromas], axis=-1)), -1.0, 1.0)
    coded = off_grid(coded, jnp.asarray(header.phase), (image.shape[0], image.shape[1]))
    return jnp.where(jnp.asarray(header.tables)[0, 0, 0] > 0, coded, image)
