"""Finds the faces of each input, or that it is an aligned crop; writes the crops of the faces.

An aligned crop is square and holds one face in FFHQ's framing by its landmarks. A square picture
too small for a photograph counts as one as well if it is tiny, or no face is found in it, which
damage may hide.
"""

import dataclasses
import hashlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.config import MIN_SIZE
from perceptual_jax.io.encoding import Encoding
from perceptual_jax.io.files import Place, make_folder, reason_of, save_json
from perceptual_jax.io.images import ImageError, write_png
from perceptual_jax.io.inputs import Input
from perceptual_jax.io.photographs import check_size, read_photograph
from perceptual_jax.jobs.photographs.found import (
    FACES,
    REFRAMED,
    WHOLE,
    Found,
    describe,
    is_face,
    kept,
)
from perceptual_jax.jobs.photographs.options import PhotographOptions, Which
from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.detection.find import MIN_FACE
from perceptual_jax.photographs.detection.rules import reason_to_skip
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.framing import is_aligned

Pixels = UInt8[np.ndarray, "h w 3"]

Find = Callable[[Input, Pixels], Sequence[Face]]
"""Finds the faces of a photograph."""

TINY = 32
"""Side in pixels of the largest square picture that is taken for a crop without a look at it: of a
smaller part of it nothing could be restored."""

CROP_WITHOUT_FACE = 256
"""Largest side in pixels of a square picture without a face that is taken for a crop."""

MOST_OF_IT = 0.6
"""Fraction of a square picture's side that its face's frame has at least if the picture is a crop
in another framing."""

MAX_FACES = 100
"""Faces of one photograph that are restored, the largest ones."""


class Examined(NamedTuple):
    """What an input is."""

    found: Found | None
    """Its faces; None if it goes in as it is, as an aligned crop."""
    note: str | None = None
    """What the user should know."""


def is_tiny(source: Input) -> bool:
    """Whether an input is square and of at most `TINY` pixels, by its header alone."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(source.read_bytes())) as image,
        ):
            return image.width == image.height <= TINY
    except Exception:  # A decoder may raise anything for a damaged file, which is read again.
        return False


def examine(
    source: Input,
    out: Place,
    find: Find,
    options: PhotographOptions,
    *,
    resolution: int,
    encoding: Encoding,
    again: bool = False,
    marked: bool = False,
) -> Examined:
    """Finds the faces of an input and writes `faces.json` and the crops into its folder.

    Args:
        source: The input.
        out: The job's folder.
        find: Finds the faces.
        options: Settings of the photographs.
        resolution: Side of the generator's pictures in pixels.
        encoding: Format of the result, whose size is checked before anything is restored.
        again: Whether faces that an earlier job found are searched for again.
        marked: Whether its faces are marked by hand, so that it is a photograph.

    Raises:
        ImageError: If the input cannot be read, or its result could not be written.
        WriteError: If the crops cannot be written.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ImageError(reason_of(error)) from error
    photograph = read_photograph(source.path, data)
    height, width, _ = photograph.pixels.shape
    if min(width, height) < MIN_SIZE:
        raise ImageError(f"expected at least {MIN_SIZE} pixels on a side, got {width} x {height}")
    sha256, settings = hashlib.sha256(data).hexdigest(), options.of_finding()
    settings |= {"align": options.align}
    earlier = None if again else kept(out, source, sha256, settings)
    if earlier is not None:
        _check_result(earlier, width, height, options, resolution, encoding)
        return Examined(earlier)
    shown = photograph.shown
    faces = list(find(source, shown))
    kind = WHOLE
    if width == height:
        if options.align == "auto" and not marked:
            if is_aligned(shown, faces):
                return Examined(None)
            if not any(map(is_face, faces)) and width <= CROP_WITHOUT_FACE:
                return Examined(None, "no face is found in it, so it is taken for an aligned crop")
        large = [i for i, face in enumerate(faces) if face.side >= MOST_OF_IT * width]
        if len(large) == 1 and is_face(face := faces[large[0]]):
            kind = REFRAMED
            face = dataclasses.replace(face, skipped=_reason_if_cut(face, options))
            if face.skipped is not None and options.align == "auto" and not marked:
                return Examined(None, f"it is taken for an aligned crop, since {face.skipped}")
            faces[large[0]] = face
    record = describe(
        source,
        sha256=sha256,
        size=(width, height),
        notes=photograph.notes,
        kind=kind,
        settings=settings,
        faces=faces,
        skipped=reasons(faces, options.faces, width, height),
    )
    found = Found(source, record)
    _check_result(found, width, height, options, resolution, encoding)
    _write(found, out, shown, faces)
    return Examined(found)


def _reason_if_cut(face: Face, options: PhotographOptions) -> str | None:
    """Why a face is left alone, if it does not matter how much of its frame the picture cuts off.

    A crop in a tight framing has little beside the face, and it is no less a face.
    """
    if face.skipped is None or face.confirmed is None:
        return face.skipped
    left, top, right, bottom = face.box
    inwards = -face.quad.min(axis=0)
    return reason_to_skip(
        face.landmarks + inwards,
        face.quad + inwards,
        face.confirmed,
        (math.ceil(2 * face.side), math.ceil(2 * face.side)),
        height=max(right - left, bottom - top),
        min_face=options.min_face or MIN_FACE,
    )


def result_size(found: Found, options: PhotographOptions, resolution: int) -> tuple[int, int]:
    """Width and height of a photograph's result in pixels."""
    width, height = found.record["input"]["size"]
    if found.record["kind"] == REFRAMED and options.upscale is None:
        side = max(resolution, width)
        return side, side
    scale = options.scale_for(width, height, restored=bool(found.chosen))
    return round(width * scale), round(height * scale)


def reasons(faces: Sequence[Face], which: Which, width: int, height: int) -> list[str | None]:
    """Why each face is left alone; None for those that are restored.

    Args:
        faces: The faces of a photograph.
        which: Which of them the user wants.
        width: Of the photograph, in pixels.
        height: Likewise.
    """
    usable = [i for i, face in enumerate(faces) if face.skipped is None]
    by_size = sorted(usable, key=lambda i: -faces[i].side)
    why = f"the {MAX_FACES} largest faces of a photograph are restored"
    chosen = by_size[:MAX_FACES]
    if which == "largest":
        chosen, why = by_size[:1], "only the largest face was asked for"
    elif which == "center":
        middle = np.array([width, height]) / 2

        def distance(i: int) -> float:
            return float(np.linalg.norm(np.mean(faces[i].quad, axis=0) - middle))

        chosen, why = sorted(usable, key=distance)[:1], "only the face at the center was asked for"
    return [
        face.skipped if face.skipped is not None else (None if i in chosen else why)
        for i, face in enumerate(faces)
    ]


def _check_result(
    found: Found,
    width: int,
    height: int,
    options: PhotographOptions,
    resolution: int,
    encoding: Encoding,
) -> None:
    check_size(*result_size(found, options, resolution), encoding)


def _write(found: Found, out: Place, shown: Pixels, faces: Sequence[Face]) -> None:
    folder = out / found.source.name
    make_folder(folder)
    (folder / FACES).unlink(missing_ok=True)
    for record in found.chosen:
        face = faces[record["number"] - 1]
        crop = crop_face(shown, face.quad, record["side"])
        write_png(folder / record["crop"], crop, kind="crop")
    save_json(folder / FACES, found.record)


def why_none(found: Found) -> str:
    """Why no face of a photograph is restored, for its record."""
    if not found.faces:
        return "no face was found, so it is a copy"
    reasons = "; ".join(f"face {f['number']}: {f['skipped']}" for f in found.faces)
    return f"no face was restored, so it is a copy: {reasons}"
