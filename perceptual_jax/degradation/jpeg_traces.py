"""The header of a JPEG from its pixels alone, where the file no longer has one.

A decoded JPEG keeps what rounding did to it: on its own grid of blocks the DCT coefficients c of
its pixels are multiples of the steps of its tables, but for the rounding of pixels. So

    z = sum of cos(2 pi c / step) / sqrt(n / 2),    over the n of c / step that do not round to 0,

is about standard normal for a wrong table and grows with sqrt(n) for the right one. Finer tables
than the true one can have a high z, too, but a small mean of the cosine: a table is scored by z
times the square of this mean. The grid is the one on which most coefficients are nearly 0; blocks
that straddle its blocks can look like multiples, too.

Turning a decoded JPEG by 90 degrees, as the readers of phone photographs do, transposes its tables.

A picture that was compressed twice has the coarser lattice, which is the damage that shows; one
that was resized between has none.

Source: after Fan and de Queiroz, "Identification of bitmap compression history", 2003.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
from jaxtyping import Float, UInt8

from perceptual_jax.degradation.jpeg import GRID, SAMPLINGS, standard_tables
from perceptual_jax.degradation.jpeg_codec import TO_YCC
from perceptual_jax.types import JpegHeader

QUALITIES = range(3, 96)
"""Qualities that are looked for; higher ones leave too little trace, and do too little harm."""

_LOW = 6
"""Frequencies of each axis that are looked at: the higher ones are nearly always 0."""

_NEAR_ZERO = 0.75
"""Size of a coefficient that rounding of pixels alone explains, whose deviation is 0.29."""

_LEAST = 5.0
"""Least score of a lattice that is believed. Pictures that never were a JPEG, or were resized
since, stay below 1; JPEGs of faces of 128 and 256 pixels are above 9 at quality 4 and above 15 from
10 to 95."""


class Trace(NamedTuple):
    """A lattice of luma, with its evidence."""

    score: float
    """At most 1 where there is no lattice, tens where there is one."""
    quality: int
    """Quality of libjpeg's tables."""
    row: int
    """Row of the picture's first pixel in the grid of 8."""
    column: int
    """Its column."""
    turned: bool
    """Whether the tables are transposed."""

    @property
    def tables(self) -> Float[np.ndarray, "2 8 8"]:
        """The steps of luma and chroma."""
        return _tables(self.quality, self.turned)


def find_traces(pixels: UInt8[np.ndarray, "h w 3"]) -> list[Trace]:
    """Lattices of a picture's luma on its most probable grid, the best first.

    Args:
        pixels: A picture of at least 16 pixels a side.
    """
    luma = ycc_levels(pixels)[:, :, 0]
    transformed = {
        (row, column): block_coefficients(luma[-row % 8 :, -column % 8 :])
        for row in range(8)
        for column in range(8)
    }
    grid = max(transformed, key=lambda at: (np.abs(transformed[at]) < _NEAR_ZERO).mean())
    found = []
    for turned in (False, True):
        tables = _low(np.stack([_tables(q, turned)[0] for q in QUALITIES]))[:, 1:]
        agreements, n = _lattices(_low(transformed[grid])[:, 1:], tables)
        scores = np.sqrt(2 * n) * np.maximum(agreements, 0) ** 3
        found += [Trace(float(s), q, *grid, turned) for q, s in zip(QUALITIES, scores, strict=True)]
    return sorted(found, reverse=True)


def find_header(pixels: UInt8[np.ndarray, "h w 3"]) -> JpegHeader | None:
    """The header of the JPEG that a picture was decoded from; None if there is no sign of one.

    Its tables are libjpeg's of the quality found. Where chroma says nothing, as in a grey picture,
    it is taken to be at half the resolution.

    Args:
        pixels: A picture in levels of 255, not resized since it was decoded; crops keep their grid.

    Example:
        >>> find_header(np.zeros((64, 64, 3), np.uint8)) is None
        True
    """
    if min(pixels.shape[:2]) < 32:
        return None
    best = find_traces(pixels)[0]
    if best.score < _LEAST:
        return None
    number, row, column = _subsampling(ycc_levels(pixels)[:, :, 1:], best)
    phase = np.array([row, column], np.int32)
    return JpegHeader(best.tables, np.asarray(number, np.int32), phase)


def _subsampling(chromas: Float[np.ndarray, "h w 2"], luma: Trace) -> tuple[int, int, int]:
    """The subsampling that fits the chromas best, and the phase of its grid of 16 pixels."""
    table = _low(luma.tables[1:])
    fits = {}
    for number, (rows, columns) in reversed(list(enumerate(SAMPLINGS))):
        for row in range(luma.row, 8 * rows, 8):
            for column in range(luma.column, 8 * columns, 8):
                parts = [
                    block_coefficients(_means(plane, row, column, rows, columns))
                    for plane in np.moveaxis(chromas, -1, 0)
                ]
                agreements, _ = _lattices(_low(np.concatenate(parts)), table)
                fits[number, row % GRID, column % GRID] = float(agreements[0])
    return max(fits, key=lambda fit: fits[fit])


def _means(
    plane: Float[np.ndarray, "h w"], row: int, column: int, rows: int, columns: int
) -> Float[np.ndarray, "h2 w2"]:
    """Means over `rows` by `columns` pixels, from the first whole block of a grid on."""
    part = plane[-row % (8 * rows) :, -column % (8 * columns) :]
    height, width = part.shape[0] // rows, part.shape[1] // columns
    part = part[: height * rows, : width * columns]
    return part.reshape(height, rows, width, columns).mean(axis=(1, 3))


def ycc_levels(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Luma minus 128 and both chromas, in levels of 255."""
    return pixels.astype(np.float64) @ TO_YCC.T - [128.0, 0.0, 0.0]


def block_coefficients(plane: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "n 8 8"]:
    """Orthonormal DCTs of the whole 8x8 blocks of a plane, from its corner on, on the host."""
    height, width = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: 8 * height, : 8 * width].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
    return np.asarray(scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho")).reshape(-1, 8, 8)


def _low(blocks: Float[np.ndarray, "n 8 8"]) -> Float[np.ndarray, "n k"]:
    """The low frequencies, the constant first."""
    return blocks[:, :_LOW, :_LOW].reshape(len(blocks), -1)


def _tables(quality: int, turned: bool) -> Float[np.ndarray, "2 8 8"]:
    tables = standard_tables(quality)
    return tables.transpose(0, 2, 1) if turned else tables


def _lattices(
    coefficients: Float[np.ndarray, "n k"], tables: Float[np.ndarray, "q k"]
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
    """Mean cosine of coefficients as multiples of each table's steps, and how many are not 0."""
    sums, counts = np.zeros(len(tables)), np.ones(len(tables))
    for i, table in enumerate(tables):
        steps = coefficients / table
        steps = steps[np.abs(steps) > 0.5]
        sums[i], counts[i] = np.cos(2 * np.pi * steps).sum(), max(len(steps), 1)
    return sums / counts, counts
