"""Puts the restored faces of a photograph back into it, and writes the whole photograph.

    NAME.png     the photograph; with samples NAME_s00.png, NAME_s01.png, ...
    NAME.json    the record, written last: a photograph is finished if both exist

Photographs are assembled one at a time in a thread, each as soon as its last face is written, while
the device restores the faces of others.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.io.files import Place, load_json, reason_of, save_json, write_atomically
from perceptual_jax.io.images import ImageError, read_image
from perceptual_jax.io.photographs import Photograph, encode_photograph, read_photograph
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.log import Journal, Record
from perceptual_jax.jobs.photographs.background import enlarged
from perceptual_jax.jobs.photographs.finding import result_size, why_none
from perceptual_jax.jobs.photographs.found import REFRAMED, Found, is_face
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.photographs.compositing.blend import Weigh, in_colours_of, paste, scaled_points
from perceptual_jax.photographs.compositing.masks import (
    ellipse_mask,
    frame_mask,
    oval_mask,
    without_others,
)
from perceptual_jax.photographs.compositing.tone import Curve, follows, tone_curve
from perceptual_jax.photographs.face import Face

Pixels = UInt8[np.ndarray, "h w 3"]


class Assembly(NamedTuple):
    """What all photographs of a job share."""

    out: Place
    options: PhotographOptions
    output: writing.Output
    samples: int
    resolution: int
    """Side of the generator's pictures in pixels."""
    fields: Record
    """Fields of every record: settings, versions."""


def assemble(job: Assembly, found: Found) -> Record:
    """Writes a photograph with its restored faces, or without any; its record last.

    Args:
        job: The arguments that all photographs share.
        found: The faces of the photograph, all of which are restored.

    Returns:
        The record.

    Raises:
        ImageError: If the photograph has changed, a face is missing, or the background's command
            fails.
        WriteError: If a file cannot be written.
    """
    name, source = found.source.name, found.source
    faces = [_results(job, found, face) for face in found.chosen]
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ImageError(reason_of(error)) from error
    if hashlib.sha256(data).hexdigest() != found.record["input"]["sha256"]:
        raise ImageError("it has changed since its faces were found; run the job again")
    photograph = read_photograph(source.path, data)
    size = result_size(found, job.options, job.resolution)
    large = enlarged(photograph.pixels, size, background=job.options.background)
    curve = tone_curve(photograph.shown) if faces else None
    crops = (read_image(job.out / name / face["crop"]) for face in found.chosen)
    if curve is not None and not all(follows(crop, curve) for crop in crops):
        curve = None
    record_path = job.out / f"{name}.json"
    earlier = (load_json(record_path) or {}).get("files", [])
    record_path.unlink(missing_ok=True)
    images = job.output.images(name, job.samples if faces else 1)
    for sample, image in enumerate(images):
        last = sample == len(images) - 1
        pixels = _with_faces(large if last else large.copy(), job, found, faces, sample, curve)
        result = photograph._replace(pixels=pixels, alpha=scaled_alpha(photograph, size))
        write_atomically(job.out / image, encode_photograph(result, job.output.encoding))
    record = _describe(job, found, faces, images, photograph, curve)
    save_json(record_path, record)
    writing.remove_replaced(job.out, name, set(earlier) - set(images))
    return record


def _results(job: Assembly, found: Found, face: Record) -> Record:
    """The record of a restored face."""
    record = load_json(job.out / f"{found.name_of(face)}.json")
    if record is None or "restorations" not in record:
        raise ImageError(f"its face {face['number']} could not be restored")
    return record


def _with_faces(
    pixels: Pixels,
    job: Assembly,
    found: Found,
    faces: Sequence[Record],
    sample: int,
    curve: Curve | None,
) -> Pixels:
    """The enlarged photograph with the faces of a sample in it, in place."""
    height, width, _ = pixels.shape
    given_width, given_height = found.record["input"]["size"]
    scale = (width / given_width, height / given_height)
    landmarks = {
        record["number"]: scaled_points(face.landmarks, scale)
        for record in found.faces
        if is_face(face := Face.from_json(record))
    }
    for record, results in zip(found.chosen, faces, strict=True):
        face, number = Face.from_json(record), record["number"]
        restored = read_image(job.out / results["restorations"][sample]["image"])
        crop = read_image(job.out / found.source.name / record["crop"])
        seed = (sample, number) if job.options.grain else None
        own = scaled_points(face.landmarks, scale)
        others = [points for other, points in landmarks.items() if other != number]
        patch = paste(
            pixels,
            in_colours_of(restored, crop, curve=curve, grain_seed=seed),
            scaled_points(face.quad, scale),
            face_mask(job.options.mask, found.record["kind"], own, others),
        )
        if patch is not None:
            patch.put(pixels)
    return pixels


def face_mask(kind: str, picture: str, own: np.ndarray, others: Sequence[np.ndarray]) -> Weigh:
    """The mask of a face in its photograph.

    Args:
        kind: `PhotographOptions.mask`.
        picture: The kind of the picture, see `found`.
        own: The face's landmarks.
        others: Those of each other face.
    """

    def weigh(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
        if kind == "face":
            mask = oval_mask(points, own)
        else:
            mask = frame_mask(frame) if picture == REFRAMED else ellipse_mask(frame)
        return mask * without_others(points, others)

    return weigh


def scaled_alpha(photograph: Photograph, size: tuple[int, int]) -> np.ndarray | None:
    """The opacity of a photograph at the width and height of its result; None if all is opaque."""
    if photograph.alpha is None or photograph.alpha.shape == size[::-1]:
        return photograph.alpha
    return np.array(Image.fromarray(photograph.alpha).resize(size, Image.Resampling.LANCZOS))


def _describe(
    job: Assembly,
    found: Found,
    faces: Sequence[Record],
    images: list[str],
    photograph: Photograph,
    curve: Curve | None,
) -> Record:
    stopped = [
        f"face {face['number']}: {record['message']}"
        for face, record in zip(found.chosen, faces, strict=True)
        if record["status"] != "OK"
    ]
    status = next((record["status"] for record in faces if record["status"] != "OK"), "OK")
    done = f"{len(faces)} of {len(found.faces)} faces restored"
    message = "; ".join(stopped) or (done if faces else why_none(found))
    results = {
        face["number"]: {"status": record["status"], "files": record["files"]}
        for face, record in zip(found.chosen, faces, strict=True)
    }
    width, height = result_size(found, job.options, job.resolution)
    given = found.record["input"]["size"]
    return {
        "name": found.source.name,
        "status": status,
        "message": message,
        "input": found.record["input"] | {"notes": list(photograph.notes)},
        "photograph": {
            "kind": found.record["kind"],
            "settings": job.options.of_result(),
            "size": [width, height],
            "upscale": [width / given[0], height / given[1]],
            "colours": "monochrome" if curve is not None else "colour",
            "faces": [face | results.get(face["number"], {}) for face in found.faces],
        },
        "images": images,
        "files": images,
    } | job.fields


class Assembler:
    """Assembles photographs in a thread, each as soon as its faces are written.

    Leaving the context waits until all are assembled, or drops those that wait after an error.
    """

    def __init__(
        self,
        job: Assembly,
        journal: Journal,
        pending: dict[str, set[str]],
        found: Sequence[Found],
        *,
        after: Callable[[Record], None] = lambda record: None,
    ):
        """Assembles nothing yet.

        Args:
            job: The arguments that all photographs share.
            journal: Receives the record of each photograph.
            pending: For each photograph, the names of its faces that are not yet written.
            found: The photographs.
            after: Called with each record.
        """
        self._job, self._journal, self._after = job, journal, after
        self._found = {one.source.name: one for one in found}
        self._pending = {name: set(pending.get(name, ())) for name in self._found}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="assemble")
        self._lock = threading.Lock()
        self._submitted: dict[str, Future[None]] = {}

    def written(self, name: str) -> None:
        """Notes that a face is written; called from any thread, once for each face."""
        photograph = name.partition("/")[0]
        if "/" not in name or photograph not in self._pending:
            return
        self._pending[photograph].discard(name)
        if not self._pending[photograph]:
            self._submit(photograph)

    def _submit(self, name: str) -> None:
        with self._lock:  # two threads may see the last faces at once
            if name not in self._submitted:
                self._submitted[name] = self._pool.submit(self._assemble, self._found[name])

    def _assemble(self, found: Found) -> None:
        try:
            record = assemble(self._job, found)
        except ImageError as error:
            reason = str(error).removeprefix(f"cannot read {found.source.path}: ")
            record = writing.failure_record(found.source.name, found.source.path, reason)
        self._journal.add(record, found.source)
        self._after(record)

    def __enter__(self) -> "Assembler":
        """Begins with the photographs all of whose faces are written."""
        for name, faces in list(self._pending.items()):
            if not faces:
                self._submit(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Assembles the rest, whose faces failed, and waits until all are written.

        Raises:
            WriteError: If a photograph could not be written, unless another error ended the
                context.
        """
        if error is None:
            for name in self._found:
                self._submit(name)
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for future in self._submitted.values():
                future.result()
