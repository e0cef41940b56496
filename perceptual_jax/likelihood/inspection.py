"""Posterior over JPEG headers of a picture: was it a JPEG, of which quality, on which grid?

A JPEG that is compressed again with its own tables, on its own grid, hardly changes. So with the
picture itself as the condition, the likelihood of the picture is by far the highest under its true
header, also where the file no longer has one. Probabilities are over the headers that were
compared, under a uniform prior:

    p(header | picture) = softmax(log p(picture | picture, header))

All grids and qualities are first screened without the network, by the traces of rounding (see
`degradation.jpeg_traces`). The best candidates are compared by the likelihood.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.degradation.jpeg_traces import find_traces
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.types import Given, JpegHeader, unknown_header

WINDOW = 128
"""Pixels of a side of the window that is inspected, the part of the picture with most detail."""

_CANDIDATES = 5
"""Number of pairs of grid and quality that are compared by the likelihood."""


class Belief(NamedTuple):
    """A header and its posterior probability among those compared."""

    quality: int | None
    """Quality of the JPEG; None for no JPEG, or one whose grid is lost."""
    subsampling: int | None
    """Subsampling of chroma as in `JpegHeader`; None with `quality`."""
    phase: tuple[int, int] | None
    """Row and column of the picture's first pixel in the 16-px grid; None with `quality`."""
    bits: float
    """NLL of the picture under this header in bits/dim, with the picture itself as condition."""
    probability: float
    """Posterior probability, in [0, 1]."""


def inspect_picture(model: Likelihood, image: UInt8[np.ndarray, "h w 3"]) -> tuple[Belief, ...]:
    """Possible headers of a picture, the most probable first.

    Args:
        model: A likelihood conditioned on tables and grids, such as the shipped `jpeg`.
        image: A picture of at least 32 pixels a side.

    Raises:
        ValueError: If the picture is smaller than 32 pixels a side.
    """
    height, width, _ = image.shape
    if min(height, width) < 32:
        raise ValueError(
            f"expected at least 32x32 pixels to find a JPEG's grid in, got {width}x{height}"
        )
    part, corner = _window(image)
    pixels = jnp.asarray(part / np.float32(127.5) - 1, jnp.float32)
    compared: dict[tuple[int, int, int, int], float] = {}

    def compare(quality: int, subsampling: int, row: int, column: int) -> None:
        key = (quality, subsampling, row, column)
        if key not in compared and 1 <= quality <= 100:
            compared[key] = float(_nll(model, pixels, _header(*key)))

    for trace in find_traces(part)[:_CANDIDATES]:
        quality, row, column = trace.quality, trace.row, trace.column
        compare(quality, 0, row, column)
        for down in (0, 8):
            for right in (0, 8):
                compare(quality, 2, row + down, column + right)
    for step in (2, 1):
        quality, *where = min(compared, key=lambda key: compared[key])
        compare(quality - step, *where)
        compare(quality + step, *where)
    without_jpeg = float(_nll(model, pixels, unknown_header()))
    return _beliefs(compared, without_jpeg, corner, pixels.size)


def _beliefs(
    compared: dict[tuple[int, int, int, int], float],
    without_jpeg: float,
    corner: tuple[int, int],
    dims: int,
) -> tuple[Belief, ...]:
    """Beliefs from the bits/dim of every header and of no JPEG, the most probable first."""
    bits = np.array([*compared.values(), without_jpeg])
    log_likelihoods = -(bits - bits.min()) * np.log(2) * dims
    probabilities = np.exp(log_likelihoods) / np.exp(log_likelihoods).sum()
    beliefs = [
        Belief(q, s, ((row - corner[0]) % 16, (column - corner[1]) % 16), b, float(p))
        for (q, s, row, column), b, p in zip(compared, bits, probabilities, strict=False)
    ]
    beliefs.append(Belief(None, None, None, without_jpeg, float(probabilities[-1])))
    return tuple(sorted(beliefs, key=lambda belief: belief.bits))


def _window(
    image: UInt8[np.ndarray, "h w 3"],
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], tuple[int, int]]:
    """The window of a picture with most detail, and its first row and column."""
    height, width, _ = image.shape
    rows, columns = (min(WINDOW, side // 16 * 16) for side in (height, width))
    detail = np.abs(np.diff(image.astype(np.float32), axis=1)).mean(axis=2)
    total = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    starts = [
        (i, j) for i in range(0, height - rows + 1, 16) for j in range(0, width - columns + 1, 16)
    ]
    end = columns - 1
    top, left = max(
        starts,
        key=lambda s: (
            total[s[0] + rows, s[1] + end]
            - total[s[0], s[1] + end]
            - total[s[0] + rows, s[1]]
            + total[s[0], s[1]]
        ),
    )
    part = image[top : top + rows, left : left + columns]
    return part, (top, left)


def _header(quality: int, subsampling: int, row: int, column: int) -> JpegHeader:
    phase = np.array([row, column], np.int32)
    return JpegHeader(standard_tables(quality), np.asarray(subsampling, np.int32), phase)


@jax.jit
def _nll(model: Likelihood, pixels: Array, header: JpegHeader) -> Array:
    """NLL in bits/dim of a picture under a header, with the picture itself as condition."""
    return model.evaluate(model.prepare(Given(pixels, header)), pixels)[0]
