"""Joins the faces of consecutive frames to tracks, one for each person in sight.

A face goes on as the one whose box it overlaps and whose landmarks are near it,

    overlap   = intersection over union of the boxes        at least `OVERLAP`
    distance  = mean distance of the landmarks / side        at most `DISTANCE`

and of several such pairs those with the largest sum of overlap - distance are taken. A face that is
missed in a few frames goes on; scene cuts, and faces that are lost for longer, end a track.

Source: Bewley et al., "Simple Online and Realtime Tracking", 2016, for the assignment by overlap.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int, UInt8
from PIL import Image

from perceptual_jax.photographs.detection.retinaface import area, intersection
from perceptual_jax.photographs.face import Face

OVERLAP, DISTANCE = 0.2, 0.5
"""Limits within which faces of consecutive frames are one; the distance in sides of the quad."""
PATIENCE = 3
"""Consecutive frames in which a face may be missed without being lost."""

CUT = 30.0
"""Mean change of a reduced picture, in levels of 255, from which two frames are of two scenes."""
_SEEN = 16
"""Side in pixels of the reduced picture, in which movement within a scene hardly counts."""


class Sighting(NamedTuple):
    """A face of a track in one of the frames."""

    frame: int
    """Number of the frame, from 0."""
    face: int
    """Index of the face among those of the frame."""


def join_faces(
    frames: Iterable[Sequence[Face]], cuts: Collection[int], *, patience: int = PATIENCE
) -> list[list[Sighting]]:
    """The tracks of a sequence, in the order of their first frames.

    Args:
        frames: The faces of each frame.
        cuts: Numbers of the frames with which a new scene begins.
        patience: Consecutive frames in which a face may be missed.

    Example:
        >>> join_faces([[], []], cuts=())
        []
    """
    tracks: list[list[Sighting]] = []
    open_tracks: list[tuple[int, Face]] = []  # number of the track, and its last face
    for frame, faces in enumerate(frames):
        if frame in cuts:
            open_tracks = []
        open_tracks = [
            (i, face) for i, face in open_tracks if frame - tracks[i][-1].frame <= patience + 1
        ]
        goes_on = {
            new: open_tracks[old][0] for old, new in pairs([f for _, f in open_tracks], faces)
        }
        for index, face in enumerate(faces):
            if index not in goes_on:
                goes_on[index] = len(tracks)
                tracks.append([])
            number = goes_on[index]
            tracks[number].append(Sighting(frame, index))
            open_tracks = [(i, f) for i, f in open_tracks if i != number] + [(number, face)]
    return tracks


def pairs(before: Sequence[Face], after: Sequence[Face]) -> list[tuple[int, int]]:
    """Indices of the faces of one frame and of those of a later one that are the same.

    Args:
        before: Faces of a frame.
        after: Faces of a later one.
    """
    if not before or not after:
        return []
    overlap = np.stack([_overlap(face, after) for face in before])
    distance = np.array([[_distance(one, other) for other in after] for one in before])
    allowed = (overlap >= OVERLAP) & (distance <= DISTANCE)
    # Pairs that are not allowed gain nothing and are left out; every other one gains something.
    gain = np.where(allowed, 1 + overlap - distance, 0.0)
    rows, columns = scipy.optimize.linear_sum_assignment(gain, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]


def _overlap(face: Face, others: Sequence[Face]) -> Float[np.ndarray, " n"]:
    box, boxes = np.array(face.box), np.array([other.box for other in others])
    common = intersection(box, boxes)
    union = area(box[None]) + area(boxes) - common
    return common / np.maximum(union, 1e-9)


def _distance(one: Face, other: Face) -> float:
    apart = np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()
    return float(apart / max((one.side + other.side) / 2, 1e-9))


def reduced(photograph: UInt8[np.ndarray, "h w 3"]) -> Int[np.ndarray, "16 16 3"]:
    """A frame as `is_cut` compares it."""
    small = Image.fromarray(photograph).resize((_SEEN, _SEEN), Image.Resampling.BOX)
    return np.asarray(small, np.int64)


def is_cut(before: Int[np.ndarray, "16 16 3"], after: Int[np.ndarray, "16 16 3"]) -> bool:
    """Whether two consecutive frames, each from `reduced`, are of two scenes."""
    return bool(np.abs(after - before).mean() > CUT)
