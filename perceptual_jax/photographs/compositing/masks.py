"""Where a restored face replaces the photograph: weights from 0 to 1, as functions of the place.

A mask is evaluated at the pixels of the photograph and never resampled. It is given in the face's
frame, the square of FFHQ's framing with u to the right and v down, both from 0 to 1, or by the
face's landmarks; so its size and turn follow the face's.

    ellipse     the head with hair and neck: they are the generator's and need not be the person's
    oval        the face from brows to chin: around it everything stays the photograph's
    frame       the whole crop: for pictures that are no more than a face

Of heads that touch each other, each would erase a part of the other. So the mask of a face is
multiplied by one minus the ovals of all others.

Constants: chosen by eye on development photographs.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "*shape 2"]
"""x and y in pixels of the photograph; integers are the centres of pixels."""

CENTRE, HALF_AXES = (0.5, 0.52), (0.42, 0.5)
"""The ellipse has this centre and these half axes, in the face's frame."""
FEATHER = 0.2
"""Width of the mask's edge, as a fraction of the distance from its centre to its border."""
BORDER = 0.04
"""Width of the edge at the border of the crop, beyond which there is no restored pixel, as a
fraction of the crop's side."""
FRAME_FEATHER = 0.1
"""The same for the mask of the whole crop."""

_OVAL_CENTRE = 0.33
"""From the eyes to the mouth, as a fraction of this distance."""
_OVAL_HALF = (1.3, 1.15, 1.5)
"""Half axes: across at least 1.3 distances of the eyes and 1.15 distances of eyes and mouth, along
1.5 of the latter."""


def smoothstep(x: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Rises from 0 at 0 to 1 at 1 without a kink.

    Example:
        >>> smoothstep(np.array([-1.0, 0.5, 2.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def to_frame(points: Points, quad: Float[np.ndarray, "4 2"]) -> Points:
    """Coordinates u, v in a face's frame of points in the photograph.

    Args:
        points: x and y in pixels.
        quad: Corners of the frame: upper left, lower left, lower right, upper right. It is a
            square, or a parallelogram where the photograph is stretched.

    Example:
        >>> quad = np.array([[1.0, 1.0], [1.0, 3.0], [3.0, 3.0], [3.0, 1.0]])
        >>> to_frame(np.array([2.0, 3.0]), quad).tolist()
        [0.5, 1.0]
    """
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1)
    inverse = np.linalg.inv(axes).astype(points.dtype)
    return (points - quad[0].astype(points.dtype)) @ inverse.T


def ellipse_mask(frame: Points) -> Float[np.ndarray, "*shape"]:
    """The weight of an ellipse around the head, at points in the face's frame."""
    return _elliptic((frame - CENTRE) / HALF_AXES) * _inside(frame, BORDER)


def frame_mask(frame: Points) -> Float[np.ndarray, "*shape"]:
    """The weight of the whole crop, at points in the face's frame."""
    return _inside(frame, FRAME_FEATHER)


def oval_mask(points: Points, landmarks: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "*shape"]:
    """The weight of the oval of a face, at points in the photograph.

    Args:
        points: x and y in pixels.
        landmarks: Eye on the left of the picture, eye on the right, nose, mouth's corner on the
            left and on the right, in pixels.
    """
    eyes, mouth = (landmarks[0] + landmarks[1]) / 2, (landmarks[3] + landmarks[4]) / 2
    e2e, e2m = landmarks[1] - landmarks[0], mouth - eyes
    # Upright also where the face looks to a side, as FFHQ's frame.
    across = e2e + np.array([e2m[1], -e2m[0]])
    across = across / max(np.linalg.norm(across), 1e-9)
    wide, tall = np.linalg.norm(e2e), np.linalg.norm(e2m)
    half = max(_OVAL_HALF[0] * wide, _OVAL_HALF[1] * tall, 1e-9), max(_OVAL_HALF[2] * tall, 1e-9)
    turn = np.array([across, (-across[1], across[0])])
    centred = points - (eyes + _OVAL_CENTRE * e2m).astype(points.dtype)
    return _elliptic(centred @ turn.T.astype(points.dtype) / np.array(half, points.dtype))


def without_others(
    points: Points, others: Sequence[Float[np.ndarray, "5 2"]]
) -> Float[np.ndarray, "*shape"]:
    """The factor of a mask that leaves the other faces alone, at points in the photograph.

    Args:
        points: x and y in pixels.
        others: The landmarks of each other face.
    """
    factor = np.ones(points.shape[:-1], points.dtype)
    for landmarks in others:
        factor *= 1 - oval_mask(points, landmarks)
    return factor


def _elliptic(scaled: Points) -> Float[np.ndarray, "*shape"]:
    """1 within the unit circle, falling to 0 at it over the feather."""
    distance = np.sqrt((scaled * scaled).sum(axis=-1))
    return smoothstep((1 - distance) / FEATHER)


def _inside(frame: Points, width: float) -> Float[np.ndarray, "*shape"]:
    """1 within the frame, falling to 0 at its border."""
    return smoothstep(np.minimum(frame, 1 - frame).min(axis=-1) / width)
