"""RetinaFace's anchors: from its output to boxes and landmarks, and which boxes are one face.

At each cell of three grids, of 8, 16 and 32 px, lie two squares, the anchors. Of an anchor with
centre c and side a the network says

    centre = c + 0.1 a l_xy    size = a exp(0.2 l_wh)    landmark = c + 0.1 a p

All in pixels of the canvas, edge coordinates.

Source: Deng et al., "RetinaFace", CVPR 2020, and its public code for the small network.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from perceptual_jax.photographs.detection.nets import Detections

_ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
"""Pixels of a cell, and the sides of its anchors."""


class Boxes(NamedTuple):
    """Candidates of one picture."""

    box: Float64[np.ndarray, "n 4"]
    """Left, top, right and bottom edge."""
    score: Float64[np.ndarray, " n"]
    """Probability of a face."""
    points: Float64[np.ndarray, "n 5 2"]
    """x and y of eyes, nose and corners of the mouth, edge coordinates."""

    def take(self, indices: Int[np.ndarray, " m"]) -> "Boxes":
        """The candidates of these indices."""
        return Boxes(*(value[indices] for value in self))


@functools.lru_cache(maxsize=8)
def anchors(height: int, width: int) -> Float64[np.ndarray, "a 3"]:
    """Centre x, centre y and side of the anchors of a canvas, in the order of the network.

    Args:
        height: Pixels, a multiple of 32.
        width: Pixels, a multiple of 32.

    Example:
        >>> anchors(32, 32)[:3]
        array([[ 4.,  4., 16.],
               [ 4.,  4., 32.],
               [12.,  4., 16.]])
    """
    found = []
    for stride, sides in _ANCHORS:
        y, x, side = np.meshgrid(
            (np.arange(height // stride) + 0.5) * stride,
            (np.arange(width // stride) + 0.5) * stride,
            np.array(sides, np.float64),
            indexing="ij",
        )
        found.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(found)


def decode(output: Detections, size: tuple[int, int], *, threshold: float) -> Boxes:
    """The candidates whose score reaches the threshold, in pixels of the canvas.

    Args:
        output: RetinaFace's output.
        size: Height and width of the canvas.
        threshold: Smallest score.
    """
    keep = np.flatnonzero(output.scores >= threshold)
    x, y, side = anchors(*size)[keep].T
    offset = output.boxes[keep].astype(np.float64)
    centre = np.stack([x, y], axis=-1)
    middle = centre + 0.1 * side[:, None] * offset[:, :2]
    half = 0.5 * side[:, None] * np.exp(0.2 * offset[:, 2:])
    points = output.points[keep].reshape(-1, 5, 2).astype(np.float64)
    return Boxes(
        np.concatenate([middle - half, middle + half], axis=1),
        output.scores[keep].astype(np.float64),
        centre[:, None] + 0.1 * side[:, None, None] * points,
    )


def join(candidates: list[Boxes]) -> Boxes:
    """The candidates of several canvases as one."""
    if not candidates:
        return Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    return Boxes(*(np.concatenate(values) for values in zip(*candidates, strict=True)))


def non_maximum_suppression(
    box: Float[np.ndarray, "n 4"], score: Float[np.ndarray, " n"], *, overlap: float = 0.4
) -> Int[np.ndarray, " m"]:
    """Indices of the boxes that no better box covers, the best first.

    Args:
        box: Left, top, right and bottom edge.
        score: The better box has the higher score, of equal ones the one that comes first.
        overlap: Intersection over union above which two boxes are one face.

    Example:
        >>> box = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
        >>> non_maximum_suppression(box, np.array([0.8, 0.9, 0.7])).tolist()
        [1, 2]
    """
    left = np.argsort(-score, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        common = intersection(box[best], box[left])
        union = area(box[best][None]) + area(box[left]) - common
        left = left[common <= overlap * union]
    return np.array(kept, np.int64)


def area(box: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Areas of boxes; 0 for boxes without a width or height."""
    return np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1)


def intersection(
    box: Float[np.ndarray, " 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """Areas that the box shares with others."""
    corners = [np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])]
    return area(np.concatenate(corners, axis=1))
