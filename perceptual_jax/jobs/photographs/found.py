"""The faces of a photograph, as its folder has them.

    NAME/faces.json     box, landmarks, quad, transform and scores of each face; why it is skipped
    NAME/crop-1.png     the face in FFHQ's framing at its native size: what is restored
    NAME/face-1.png     the restored face, with face-1.npz and face-1.json as of any crop

`faces.json` is written last. A resumed job keeps it if it is that of the same picture with the same
settings, and the crops are there.
"""

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.config import MIN_SIZE
from perceptual_jax.errors import UsageError
from perceptual_jax.io.encoding import is_ours
from perceptual_jax.io.files import Place, load_json, names_in, printable
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.log import Record
from perceptual_jax.photographs.align import crop_to_photograph, native_side
from perceptual_jax.photographs.detection.rules import CONFIRMED
from perceptual_jax.photographs.face import Face

FACES = "faces.json"
_OWN = re.compile(r"faces\.json|crop-\d+\.png|face-\d+(_[a-z0-9]+)?\.(png|json)")
_ADVICE = "choose another folder"

WHOLE, REFRAMED = "photograph", "reframed crop"
"""Kinds of pictures: a face is put into the first; the second, a square crop in a framing other
than FFHQ's, comes out in its own framing and at the size of the generator's pictures."""


class Found(NamedTuple):
    """A picture whose faces were searched for."""

    source: Input
    record: Record
    """The content of `faces.json`."""

    @property
    def faces(self) -> list[Record]:
        """All faces, those that are left alone included."""
        return self.record["faces"]

    @property
    def chosen(self) -> list[Record]:
        """The faces that are restored."""
        return [face for face in self.faces if face["skipped"] is None]

    def inputs(self, out: Place) -> list[Input]:
        """The crops of these faces, as inputs of the job."""
        folder = out / self.source.name
        return [Input(folder / face["crop"], self.name_of(face)) for face in self.chosen]

    def name_of(self, face: Record) -> str:
        """The name of a face's results."""
        return f"{self.source.name}/face-{face['number']}"


def describe(
    source: Input,
    *,
    sha256: str,
    size: tuple[int, int],
    notes: Sequence[str],
    kind: str,
    settings: Record,
    faces: Sequence[Face],
    skipped: Sequence[str | None],
) -> Record:
    """The content of `faces.json`.

    Args:
        source: The photograph.
        sha256: SHA-256 of its file.
        size: Width and height in pixels.
        notes: What the user should know of the file.
        kind: `WHOLE` or `REFRAMED`.
        settings: The settings that decided which faces were found.
        faces: The faces.
        skipped: For each, why it is left alone; None for those that are restored.
    """
    records = [
        _describe_face(number, face, reason)
        for number, (face, reason) in enumerate(zip(faces, skipped, strict=True), 1)
    ]
    return {
        "perceptual_jax": importlib.metadata.version("perceptual-jax"),
        "input": {
            "path": printable(source.path),
            "sha256": sha256,
            "size": list(size),
            "notes": list(notes),
        },
        "kind": kind,
        "settings": settings,
        "faces": records,
    }


def _describe_face(number: int, face: Face, reason: str | None) -> Record:
    side = max(native_side(face.quad), MIN_SIZE)
    return face.to_json() | {
        "number": number,
        "skipped": reason,
        "side": side,
        "transform": crop_to_photograph(face.quad, side).tolist(),
        "crop": f"crop-{number}.png" if reason is None else None,
    }


def kept(out: Place, source: Input, sha256: str, settings: Record) -> Found | None:
    """The faces that an earlier job found in the same picture with the same settings."""
    record = load_json(out / source.name / FACES)
    if record is None or not isinstance(record.get("faces"), list):
        return None
    about: dict[str, Any] = record.get("input", {})
    if about.get("sha256") != sha256 or record.get("settings") != settings:
        return None
    there = names_in(out / source.name)
    found = Found(source, record)
    return found if all(face["crop"] in there for face in found.chosen) else None


def is_face(face: Face) -> bool:
    """Whether a find is surely a face, so that no neighbour may cover it."""
    return face.skipped is None or face.confirmed is None or face.confirmed >= CONFIRMED


def refuse_foreign_folders(out: Place, inputs: Sequence[Input]) -> None:
    """Refuses folders in which files of others would be replaced.

    Raises:
        UsageError: If the folder of an input has files of the names of its faces, and they are not
            of this project; or if it is a file.
    """
    there = names_in(out)
    for source in (x for x in inputs if x.name in there):
        folder = out / source.name
        if isinstance(folder, Path) and not folder.is_dir():
            raise UsageError(f"{folder} is a file, and a photograph's faces go there; {_ADVICE}")
        names = names_in(folder)
        if FACES in names and is_ours((folder / FACES).read_bytes()):
            continue
        for name in sorted(names):
            if _OWN.fullmatch(name) and not is_ours((folder / name).read_bytes()):
                raise UsageError(
                    f"{folder / name} exists and is not a result of this tool; {_ADVICE}"
                )
