"""The second pass over a sequence: the faces of a frame restored, steadied and put back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from perceptual_jax.io.photographs import Photograph
from perceptual_jax.jobs.photographs.assembling import face_mask, scaled_alpha
from perceptual_jax.jobs.photographs.background import enlarged
from perceptual_jax.jobs.photographs.found import WHOLE
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.sequences.memory import Memory, Remembered
from perceptual_jax.jobs.sequences.options import SequenceOptions
from perceptual_jax.jobs.sequences.searching import Searcher
from perceptual_jax.jobs.sequences.tracks import Track
from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.compositing.blend import Weigh, in_colours_of, paste, scaled_points
from perceptual_jax.photographs.compositing.tone import Curve, follows, grain, tone_curve, toned
from perceptual_jax.photographs.sequences.steadiness import Flicker, flicker, steadied
from perceptual_jax.types import Status

Levels = Float32[np.ndarray, "r r 3"]
Pixels = UInt8[np.ndarray, "h w 3"]


class Studio(NamedTuple):
    """What all frames of a sequence share."""

    searcher: Searcher
    tracks: Sequence[Track]
    photographs: PhotographOptions
    sequence: SequenceOptions
    size: tuple[int, int]
    """Width and height of the result in pixels."""


class _Placed(NamedTuple):
    """A restored face and its place in the result."""

    track: Track
    place: int
    """Index of the frame among those of the track."""
    levels: Levels
    remembered: Remembered


def assemble_frame(
    studio: Studio, number: int, photograph: Photograph, memory: Memory
) -> tuple[Photograph, Memory]:
    """A frame with its restored faces, and the state for the next one.

    Args:
        studio: What all frames share.
        number: Number of the frame, from 0.
        photograph: The frame.
        memory: The state after the frame before.

    Raises:
        ImageError: If the background's command fails.
        UsageError: If the data term that is asked for does not fit crops.
    """
    height, width, _ = photograph.pixels.shape
    scale = (studio.size[0] / width, studio.size[1] / height)
    pixels = enlarged(photograph.pixels, studio.size, background=studio.photographs.background)
    present = [(t, i) for t in studio.tracks if (i := t.at(number)) is not None]
    notes, placed = list(memory.notes), []
    for track, index in present:
        if track.strengths[index] > 0:
            face = _restored(studio, track, index, photograph, memory.faces.get(track.number))
            if not face.remembered.good:
                notes.append(f"frame {number}, face {track.number}: {Status.NOT_FINITE.message}")
            placed.append(face)
    for face in placed:
        others = [
            scaled_points(t.landmarks[i], scale)
            for t, i in present
            if t.number != face.track.number and t.is_face
        ]
        patch = paste(
            pixels,
            face.levels,
            scaled_points(face.track.quads[face.place], scale),
            _weigh(studio, face, scale, others),
        )
        if patch is not None:
            patch.put(pixels)
    faces, sums = dict(memory.faces), dict(memory.flicker)
    for face in placed:
        quad = scaled_points(face.track.quads[face.place], scale)
        shown = crop_face(pixels, quad, face.track.side)
        now = face.remembered._replace(shown=shown)
        key, before = face.track.number, faces.get(face.track.number)
        if before is not None and before.frame == number - 1:
            changed = flicker((before.crop, now.crop), (before.shown, now.shown))
            sums[key] = sums.get(key, Flicker()) + changed
        faces[key] = now
    # A track that has ended needs no state.
    ended = {t.number for t in studio.tracks if t.first + len(t.strengths) <= number + 1}
    kept = {key: face for key, face in faces.items() if key not in ended}
    result = photograph._replace(pixels=pixels, alpha=scaled_alpha(photograph, studio.size))
    terms = memory.terms | {face.track.number: face.remembered.term for face in placed}
    return result, Memory(kept, sums, terms, notes)


def _restored(
    studio: Studio, track: Track, index: int, photograph: Photograph, before: Remembered | None
) -> _Placed:
    number = track.first + index
    crop = crop_face(photograph.shown, track.quads[index], track.side)
    found = studio.searcher(crop, track.number, before)
    curve = _curve(photograph, crop) if before is None else before.curve
    levels = in_colours_of(found.image, crop, curve=curve)
    if before is not None and before.frame == number - 1:
        levels = steadied(
            levels,
            before.face.astype(np.float32),
            (before.crop, crop),
            keep=studio.sequence.keep,
        )
    # Rounded as it is kept, so that a resumed job goes on with the same numbers.
    face = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    now = Remembered(
        frame=number,
        term=found.term,
        size=found.size,
        good=found.status == Status.OK,
        latents=found.latents,
        face=face,
        crop=crop,
        shown=crop,
        curve=curve,
    )
    levels = face.astype(np.float32)
    if studio.photographs.grain:
        drawn = np.random.default_rng([number, track.number])
        levels = levels + grain(levels, crop.astype(np.float32), drawn)
        levels = toned(levels, curve) if curve is not None else levels
    return _Placed(track, index, levels, now)


def _curve(photograph: Photograph, crop: Pixels) -> Curve | None:
    """The tone curve of a monochrome frame, by which all frames of the track are toned."""
    curve = tone_curve(photograph.shown)
    return curve if curve is not None and follows(crop, curve) else None


def _weigh(
    studio: Studio, face: _Placed, scale: tuple[float, float], others: Sequence[np.ndarray]
) -> Weigh:
    own = scaled_points(face.track.landmarks[face.place], scale)
    mask = face_mask(studio.photographs.mask, WHOLE, own, others)
    strength = face.track.strengths[face.place]
    return lambda points, frame: (strength * mask(points, frame)).astype(np.float32)
