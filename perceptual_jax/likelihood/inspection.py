"""Posterior over JPEG headers of a picture: was it a JPEG, of which quality, on which grid?

A JPEG that is compressed again with its own tables, on its own grid, hardly changes. So with the
picture itself as the condition, the likelihood of the picture is by far the highest under its true
header, also where the file no longer has one. Probabilities are over the headers that were
compared, under a uniform prior:

    p(header | picture) = softmax(log p(picture | picture, header))

All grids and qualities are first screened without the network: on its own grid the coefficients of
a JPEG are multiples of its steps, on others they are not. The best candidates are compared by the
likelihood.

Source: Fan and de Queiroz, "Identification of bitmap compression history", 2003 (the screening).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.degradation.jpeg_codec import blocks_dct, on_grid, to_ycc
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.types import Given, JpegHeader, unknown_header

WINDOW = 128
"""Pixels of a side of the window that is inspected, the part of the picture with most detail."""

QUALITIES = tuple(range(3, 96))
"""Qualities that are screened; higher ones leave too little trace in the coefficients."""

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
    pixels, corner = _window(image)
    compared: dict[tuple[int, int, int, int], float] = {}

    def compare(quality: int, subsampling: int, row: int, column: int) -> None:
        key = (quality, subsampling, row, column)
        if key not in compared and 1 <= quality <= 100:
            compared[key] = float(_nll(model, pixels, _header(*key)))

    for quality, row, column in sift(pixels):
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
) -> tuple[Float[Array, "h2 w2 3"], tuple[int, int]]:
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
    return jnp.asarray(part / np.float32(127.5) - 1, jnp.float32), (top, left)


def sift(pixels: Float[Array, "h w 3"]) -> list[tuple[int, int, int]]:
    """The qualities with the highest scores, with row and column of their grids of 8 pixels."""
    tables = jnp.stack([jnp.asarray(standard_tables(quality)[0]) for quality in QUALITIES])
    scores = np.asarray(_lattice_scores(pixels, tables))
    order = np.argsort(-scores, axis=None)[:_CANDIDATES]
    indices = zip(*np.unravel_index(order, scores.shape), strict=True)
    return [(QUALITIES[int(q)], int(i), int(j)) for i, j, q in indices]


@jax.jit
def _lattice_scores(
    pixels: Float[Array, "h w 3"], tables: Float[Array, "q 8 8"]
) -> Float[Array, "8 8 q"]:
    """Scores of luma's coefficients as multiples of the steps, on every grid.

        sum of cos(2 pi c / step) / sqrt(n / 2)    over the n of c / step that do not round to 0

    The score is about standard normal where the coefficients are not on the lattice.
    """
    luma = to_ycc(pixels)[:, :, :1]
    phases = jnp.stack(jnp.meshgrid(jnp.arange(8), jnp.arange(8), indexing="ij"), axis=-1)

    def score_grid(phase: Array) -> Array:
        # Blocks that the window's edge cuts are left out.
        blocks = blocks_dct(on_grid(luma, phase)[:, :, 0])[1:-3, 1:-3]

        def score_table(table: Array) -> Array:
            steps = blocks / table[None, None]
            counted = jnp.abs(steps) > 0.5
            total = jnp.sum(jnp.where(counted, jnp.cos(2 * jnp.pi * steps), 0.0))
            return total / jnp.sqrt(jnp.maximum(jnp.sum(counted), 1) / 2)

        return jax.lax.map(score_table, tables)

    return jax.lax.map(score_grid, phases.reshape(64, 2)).reshape(8, 8, len(tables))


def _header(quality: int, subsampling: int, row: int, column: int) -> JpegHeader:
    phase = np.array([row, column], np.int32)
    return JpegHeader(standard_tables(quality), np.asarray(subsampling, np.int32), phase)


@jax.jit
def _nll(model: Likelihood, pixels: Array, header: JpegHeader) -> Array:
    """NLL in bits/dim of a picture under a header, with the picture itself as condition."""
    return model.evaluate(model.prepare(Given(pixels, header)), pixels)[0]
