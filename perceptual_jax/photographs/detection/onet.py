"""Landmarks of a face by O-Net: the mean of seven squares around it, upright and mirrored.

O-Net looks at a square of 48 x 48 px and is sure only of upright faces, so the square is turned by
the angle of the landmarks known before. Its landmarks jitter with the square; the mean over the
square, shifted by 5 % each way and at 1.1 and 0.92 of its size, is steadier. Each square is looked
at in a mirror, too: a face stays one (the lower of the two scores counts), a hand does not.

O-Net puts the points where its training data had them. `CONSTANTS` move them to where FFHQ's
formula wants them: to the means of the eyes' outlines and to the corners of the mouth.
"""

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from perceptual_jax.photographs.align import crop_to_photograph, ffhq_quad
from perceptual_jax.photographs.detection.nets import ONet

SIDE = 48
"""Pixels of the square that O-Net looks at."""

_SQUARES = (
    (0.0, 0.0, 1.0),
    (0.05, 0.0, 1.0), (-0.05, 0.0, 1.0), (0.0, 0.05, 1.0), (0.0, -0.05, 1.0),
    (0.0, 0.0, 1.1), (0.0, 0.0, 0.92),
)  # fmt: skip
"""Shift in x and y, in parts of the side, and size of each square."""

_MIRRORED = [1, 0, 2, 4, 3]
"""Where each landmark is in a mirror."""

CONSTANTS = np.array(
    [[0.0025, 0.0067], [-0.0025, 0.0067], [0.0, 0.0], [0.0, 0.0011], [0.0, 0.0011]]
)
"""What is added to O-Net's points, in parts of the side of their quad and along its axes. Fitted to
48 faces of the default generator, whose frame is the FFHQ frame: the mean offset and scale of their
quads become 0 and 1. For the points of the whole of MTCNN, fitted to dlib's 68 landmarks on 32
photographs, the eyes' shift was much the same: 0.0065 down and 0.0011 inwards."""


def find_landmarks(
    picture: Image.Image,
    box: Float[np.ndarray, " 4"],
    net: ONet,
    *,
    angle: float | None,
) -> tuple[float, Float64[np.ndarray, "5 2"]]:
    """O-Net's score and the landmarks of the face in a box.

    Args:
        picture: The photograph, RGB.
        box: Left, top, right and bottom edge of the face, pixels.
        net: O-Net, or all networks.
        angle: By how much the face is turned, radians, from x to y; None if it is not known.

    Returns:
        The probability of a face, and x and y of eyes, nose and corners of the mouth as FFHQ's
        formula wants them, pixel centres; left in the upright face comes first.
    """
    centre = (box[:2] + box[2:]) / 2
    side = float(max(box[2:] - box[:2]))
    # One look at the middle square says the angle better than the detector, which may know none.
    _, points = _look(picture, centre, side, angle or 0.0, net, squares=_SQUARES[:1])
    score, points = _look(picture, centre, side, angle_of(points), net, squares=_SQUARES)
    return score, corrected(points)


def angle_of(landmarks: Float[np.ndarray, "5 2"]) -> float:
    """By how much a face is turned, radians, from x to y: that of its FFHQ quad."""
    quad = ffhq_quad(landmarks)
    x, y = quad[3] - quad[0]
    return float(np.arctan2(y, x))


def corrected(points: Float[np.ndarray, "5 2"]) -> Float64[np.ndarray, "5 2"]:
    """O-Net's points moved by `CONSTANTS`."""
    quad = ffhq_quad(points)
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]])
    return points + CONSTANTS @ axes


def _look(
    picture: Image.Image,
    centre: Float[np.ndarray, " 2"],
    side: float,
    angle: float,
    net: ONet,
    *,
    squares: tuple[tuple[float, float, float], ...],
) -> tuple[float, Float64[np.ndarray, "5 2"]]:
    """Score and mean points over squares that are turned by `angle`."""
    x = side * np.array([np.cos(angle), np.sin(angle)])
    y = np.array([-x[1], x[0]])
    quads = [_square(centre + right * x + down * y, size * x) for right, down, size in squares]
    crops = np.stack([_sample(picture, quad) for quad in quads])
    scores, found = net.confirm(np.concatenate([crops, crops[:, :, ::-1]]))
    seen, mirrored = np.split(found.astype(np.float64), 2)
    mirrored = mirrored[:, _MIRRORED] * [-1, 1] + [1, 0]
    points = []
    for quad, place in zip(quads, (seen + mirrored) / 2, strict=True):
        # Fractions of the side, from the edge, as pixel centres of the crop.
        homogeneous = np.concatenate([place * SIDE - 0.5, np.ones((5, 1))], axis=1)
        points.append((homogeneous @ crop_to_photograph(quad, SIDE).T)[:, :2])
    return float(scores.reshape(2, -1).mean(axis=1).min()), np.mean(points, axis=0)


def _square(
    centre: Float[np.ndarray, " 2"], x: Float[np.ndarray, " 2"]
) -> Float64[np.ndarray, "4 2"]:
    """The quad around a centre (edge coordinates) with the upper side `x`, in pixel centres."""
    half, down = x / 2, np.array([-x[1], x[0]]) / 2
    middle = centre - 0.5
    return np.stack(
        [middle - half - down, middle - half + down, middle + half + down, middle + half - down]
    )


def _sample(picture: Image.Image, quad: Float[np.ndarray, "4 2"]) -> UInt8[np.ndarray, "s s 3"]:
    """The square at 48 px, antialiased; black outside the photograph, as in the training of O-Net.

    It is cut out and reduced to about the size first, then turned.
    """
    length = float(np.hypot(*(quad[3] - quad[0])))
    scale = max(1.0, length / SIDE)
    low = np.floor(quad.min(axis=0) - 2 * scale)
    high = np.ceil(quad.max(axis=0) + 2 * scale)
    left, top, right, bottom = (int(value) for value in (*low, *high))
    width, height = (max(1, round(float(value))) for value in (high - low) / scale)
    region = picture.crop((left, top, right, bottom))
    if scale > 1:
        region = region.resize((width, height), Image.Resampling.BILINEAR)
    shrink = np.array(region.size) / (high - low)
    corners = (quad + 0.5 - low) * shrink
    across, down = (corners[3] - corners[0]) / SIDE, (corners[1] - corners[0]) / SIDE
    coefficients = [
        value for axis in (0, 1) for value in (across[axis], down[axis], corners[0, axis])
    ]
    turned = region.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.array(turned)
