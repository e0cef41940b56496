"""Faces that are marked by hand, where none is found: boxes, or the five landmarks.

A JSON file has a list for each photograph, of boxes [left, top, right, bottom] and of landmarks
[[x, y], ...]; a CSV file has a line for each face, 4 or 10 numbers after the photograph's name:

    {"group.jpg": [[120, 80, 180, 160], [[310, 96], [334, 95], [322, 110], [313, 124], [332, 123]]]}

    group.jpg,120,80,180,160
    group.jpg,310,96,334,95,322,110,313,124,332,123

Numbers are pixels of the upright photograph. Landmarks are the eyes, the nose and the corners of
the mouth, left in the upright face first. A face that is marked is not judged: only a box in which
there is no face to be seen is left alone.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.photographs.align import ffhq_quad
from perceptual_jax.photographs.detection.nets import FaceNets
from perceptual_jax.photographs.detection.onet import find_landmarks
from perceptual_jax.photographs.detection.rules import UNCERTAIN
from perceptual_jax.photographs.face import LANDMARKS, Face

Mark = Float64[np.ndarray, " 4"] | Float64[np.ndarray, "5 2"]
"""Left, top, right and bottom edge of a face, or x and y of its landmarks."""

_LARGEST_FILE = 10_000_000
_SIZES = (1.0, 0.8, 1.25)
"""Sizes of a marked box that are tried: people mark heads, too, or eyes to chin."""
_FACE = np.array([[0.27, 0.25], [0.73, 0.85]])
"""The detector's box of a face in its quad, from upper left to lower right; parts of the side."""


def read_marks(path: Path) -> dict[str, list[Mark]]:
    """The marks of a JSON or CSV file, by the names of photographs as they stand there.

    Raises:
        UsageError: If the file cannot be read, or holds other than names, boxes and landmarks.
    """
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST_FILE:
            raise UsageError(f"{path} is too large for a file of marks ({len(content):,} bytes)")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text file: a JSON or CSV file of marks is needed") from None
    is_json = text.lstrip().startswith(("{", "["))
    found: dict[str, list[Mark]] = {}
    for name, where, numbers in _json(path, text) if is_json else _csv(path, text):
        found.setdefault(name, []).append(_mark(path, where, numbers))
    if not found:
        raise UsageError(f"{path} marks no face")
    return found


def marks_of(marks: Mapping[str, Sequence[Mark]], name: str) -> list[Mark]:
    """The marks of a photograph; none if the file does not have it.

    Args:
        marks: See `read_marks`.
        name: Name or path of the photograph; it is that of the file if it ends like it.
    """
    parts = Path(name).parts
    return [
        mark
        for key, values in marks.items()
        if parts[-len(Path(key).parts) :] == Path(key).parts
        for mark in values
    ]


def check_names(path: Path, marks: Mapping[str, Sequence[Mark]], names: Iterable[str]) -> None:
    """Checks that every name of a file of marks is that of a photograph.

    Args:
        path: The file, for the message.
        marks: See `read_marks`.
        names: Names or paths of all photographs.

    Raises:
        UsageError: If the file marks a photograph that is not among them.
    """
    known = list(names)
    for key, values in marks.items():
        if not any(marks_of({key: values}, name) for name in known):
            some = ", ".join(Path(name).name for name in known[:3]) or "none"
            raise UsageError(
                f"{path} marks {key}, which is not among the photographs ({some}"
                f"{', ...' if len(known) > 3 else ''}); write their names as they are"
            )


def marked_faces(
    photograph: UInt8[np.ndarray, "h w 3"],
    marks: Sequence[Mark],
    nets: FaceNets | None,
    *,
    name: str,
) -> list[Face]:
    """The faces of a photograph that are marked by hand, the largest first.

    Args:
        photograph: RGB, upright.
        marks: Its boxes and landmarks.
        nets: O-Net finds the landmarks in a box; None if all marks are landmarks.
        name: Name of the photograph, for messages.

    Raises:
        UsageError: If a mark lies outside the photograph, or landmarks are in another order.
    """
    picture = Image.fromarray(photograph)
    found = [
        _of_landmarks(picture, mark, name) if mark.ndim == 2 else _of_box(picture, mark, nets, name)
        for mark in marks
    ]
    return sorted(found, key=lambda face: -face.side)


def _of_landmarks(picture: Image.Image, landmarks: Float64[np.ndarray, "5 2"], name: str) -> Face:
    _check_inside(picture, landmarks, f"landmarks {_text(landmarks)}", name)
    across = landmarks[1] - landmarks[0]
    down = landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)
    if across[0] * down[1] - across[1] * down[0] <= 0:
        raise UsageError(
            f"the landmarks {_text(landmarks)} of {name} are no face: expected are "
            f"{', '.join(LANDMARKS)}, left as the upright face is seen"
        )
    quad = ffhq_quad(landmarks)
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]])
    corners = quad[0] + 0.5 + np.array([[x, y] for x in _FACE[:, 0] for y in _FACE[:, 1]]) @ axes
    return Face(_edges(corners), 1.0, None, landmarks, quad)


def _of_box(
    picture: Image.Image, box: Float64[np.ndarray, " 4"], nets: FaceNets | None, name: str
) -> Face:
    if nets is None:
        raise ValueError("the landmarks in a box are searched for with nets")
    centre, half = box[:2] / 2 + box[2:] / 2, box[2:] / 2 - box[:2] / 2
    # A box of more than twice the photograph is no face in it, and would take much memory.
    points = np.stack([centre, centre if max(half) <= max(picture.size) else box[:2]])
    _check_inside(picture, points - 0.5, f"box {_text(box)}", name)
    looks = [
        find_landmarks(
            picture, np.concatenate([centre - size * half, centre + size * half]), nets, angle=angle
        )
        for size in _SIZES
        for angle in (0.0, math.pi / 2, math.pi, -math.pi / 2)
    ]
    score, landmarks = max(looks, key=lambda look: look[0])
    skipped = None
    if score < UNCERTAIN:
        skipped = (
            f"no face is seen in the box {_text(box)} (score {score:.2f}); mark its five landmarks"
        )
    return Face(_edges(box.reshape(2, 2)), 1.0, score, landmarks, ffhq_quad(landmarks), skipped)


def _check_inside(
    picture: Image.Image, points: Float[np.ndarray, "n 2"], what: str, name: str
) -> None:
    inside = (points >= -0.5) & (points <= np.array(picture.size) - 0.5)
    if not inside.all():
        raise UsageError(
            f"the {what} of {name} lies outside it ({picture.width} x {picture.height} px); "
            "the mark may be another picture's"
        )


def _edges(corners: Float[np.ndarray, "n 2"]) -> tuple[float, float, float, float]:
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right, bottom


def _json(path: Path, text: str) -> Iterator[tuple[str, str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise UsageError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f'{path} must be an object {{"photograph": [marks]}}')
    for name, marks in value.items():
        if not isinstance(marks, list):
            raise UsageError(f"{path}: {name} must have a list of boxes and landmarks")
        for i, mark in enumerate(marks):
            yield name, f"mark {i + 1} of {name}", mark


def _csv(path: Path, text: str) -> Iterator[tuple[str, str, Any]]:
    try:
        for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if line == 1 and not any(map(_is_number, cells[1:])):
                continue  # the header
            numbers = [float(cell) if _is_number(cell) else cell for cell in cells[1:]]
            pairs = [numbers[i : i + 2] for i in range(0, len(numbers), 2)]
            yield cells[0], f"line {line}", pairs if len(numbers) == 10 else numbers
    except csv.Error as error:
        raise UsageError(f"{path} is not CSV ({error})") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _mark(path: Path, where: str, value: Any) -> Mark:
    try:
        # A string of digits is no number here, nor is a truth value.
        mark = np.array(value, dtype=None)
        good = mark.shape in {(4,), (5, 2)} and mark.dtype.kind in "iuf"
        mark = mark.astype(np.float64) if good else mark
    except (ValueError, OverflowError):
        good, mark = False, np.zeros(0)
    if not good or not np.isfinite(mark).all():
        raise UsageError(
            f"{path}, {where}: expected are 4 numbers (left, top, right, bottom) or 5 points (x, "
            f"y), got {_shown(value)}"
        )
    if mark.ndim == 1 and not (mark[0] < mark[2] and mark[1] < mark[3]):
        raise UsageError(
            f"{path}, {where}: left must be below right and top below bottom, got {_shown(value)}"
        )
    return mark


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _text(numbers: Float[np.ndarray, "*n"]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers.reshape(-1))})"
