"""Puts a restored face back into its photograph.

    restored face -> colours (`tone`) -> area filter -> warp -> mask -> patch of the photograph

Coordinates name the centres of pixels: a frame of corners `quad` is sampled at quad + 0.5 where
pixel 0 covers 0 to 1. So in a photograph enlarged by s, a point c lies at (c + 0.5) s - 0.5; others
take 0.5 s, which is off by half a pixel. Only the window that the face covers is touched, some rows
at a time, so that memory does not grow with the photograph.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.ndimage import map_coordinates, spline_filter

from perceptual_jax.photographs.compositing.masks import to_frame
from perceptual_jax.photographs.compositing.tone import (
    Curve,
    grain,
    luma,
    resized,
    toned,
    with_low_frequencies,
)

_ROWS = 256
"""Rows of a window that are worked on at once."""

_AROUND = 2
"""Pixels around the frame that belong to its window."""

Weigh = Callable[[Float32[np.ndarray, "h w 2"], Float32[np.ndarray, "h w 2"]], np.ndarray]
"""Maps points in the photograph, and the same points in the face's frame, to weights [h w]."""


class Patch(NamedTuple):
    """New pixels for a rectangle of a photograph."""

    top: int
    left: int
    pixels: UInt8[np.ndarray, "h w 3"]

    def put(self, photograph: UInt8[np.ndarray, "h w 3"]) -> None:
        """Replaces the pixels of the photograph, in place: it may be large."""
        height, width, _ = self.pixels.shape
        photograph[self.top : self.top + height, self.left : self.left + width] = self.pixels


def scaled_points(
    points: Float[np.ndarray, "*shape 2"], scale: tuple[float, float]
) -> Float[np.ndarray, "*shape 2"]:
    """Points of a photograph in the photograph enlarged by factors along x and y.

    Example:
        >>> scaled_points(np.array([0.0, 10.0]), (2.0, 2.0)).tolist()
        [0.5, 20.5]
    """
    return (points + 0.5) * scale - 0.5


def in_colours_of(
    face: UInt8[np.ndarray, "n n 3"],
    crop: UInt8[np.ndarray, "m m 3"],
    *,
    curve: Curve | None = None,
    grain_seed: Sequence[int] | None = None,
) -> Float32[np.ndarray, "n n 3"]:
    """A restored face in the colours of its photograph, in levels.

    Args:
        face: The restored face.
        crop: The photograph in the same frame.
        curve: The tone curve of a monochrome photograph, see `tone.tone_curve`.
        grain_seed: Seed of grain of the photograph's level; None adds none.
    """
    levels, there = face.astype(np.float32), crop.astype(np.float32)
    if curve is not None:
        levels, there = (np.repeat(luma(x)[:, :, None], 3, axis=2) for x in (levels, there))
    levels = with_low_frequencies(levels, there)
    if grain_seed is not None:
        levels = levels + grain(levels, there, np.random.default_rng(grain_seed))
    return toned(levels, curve) if curve is not None else levels


def paste(
    photograph: UInt8[np.ndarray, "h w 3"],
    face: Float[np.ndarray, "n n 3"],
    quad: Float[np.ndarray, "4 2"],
    weigh: Weigh,
) -> Patch | None:
    """The part of a photograph that a face covers, with the face in it.

    Where the face has more pixels than its place, areas are averaged before it is warped, by cubic
    splines. So a face that was cut out and not restored leaves the photograph as it is, but for
    rounding where the photograph is smooth.

    Args:
        photograph: The photograph; unchanged.
        face: The face in its frame, in levels from 0 to 255.
        quad: Corners of the frame in the photograph: upper left, lower left, lower right, upper
            right, in pixels, integers at their centres.
        weigh: The mask: 1 where the face replaces the photograph, 0 where it does not.

    Returns:
        The patch; None if the frame lies outside of the photograph.
    """
    height, width, _ = photograph.shape
    low = np.floor(quad.min(axis=0)).astype(int) - _AROUND
    high = np.ceil(quad.max(axis=0)).astype(int) + _AROUND + 1
    left, top = (max(int(low[i]), 0) for i in (0, 1))
    right, bottom = min(int(high[0]), width), min(int(high[1]), height)
    if right <= left or bottom <= top:
        return None
    spline = _spline(_reduced(face, quad))
    size = spline.shape[1]
    pixels = photograph[top:bottom, left:right].copy()
    for first in range(top, bottom, _ROWS):
        last = min(first + _ROWS, bottom)
        y, x = np.mgrid[first:last, left:right].astype(np.float32)
        points = np.stack([x, y], axis=-1)
        frame = to_frame(points, quad).astype(np.float32)
        weights = weigh(points, frame)[:, :, None]
        at = (frame[..., ::-1] * size - 0.5).transpose(2, 0, 1)
        sampled = np.stack(
            [map_coordinates(c, at, order=3, mode="reflect", prefilter=False) for c in spline],
            axis=-1,
        )
        rows = pixels[first - top : last - top]
        mixed = rows + weights * (np.clip(sampled, 0, 255) - rows)
        rows[:] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return Patch(top, left, pixels)


def _reduced(
    face: Float[np.ndarray, "n n 3"], quad: Float[np.ndarray, "4 2"]
) -> Float32[np.ndarray, "m m 3"]:
    """The face at the size of its place, if that is smaller."""
    side = max(np.linalg.norm(quad[3] - quad[0]), np.linalg.norm(quad[1] - quad[0]))
    return resized(face, min(max(round(float(side)), 1), len(face)))


def _spline(face: Float32[np.ndarray, "n n 3"]) -> Float32[np.ndarray, "3 n n"]:
    """Coefficients of the cubic spline through the pixels of each channel."""
    channels = [spline_filter(face[..., c], order=3, mode="reflect") for c in range(3)]
    return np.stack(channels).astype(np.float32)
