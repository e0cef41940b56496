"""The faces of a sequence over time: where each is in every frame, how much of it is replaced."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from perceptual_jax.config import MIN_SIZE
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.photographs.finding import reasons
from perceptual_jax.jobs.photographs.found import is_face
from perceptual_jax.jobs.photographs.options import Which
from perceptual_jax.jobs.sequences.finding import Seen
from perceptual_jax.photographs.sequences.smoothing import smooth_faces, strengths
from perceptual_jax.photographs.sequences.tracking import Sighting, join_faces

_SHORTEST = 3
"""Frames of the shortest track that is restored if it begins and ends within a scene: a glimpse of
what the detector may have taken for a face."""


class Track(NamedTuple):
    """One face from its first to its last frame."""

    number: int
    """From 1, in the order of the first frames."""
    first: int
    """Number of its first frame, from 0."""
    quads: Float64[np.ndarray, "n 4 2"]
    """Its smoothed frame in each."""
    landmarks: Float64[np.ndarray, "n 5 2"]
    strengths: Float64[np.ndarray, " n"]
    """How much of it is replaced in each; all 0 if it is left alone."""
    side: int
    """Pixels of a side of its crops, the same in all frames."""
    is_face: bool
    """Whether it is surely a face, so that no neighbour may cover it."""
    skipped: str | None
    """Why it is left alone in the first frame in which it is; None if it never is."""

    def at(self, frame: int) -> int | None:
        """The index of a frame among those of the track; None if it is not one of them."""
        index = frame - self.first
        return index if 0 <= index < len(self.strengths) else None

    def to_json(self) -> Record:
        """The track, for the record."""
        restored = np.flatnonzero(self.strengths)
        return {
            "number": self.number,
            "first": self.first,
            "last": self.first + len(self.strengths) - 1,
            "restored": len(restored),
            "side": self.side,
            "skipped": self.skipped,
        }


def make_tracks(seen: Sequence[Seen], which: Which, *, smoothing: float) -> list[Track]:
    """Joins and smooths the faces of a sequence.

    Args:
        seen: The faces of each frame.
        which: Which faces of a frame are restored.
        smoothing: See `smoothing.smoothed`.
    """
    cuts = {frame for frame, one in enumerate(seen) if one.cut}
    joined = join_faces([one.faces for one in seen], cuts)
    skipped = [reasons(one.faces, which, *one.size) for one in seen]
    return [
        _track(number, sightings, seen, skipped, smoothing)
        for number, sightings in enumerate(joined, 1)
    ]


def _track(
    number: int,
    sightings: Sequence[Sighting],
    seen: Sequence[Seen],
    skipped: Sequence[Sequence[str | None]],
    smoothing: float,
) -> Track:
    faces = [seen[frame].faces[index] for frame, index in sightings]
    why = [skipped[frame][index] for frame, index in sightings]
    times = np.array([sighting.frame for sighting in sightings])
    quads, landmarks = smooth_faces(
        times,
        np.stack([face.quad for face in faces]),
        np.stack([face.landmarks for face in faces]),
        width=smoothing,
    )
    first, last = int(times[0]), int(times[-1])
    begins = first > 0 and not seen[first].cut
    ends = last + 1 < len(seen) and not seen[last + 1].cut
    # Between two sightings what holds for the nearer one is taken to hold.
    nearest = np.abs(np.arange(first, last + 1)[:, None] - times).argmin(axis=1)
    usable = np.array([reason is None for reason in why])[nearest]
    reason = next((one for one in why if one is not None), None)
    if begins and ends and len(usable) < _SHORTEST:
        usable[:] = False
        reason = reason or f"it is seen in {len(usable)} frames only"
    side = round(float(np.median(np.linalg.norm(quads[:, 3] - quads[:, 0], axis=1))))
    return Track(
        number=number,
        first=first,
        quads=quads,
        landmarks=landmarks,
        strengths=strengths(usable, begins=begins, ends=ends),
        side=max(side, MIN_SIZE),
        is_face=2 * sum(map(is_face, faces)) > len(faces),
        skipped=reason,
    )
