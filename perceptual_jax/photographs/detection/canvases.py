"""The canvases on which RetinaFace looks for faces: a photograph on several scales, in tiles.

RetinaFace finds faces of about 20 to 600 px. So the photograph is looked at

    as a whole, with its longer side reduced to 448 px and brought to 1024 px;
    if that reduces it, in tiles on finer scales, each at most four times the one before, up to its
    own size;
    and closer, enlarged until the smallest faces have 32 px, where a hint was seen: a candidate of
    any score, too small to be judged. All of a large photograph would take seven times as long.

Tiles overlap by 160 px, so a face of up to that size lies whole in one of them, and larger ones are
at least 40 px large on the scale before. What a tile cuts in two is left to other canvases.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

WHOLE = (448, 1024)
"""Longer sides in pixels at which the whole photograph is looked at."""
_LARGEST = 8.0
"""A photograph is not enlarged by more than this."""
_FACE = 32.0
"""Pixels on the finest canvas of the smallest face."""
_CELL, HINT = 256, 48
"""Pixels of the photograph: cells in which hints are looked at closer, and the largest hint."""
_STEP = 4.0
_TILE, _OVERLAP = 1280, 160
_CUT = 4.0
"""Pixels: a box that comes so near to an edge inside the photograph is cut by it."""


class Canvas(NamedTuple):
    """A rectangle of the photograph and the scale at which it is looked at."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom edge in the photograph."""
    scale: float
    """Pixels of the canvas for one of the photograph."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture on the canvas."""
        left, top, right, bottom = self.box
        return max(1, round((right - left) * self.scale)), max(
            1, round((bottom - top) * self.scale)
        )


def canvases(size: tuple[int, int], *, finest: float = 1.0) -> list[Canvas]:
    """The canvases that cover a photograph, the coarsest first; the last has the largest scale.

    Args:
        size: Width and height of the photograph.
        finest: Largest scale of tiles.
    """
    longer = max(size)
    whole = [min(side / longer, _LARGEST) for side in WHOLE]
    found = [
        Canvas((0.0, 0.0, float(size[0]), float(size[1])), scale) for scale in dict.fromkeys(whole)
    ]
    scale = whole[-1]
    if finest <= scale:
        return found
    steps = math.ceil(math.log(finest / scale, _STEP) - 1e-9)
    for i in range(1, steps + 1):
        found += tiles(size, scale * (finest / scale) ** (i / steps))
    return found


def closer(
    size: tuple[int, int], hints: Float[np.ndarray, "n 4"], *, scale: float, min_face: float
) -> list[Canvas]:
    """Canvases around hints, on which the smallest faces have 32 px.

    Args:
        size: Width and height of the photograph.
        hints: Boxes of candidates of any score, in the photograph; those above 48 px are left out.
        scale: Scale at which they were seen.
        min_face: Pixels of the smallest face that should be found.

    Returns:
        One canvas for each cell of 256 px with a hint; none if the scale was fine enough.
    """
    finest = min(_FACE / min_face, _LARGEST)
    if finest <= scale:
        return []
    small = (hints[:, 2:] - hints[:, :2]).max(axis=1, initial=0) < HINT
    centres = (hints[small, :2] + hints[small, 2:]) / 2
    centres = centres[((centres >= 0) & (centres < size)).all(axis=1)]
    found = []
    for x, y in np.unique((centres // _CELL).astype(int), axis=0).tolist():
        left, top = max(x * _CELL - HINT, 0), max(y * _CELL - HINT, 0)
        right, bottom = min((x + 1) * _CELL + HINT, size[0]), min((y + 1) * _CELL + HINT, size[1])
        found.append(Canvas((float(left), float(top), float(right), float(bottom)), finest))
    return found


def tiles(size: tuple[int, int], scale: float) -> Iterator[Canvas]:
    """Equal tiles of at most 1280 px that cover the photograph and overlap by at least 160 px."""
    lines = []
    for pixels in size:
        length = pixels * scale
        count = max(1, math.ceil((length - _OVERLAP) / (_TILE - _OVERLAP)))
        tile = (length + (count - 1) * _OVERLAP) / count
        step = (length - tile) / max(count - 1, 1)
        starts = [i * step / scale for i in range(count)]
        lines.append([(start, min(start + tile / scale, float(pixels))) for start in starts])
    for top, bottom in lines[1]:
        for left, right in lines[0]:
            yield Canvas((left, top, right, bottom), scale)


def draw(picture: Image.Image, canvas: Canvas) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a canvas, its sides filled up to multiples of 32 with the mean of faces.

    Args:
        picture: The photograph, RGB.
        canvas: What is drawn.
    """
    width, height = canvas.size
    drawn = picture.resize((width, height), Image.Resampling.BICUBIC, box=canvas.box)
    pixels = np.empty((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.uint8)
    pixels[:] = (127, 117, 104)
    pixels[:height, :width] = np.asarray(drawn)
    return pixels


def to_photograph(canvas: Canvas, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Edge coordinates of the photograph of points of a canvas."""
    left, top, right, bottom = canvas.box
    scale = np.array([right - left, bottom - top]) / np.array(canvas.size)
    return points * scale + np.array([left, top])


def is_cut(
    canvas: Canvas, box: Float[np.ndarray, "n 4"], size: tuple[int, int]
) -> Bool[np.ndarray, " n"]:
    """Which boxes reach an edge of the canvas that is none of the photograph's.

    Args:
        canvas: Where the boxes were found.
        box: Left, top, right and bottom edge in the photograph.
        size: Width and height of the photograph.
    """
    left, top, right, bottom = canvas.box
    near = _CUT / canvas.scale
    cut = np.zeros(len(box), bool)
    for axis, (low, high) in enumerate(((left, right), (top, bottom))):
        if low > 0:
            cut |= box[:, axis] < low + near
        if high < size[axis] - 1e-6:  # the last tile's edge is computed, and may end a bit before
            cut |= box[:, axis + 2] > high - near
    return cut
