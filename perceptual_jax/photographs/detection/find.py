"""Finds the faces of a photograph: RetinaFace proposes, O-Net confirms and says the landmarks.

    photograph -> canvases -> RetinaFace -> one box a face -> O-Net, upright -> FFHQ quad -> rules

Where no sure face stands, the photograph is turned by quarters: scans lie on their side, or upside
down.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from perceptual_jax.photographs.align import ffhq_quad
from perceptual_jax.photographs.detection import canvases, retinaface
from perceptual_jax.photographs.detection.canvases import Canvas
from perceptual_jax.photographs.detection.nets import FaceNets
from perceptual_jax.photographs.detection.onet import angle_of, find_landmarks
from perceptual_jax.photographs.detection.retinaface import Boxes
from perceptual_jax.photographs.detection.rules import CONFIRMED, UNCERTAIN, reason_to_skip
from perceptual_jax.photographs.face import Face

MIN_FACE = 12.0
"""Pixels of the box of the smallest face that is looked for."""
THRESHOLD = 0.8
"""RetinaFace's score of a candidate."""
_HINT = 0.01
"""RetinaFace's score of a hint: nearly all faces of 12 px have it, and little else."""
_SURE, _SURE_TURNED = 0.97, 0.99
"""Scores of both networks from which a face shows that the photograph stands, as it is or turned:
upside down, a mouth passes for eyes with up to 0.95, and dogs on their side for faces with 0.98."""
_UPRIGHT = np.pi / 3
"""Radians by which a face is turned that still stands."""
_TURNED_SIDE = 2048
"""Longer side in pixels at which a turned photograph is looked at, at most."""
_WITHIN = 0.7
"""Part of a box that lies in another one, from which both are one face."""
_APART = 0.25
"""Distance of two faces' crops, in parts of the smaller side, below which both are one face."""


def find_faces(
    photograph: UInt8[np.ndarray, "h w 3"], nets: FaceNets, *, min_face: float = MIN_FACE
) -> list[Face]:
    """The faces of a photograph, the largest first.

    Args:
        photograph: RGB, upright (its EXIF orientation applied), of any size.
        nets: See `load_face_nets`.
        min_face: Pixels of the longer side of a face's box; smaller ones are not looked for, and
            left alone where they are found.

    Returns:
        Faces and uncertain candidates; those to leave alone have a reason (`Face.skipped`). Of a
        photograph whose faces stand only after quarter turns, `Face.turned` is not 0, and
        all places are those of the photograph as it was given.

    Raises:
        ValueError: If `min_face` is not a positive number of pixels.
    """
    if not (min_face > 0 and np.isfinite(min_face)):
        raise ValueError(f"min_face must be a positive number of pixels, got {min_face}")
    found = _faces(photograph, nets, min_face=min_face)
    if _standing(found, _SURE):
        return found
    finest = _TURNED_SIDE / max(photograph.shape[:2])
    for turns in (2, 1, 3):
        turned = np.ascontiguousarray(np.rot90(photograph, turns))
        faces = _faces(turned, nets, min_face=min_face, finest=finest)
        if _standing(faces, _SURE_TURNED):
            size = photograph.shape[1], photograph.shape[0]
            return [_turned_back(face, turns, size) for face in faces]
    return found


def _standing(faces: list[Face], score: float) -> bool:
    """Whether a face that both networks give this score is turned by less than 60 degrees."""
    return any(
        min(face.score, face.confirmed or 0) >= score and abs(angle_of(face.landmarks)) < _UPRIGHT
        for face in faces
    )


def _is_confirmed(face: Face) -> bool:
    return face.confirmed is not None and face.confirmed >= CONFIRMED


def _faces(
    photograph: UInt8[np.ndarray, "h w 3"],
    nets: FaceNets,
    *,
    min_face: float,
    finest: float = np.inf,
) -> list[Face]:
    picture = Image.fromarray(photograph)
    boxes = candidates(picture, nets, min_face=min_face, finest=finest)
    found = []
    for box, score, points in zip(*boxes, strict=True):
        confirmed, landmarks = find_landmarks(picture, box, nets, angle=angle_of(points))
        if confirmed >= UNCERTAIN:
            found.append(make_face(box, float(score), confirmed, landmarks, photograph, min_face))
    return _without_parts(found)


def candidates(
    picture: Image.Image, nets: FaceNets, *, min_face: float, finest: float = np.inf
) -> Boxes:
    """RetinaFace's candidates in the photograph, one box a face, the surest first.

    Args:
        picture: The photograph, RGB.
        nets: The networks.
        min_face: Pixels of the smallest face.
        finest: Largest scale of tiles; below 1 it is not looked at closer, either.
    """
    first = canvases.canvases(picture.size, finest=min(1.0, finest))
    seen = [_on_canvas(picture, canvas, nets) for canvas in first]
    scale = first[-1].scale
    if finest >= 1:
        hints = [
            boxes.box for canvas, boxes in zip(first, seen, strict=True) if canvas.scale == scale
        ]
        again = canvases.closer(picture.size, np.concatenate(hints), scale=scale, min_face=min_face)
        seen += [_on_canvas(picture, canvas, nets) for canvas in again]
    boxes = retinaface.join(seen)
    boxes = boxes.take(np.flatnonzero(boxes.score >= THRESHOLD))
    return boxes.take(retinaface.non_maximum_suppression(boxes.box, boxes.score))


def _on_canvas(picture: Image.Image, canvas: Canvas, nets: FaceNets) -> Boxes:
    """Candidates and hints on a canvas, in the photograph."""
    pixels = canvases.draw(picture, canvas)
    boxes = retinaface.decode(nets.detect(pixels), pixels.shape[:2], threshold=_HINT)
    corners = canvases.to_photograph(canvas, boxes.box.reshape(-1, 2)).reshape(-1, 4)
    points = canvases.to_photograph(canvas, boxes.points)
    whole = np.flatnonzero(~canvases.is_cut(canvas, corners, picture.size))
    return Boxes(corners, boxes.score, points).take(whole)


def make_face(
    box: Float[np.ndarray, " 4"],
    score: float,
    confirmed: float,
    landmarks: Float64[np.ndarray, "5 2"],
    photograph: UInt8[np.ndarray, "h w 3"],
    min_face: float,
) -> Face:
    """A face with its quad, and with the reason to leave it alone, if there is one."""
    quad = ffhq_quad(landmarks)
    left, top, right, bottom = map(float, box)
    skipped = reason_to_skip(
        landmarks,
        quad,
        confirmed,
        photograph.shape[:2],
        height=max(right - left, bottom - top),
        min_face=min_face,
    )
    return Face((left, top, right, bottom), score, confirmed, landmarks, quad, skipped)


def _without_parts(faces: list[Face]) -> list[Face]:
    """One candidate for each face, the largest first.

    Of those that O-Net brought to the same place, the surest; and none inside a confirmed larger
    face, whose eyes are no faces.
    """
    unlike: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score * (face.confirmed or 0)):
        if not any(_same(face, other) for other in unlike):
            unlike.append(face)
    kept: list[Face] = []
    for face in sorted(unlike, key=lambda face: -face.side):
        box = np.array(face.box)
        larger = np.array([other.box for other in kept if _is_confirmed(other)]).reshape(-1, 4)
        if (retinaface.intersection(box, larger) <= _WITHIN * retinaface.area(box[None])).all():
            kept.append(face)
    return kept


def _same(a: Face, b: Face) -> bool:
    apart = np.linalg.norm(a.quad.mean(axis=0) - b.quad.mean(axis=0))
    return bool(apart < _APART * min(a.side, b.side))


def _turned_back(face: Face, turns: int, size: tuple[int, int]) -> Face:
    """The face in the photograph before its counter-clockwise quarter turns.

    Args:
        face: Found in the turned photograph.
        turns: 1 to 3.
        size: Width and height of the photograph as it was given.
    """
    width, height = size
    corners = np.array(face.box).reshape(2, 2)
    corners, landmarks, quad = (
        _turned_points(points, turns, (width, height), edge=edge)
        for points, edge in ((corners, 0), (face.landmarks, 1), (face.quad, 1))
    )
    left, top = map(float, corners.min(axis=0))
    right, bottom = map(float, corners.max(axis=0))
    return dataclasses.replace(
        face, box=(left, top, right, bottom), landmarks=landmarks, quad=quad, turned=turns
    )


def _turned_points(
    points: Float[np.ndarray, "n 2"], turns: int, size: tuple[int, int], *, edge: int
) -> Float64[np.ndarray, "n 2"]:
    """Places in a photograph of points in it after counter-clockwise quarter turns.

    Edge coordinates (`edge` 0) are mirrored at the width or height, centres at one pixel less.
    """
    x, y = points.T
    width, height = size[0] - edge, size[1] - edge
    if turns == 1:  # the right edge became the upper one
        return np.stack([width - y, x], axis=1)
    if turns == 2:
        return np.stack([width - x, height - y], axis=1)
    return np.stack([y, height - x], axis=1)
