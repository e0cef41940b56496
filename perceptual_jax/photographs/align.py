"""FFHQ's framing of a face: the square around it, the crop, and the way back.

From the centres of the eyes l, r and the corners of the mouth,

    eye = (l + r)/2    e = r - l    m = mouth - eye    R(x, y) = (-y, x)
    x = e - R(m), of length max(2 |e|, 1.8 |m|)        y = R(x)        c = eye + 0.1 m

the corners of the square are c - x - y, c - x + y, c + x + y and c + x - y. Points are centres of
pixels; the crop's edges, like the photograph's, lie half a pixel outside its outer centres.

Outside the photograph it is continued by reflection, blurred and faded to its median. FFHQ blurs
inside, too, near the border; here the photograph's own pixels stay as they are, so that a crop that
is put back changes nothing.

Source: Karras et al., FFHQ, `download_ffhq.py`; PULSE's `align_face` is the same.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float64, Int, UInt8
from PIL import Image

_PAD = 0.3
"""Width of the fade outside the photograph, as a part of the quad's side, at least."""
_BLUR = 0.02
"""Standard deviation of the blur outside the photograph, as a part of the quad's side."""
_TAPS = 3
"""Pixels that the cubic kernel reads beyond a point, with a reserve."""


def ffhq_quad(landmarks: Float[np.ndarray, "5 2"]) -> Float64[np.ndarray, "4 2"]:
    """The corners of the FFHQ crop of a face.

    Args:
        landmarks: x and y of eyes, nose and corners of the mouth, left in the picture first; the
            eyes' are the means of their outlines. The nose is not used.

    Returns:
        x and y of the corners upper left, lower left, lower right and upper right of the upright
        face, in the frame of the landmarks. They are those of a square.

    Raises:
        ValueError: If the landmarks are not finite, or all eyes and corners are one point.

    Example:
        >>> face = np.array([[40.0, 50], [60, 50], [50, 62], [42, 72], [58, 72]])
        >>> ffhq_quad(face)
        array([[10. , 12.2],
               [10. , 92.2],
               [90. , 92.2],
               [90. , 12.2]])
    """
    left, right, _, *corners = np.asarray(landmarks, np.float64)
    eye, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    across, down = right - left, mouth - eye
    x = across - _quarter_turn(down)
    length = np.hypot(*x)
    if not np.isfinite(landmarks).all() or length == 0:
        raise ValueError(f"five landmarks of a face are needed, got {landmarks.tolist()}")
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / length
    y = _quarter_turn(x)
    centre = eye + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def crop_to_photograph(quad: Float[np.ndarray, "4 2"], side: int) -> Float64[np.ndarray, "3 3"]:
    """The transform from pixel centres of the crop to those of the photograph: [x y 1] columns.

    Args:
        quad: Corners as of `ffhq_quad`.
        side: Pixels of the crop's side.

    Example:
        >>> corners = np.array([[-0.5, -0.5], [-0.5, 7.5], [7.5, 7.5], [7.5, -0.5]])
        >>> crop_to_photograph(corners, 4) @ [0, 0, 1]
        array([0.5, 0.5, 1. ])
    """
    across, down = (quad[3] - quad[0]) / side, (quad[1] - quad[0]) / side
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1] = across, down
    matrix[:2, 2] = quad[0] + (across + down) / 2
    return matrix


def photograph_to_crop(quad: Float[np.ndarray, "4 2"], side: int) -> Float64[np.ndarray, "3 3"]:
    """The inverse of `crop_to_photograph`."""
    return np.linalg.inv(crop_to_photograph(quad, side))


def native_side(quad: Float[np.ndarray, "4 2"]) -> int:
    """Pixels of the crop's side at which the face keeps its size, at least 1."""
    return max(1, round(float(np.hypot(*(quad[3] - quad[0])))))


def crop_face(
    photograph: UInt8[np.ndarray, "h w 3"],
    quad: Float[np.ndarray, "4 2"],
    side: int | None,
) -> UInt8[np.ndarray, "s s 3"]:
    """The square of the photograph, upright.

    Cubic, after an antialiased reduction where the crop is smaller than the face. A square on the
    grid of pixels, also one turned by quarters, is cut out bit for bit.

    Args:
        photograph: RGB, upright.
        quad: Corners as of `ffhq_quad`; they may lie outside.
        side: Pixels of the crop's side; None keeps the size of the face.
    """
    side = native_side(quad) if side is None else side
    length = np.hypot(*(quad[3] - quad[0]))
    # A pixel of the crop covers so many of the photograph. Below 1.2 the cubic kernel alone loses
    # less than the second resampling would.
    scale = length / side if length / side > 1.2 else 1.0
    low = np.floor(quad.min(axis=0) - _TAPS * scale).astype(np.int64)
    high = np.ceil(quad.max(axis=0) + _TAPS * scale).astype(np.int64) + 1
    region = surroundings(photograph, low, high, side=float(length))
    size = np.maximum(1, np.round((high - low) / scale)).astype(np.int64)
    shrink = size / (high - low)
    # Pillow counts from edges: the first pixel's centre is 1/2.
    corners = (quad - low + 0.5) * shrink
    across, down = (corners[3] - corners[0]) / side, (corners[1] - corners[0]) / side
    coefficients = [
        value for axis in (0, 1) for value in (across[axis], down[axis], corners[0, axis])
    ]
    found = np.empty((side, side, 3), np.uint8)
    for channel in range(3):
        plane = Image.fromarray(region[..., channel])
        if scale > 1:
            plane = plane.resize(tuple(size.tolist()), Image.Resampling.LANCZOS)
        plane = plane.transform(
            (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
        )
        found[..., channel] = np.clip(np.rint(np.asarray(plane)), 0, 255)
    return found


def surroundings(
    photograph: UInt8[np.ndarray, "h w 3"],
    low: Int[np.ndarray, " 2"],
    high: Int[np.ndarray, " 2"],
    *,
    side: float,
) -> Float[np.ndarray, "h2 w2 3"]:
    """A rectangle of the photograph as float32, continued outside.

    Args:
        photograph: RGB.
        low: x and y of the first pixel.
        high: x and y after the last pixel.
        side: Side of the quad in pixels, from which the blur and the fade are measured.
    """
    height, width, _ = photograph.shape
    x, y = (np.arange(low[axis], high[axis]) for axis in (0, 1))
    rows, columns = _reflect(y, height), _reflect(x, width)
    region = photograph[rows[:, None], columns].astype(np.float32)
    beyond = np.maximum(np.maximum(-low, high - [width, height]), 0)
    if not beyond.any():
        return region
    # 0 inside, 1 where the fade is complete.
    reach = np.maximum(beyond, _PAD * side)
    outside = np.maximum(
        _distance(x, width)[None, :] / reach[0], _distance(y, height)[:, None] / reach[1]
    )[..., None].astype(np.float32)
    blurred = scipy.ndimage.gaussian_filter(region, (_BLUR * side, _BLUR * side, 0), mode="nearest")
    median = np.median(region, axis=(0, 1))
    region += (blurred - region) * np.minimum(3 * outside, 1)
    region += (median - region) * np.minimum(outside, 1)
    return region


def _distance(positions: Int[np.ndarray, " n"], size: int) -> Int[np.ndarray, " n"]:
    """Pixels from a position to a line, 0 on it."""
    return np.maximum(np.maximum(-positions, positions - (size - 1)), 0)


def _reflect(positions: Int[np.ndarray, " n"], size: int) -> Int[np.ndarray, " n"]:
    """Folds positions beyond a line back into it, without repeating the end pixels."""
    period = max(2 * (size - 1), 1)
    folded = positions % period
    return np.minimum(folded, period - folded)


def _quarter_turn(vector: Float64[np.ndarray, " 2"]) -> Float64[np.ndarray, " 2"]:
    """The vector turned from x to y, by a quarter: clockwise in a picture."""
    return np.array([-vector[1], vector[0]])
