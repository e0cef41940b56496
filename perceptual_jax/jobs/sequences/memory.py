"""What the next frame needs of the one before: latents and pictures of each face, in one file.

    .state/000012.npz    after frame 12: the faces in sight, and the sums over all frames so far

It is written before the frame, and that of the frame before is removed after it. So of a job that
is killed at any moment, frames and state fit together.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from perceptual_jax.io.files import json_text, make_folder, save_npz
from perceptual_jax.photographs.compositing.tone import Curve
from perceptual_jax.photographs.sequences.steadiness import Flicker

STATE = ".state"


class Remembered(NamedTuple):
    """A face of a track in the last frame in which it was restored."""

    frame: int
    """Number of that frame."""
    term: str
    """The data term of the track's searches."""
    size: int
    """Side in pixels to which the track's crops are reduced for the search."""
    good: bool
    """Whether the search took all its steps, so that the next one may start from it."""
    latents: Mapping[str, Float32[np.ndarray, "..."]]
    """`styles`, `offset` if features moved, and the noise maps that the search moves."""
    face: UInt8[np.ndarray, "r r 3"]
    """The restored face in the photograph's colours, steadied."""
    crop: UInt8[np.ndarray, "n n 3"]
    """The face in the input."""
    shown: UInt8[np.ndarray, "n n 3"]
    """The same place of the result."""
    curve: Curve | None = None
    """The track's tone curve, if its photographs are monochrome."""


class Memory(NamedTuple):
    """The state between two frames."""

    faces: dict[int, Remembered]
    """By the number of the track."""
    flicker: dict[int, Flicker]
    """The flicker of each track so far, by its number."""
    terms: dict[int, str]
    """The data term of each track so far."""
    notes: list[str]
    """What went wrong so far."""


def save_memory(out: Path, frame: int, memory: Memory) -> None:
    """Writes the state after a frame."""
    arrays: dict[str, Any] = {}
    about: dict[str, Any] = {
        "flicker": {str(k): list(v) for k, v in memory.flicker.items()},
        "terms": {str(k): v for k, v in memory.terms.items()},
        "notes": memory.notes,
        "faces": {},
    }
    for number, face in memory.faces.items():
        named = {"face": face.face, "crop": face.crop, "shown": face.shown}
        named |= {"curve": face.curve} if face.curve is not None else {}
        named |= {f"latents-{name}": x for name, x in face.latents.items()}
        arrays |= {f"{number}-{name}": x for name, x in named.items()}
        plain = face._asdict()
        about["faces"][str(number)] = {
            name: plain[name] for name in ("frame", "term", "size", "good")
        }
    make_folder(out / STATE)
    save_npz(_path(out, frame), arrays | {"about": np.array(json_text(about))})


def load_memory(out: Path, frame: int) -> Memory:
    """The state after a frame; an empty one if there is none, so that faces start anew."""
    path = _path(out, frame)
    if not path.is_file():
        return Memory({}, {}, {}, [])
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays.pop("about")))
    faces = {}
    for number, plain in about["faces"].items():
        own = {
            name.partition("-")[2]: x
            for name, x in arrays.items()
            if name.partition("-")[0] == number
        }
        latents = {
            name.removeprefix("latents-"): own.pop(name)
            for name in list(own)
            if name.startswith("latents-")
        }
        faces[int(number)] = Remembered(**plain, latents=latents, **own)
    flicker = {int(k): Flicker(*v) for k, v in about["flicker"].items()}
    terms = {int(k): v for k, v in about["terms"].items()}
    return Memory(faces, flicker, terms, about["notes"])


def remove_memory(out: Path, *, before: int | None = None) -> None:
    """Removes the states of the frames before one; all of them if that is None."""
    folder = out / STATE
    for path in folder.glob("*.npz") if folder.is_dir() else ():
        if before is None or int(path.stem) < before:
            path.unlink(missing_ok=True)
    if before is None and folder.is_dir():
        folder.rmdir()


def _path(out: Path, frame: int) -> Path:
    return out / STATE / f"{frame:06d}.npz"
