"""Places of a face over time, without the trembling of a detector: smoothed transforms.

The frame of a face is a similarity: centre, logarithm of the side, angle. Each is smoothed by a
line fitted around every frame with Gaussian weights,

    value(t) = a,    a, b = argmin sum_s exp(-((s - t) / width)^2 / 2) (value_s - a - b (s - t))^2

so that steady pans, zooms and turns stay exactly as they are, also in the first and last frames and
where a face was missed for some. The whole track is known, so the result does not lag.

Source: Cleveland, "Robust Locally Weighted Regression and Smoothing Scatterplots", 1979.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float64, Int

from perceptual_jax.photographs.compositing.masks import to_frame

WIDTH = 2.0
"""Standard deviation of the weights, in frames."""
WINDOW = 5
"""Frames of which most decide whether a face is restored in the middle one."""
RAMP = 4
"""Frames within which a restored face appears or disappears."""


def similarities(quads: Float[np.ndarray, "n 4 2"]) -> Float64[np.ndarray, "n 4"]:
    """Centre x, centre y, logarithm of the side, and angle in radians of a track's frames.

    The angles are continued beyond half a turn, so that they can be averaged.

    Args:
        quads: Corners as of `align.ffhq_quad`, in the order of time.
    """
    across = quads[:, 3] - quads[:, 0]
    angle = np.unwrap(np.arctan2(across[:, 1], across[:, 0]))
    side = np.log(np.hypot(across[:, 0], across[:, 1]))
    return np.concatenate([quads.mean(axis=1), np.stack([side, angle], axis=1)], axis=1)


def quads_of(parameters: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4 2"]:
    """The inverse of `similarities`.

    Example:
        >>> quads_of(np.array([[5.0, 5.0, np.log(4.0), 0.0]])).round(6)[0].tolist()
        [[3.0, 3.0], [3.0, 7.0], [7.0, 7.0], [7.0, 3.0]]
    """
    centre, side, angle = parameters[:, :2], np.exp(parameters[:, 2]), parameters[:, 3]
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * side[:, None] / 2
    y = np.stack([-x[:, 1], x[:, 0]], axis=1)
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y], axis=1)


def smoothed(
    times: Int[np.ndarray, " m"],
    values: Float[np.ndarray, "m c"],
    at: Int[np.ndarray, " n"],
    *,
    width: float,
) -> Float64[np.ndarray, "n c"]:
    """Values over time, smoothed by local lines.

    Args:
        times: Times of the values, in ascending order.
        values: The values.
        at: The times that are asked for, between the first and the last one.
        width: Standard deviation of the weights; 0 joins the values by straight lines.

    Example:
        >>> times, values = np.array([0, 1, 3]), np.array([[0.0], [2.0], [6.0]])
        >>> smoothed(times, values, np.arange(4), width=2.0).round(6).ravel().tolist()
        [0.0, 2.0, 4.0, 6.0]
    """
    if width <= 0 or len(times) == 1:
        columns = [np.interp(at, times, column) for column in values.T]
        return np.stack(columns, axis=1)
    found = np.empty((len(at), values.shape[1]))
    for row, time in enumerate(at):
        x = (times - time).astype(np.float64)
        nearest = np.abs(x).min()  # so that not all weights vanish where a face was missed for long
        weights = np.exp(-(x**2 - nearest**2) / (2 * width**2))
        mean = np.average(x, weights=weights)
        spread = np.average((x - mean) ** 2, weights=weights)
        level = np.average(values, axis=0, weights=weights)
        slope = np.average((x - mean)[:, None] * (values - level), axis=0, weights=weights)
        found[row] = level - (slope / spread * mean if spread > 1e-9 else 0.0)
    return found


def smooth_faces(
    times: Int[np.ndarray, " m"],
    quads: Float[np.ndarray, "m 4 2"],
    landmarks: Float[np.ndarray, "m 5 2"],
    *,
    width: float = WIDTH,
) -> tuple[Float64[np.ndarray, "n 4 2"], Float64[np.ndarray, "n 5 2"]]:
    """Quads and landmarks of a track in every frame from its first to its last one.

    Landmarks are smoothed in the frame of their face.

    Args:
        times: Numbers of the frames in which the face was seen, in ascending order.
        quads: Corners of its frame in each.
        landmarks: Its landmarks in each.
        width: See `smoothed`.
    """
    at = np.arange(times[0], times[-1] + 1)
    smooth = quads_of(smoothed(times, similarities(quads), at, width=width))
    inside = np.stack([to_frame(p, quad) for p, quad in zip(landmarks, quads, strict=True)])
    inside = smoothed(times, inside.reshape(len(times), 10), at, width=width).reshape(-1, 5, 2)
    across, down = smooth[:, 3] - smooth[:, 0], smooth[:, 1] - smooth[:, 0]
    points = (
        smooth[:, None, 0] + inside[..., :1] * across[:, None] + inside[..., 1:] * down[:, None]
    )
    return smooth, points


def strengths(
    usable: Bool[np.ndarray, " n"], *, begins: bool, ends: bool, ramp: int = RAMP
) -> Float64[np.ndarray, " n"]:
    """How much of a face is replaced in each frame of its track, from 0 to 1.

    A face is restored where most of the frames around can be. It appears and disappears within some
    frames, unless a scene begins or ends there.

    Args:
        usable: Whether the face can be restored in each frame by itself.
        begins: Whether the face appears within a scene.
        ends: Whether it disappears within a scene.
        ramp: Frames of a change from 0 to 1.

    Example:
        >>> strengths(np.ones(6, bool), begins=True, ends=False, ramp=4).tolist()
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    n, half = len(usable), WINDOW // 2
    votes, voters = (np.convolve(x, np.ones(WINDOW))[half : half + n] for x in (usable, np.ones(n)))
    chosen = np.concatenate([[not begins], 2 * votes > voters, [not ends]])
    # Distances are taken to the frames without the face: far away if the scene has none.
    beyond = np.pad(chosen, ramp, mode="edge")
    beyond[[0, -1]] = False
    distance = np.asarray(scipy.ndimage.distance_transform_edt(beyond))
    return np.minimum(distance[ramp + 1 : ramp + 1 + n], ramp) / ramp
