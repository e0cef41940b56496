"""The first pass over a sequence: the faces of every frame, one line for each in `faces.jsonl`.

The first line says what sequence it is and with which settings it is restored. Lines are appended
one at a time, so a resumed job looks at the frames that have none.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from perceptual_jax.config import MIN_SIZE
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import json_text, write_atomically
from perceptual_jax.io.images import ImageError
from perceptual_jax.jobs.log import Lines, Record
from perceptual_jax.jobs.photographs.search import Finder
from perceptual_jax.jobs.sequences.source import Frame, Source
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.sequences.tracking import is_cut, reduced

FACES = "faces.jsonl"


class Seen(NamedTuple):
    """What was found in a frame."""

    name: str
    sha256: str | None
    size: tuple[int, int]
    """Width and height in pixels."""
    cut: bool
    """Whether a scene begins with it."""
    faces: list[Face]


def read_lines(out: Path) -> tuple[Record | None, list[Seen]]:
    """The first line of an earlier job and the frames it has looked at; None if there is none."""
    header, seen = None, []
    for number, line in enumerate(_whole_lines(out / FACES)):
        value = json.loads(line)
        if number == 0:
            header = value
        else:
            faces = [Face.from_json(face) for face in value["faces"]]
            size = (value["size"][0], value["size"][1])
            seen.append(Seen(value["name"], value["sha256"], size, value["cut"], faces))
    return header, seen


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file up to one that a killed process has left half written."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line


def begin(out: Path, header: Record) -> None:
    """Writes the first line, or drops what a killed process has left half written."""
    lines = list(_whole_lines(out / FACES)) or [(json_text(header) + "\n").encode()]
    write_atomically(out / FACES, b"".join(lines))


def find_all(
    source: Source,
    out: Path,
    finder: Finder,
    *,
    report: Callable[[str], None],
    progress: Callable[[int], None],
) -> list[Seen]:
    """Finds the faces of the frames that have no line yet.

    Args:
        source: The frames.
        out: The job's folder, in which `begin` has made the file.
        finder: Finds the faces.
        report: Receives a line if unmarked frames cannot be searched.
        progress: Called with the number of frames that are done.

    Returns:
        The faces of all frames.

    Raises:
        UsageError: If a frame cannot be read, has another size than the first, or faces cannot be
            searched for and none are marked.
    """
    _, seen = read_lines(out)
    if len(seen) == len(source.names):
        return seen
    searches = _can_search(source, finder, report)
    lines, last = Lines(out / FACES), None
    # The frame before is read again to be compared with.
    for number, frame in enumerate(source.frames(max(len(seen) - 1, 0)), max(len(seen) - 1, 0)):
        _check(frame, seen[0].size if seen else None, source)
        look = reduced(frame.photograph.shown)
        if number == len(seen):
            found = _look(
                frame, finder, searches=searches, cut=last is not None and is_cut(last, look)
            )
            lines.add(
                found._asdict() | {"frame": number, "faces": [f.to_json() for f in found.faces]}
            )
            seen.append(found)
            progress(len(seen))
        last = look
    if not seen:
        raise UsageError(f"{source.path} has no frame that can be decoded")
    return seen


def _can_search(source: Source, finder: Finder, report: Callable[[str], None]) -> bool:
    """Whether frames without marks can be searched for faces."""
    marked = [bool(finder.marks_of(frame)) for frame in source.frame_inputs()]
    if all(marked):
        return False
    if (why_not := finder.prepare()) is None:
        return True
    if not any(marked):
        raise UsageError(why_not)
    report(f"only marked frames have faces, since {why_not}")
    return False


def _check(frame: Frame, size: tuple[int, int] | None, source: Source) -> None:
    height, width, _ = frame.photograph.pixels.shape
    if min(width, height) < MIN_SIZE:
        raise UsageError(
            f"expected frames of at least {MIN_SIZE} pixels on a side, got {width} x {height}"
        )
    if size is not None and size != (width, height):
        raise UsageError(
            f"the frame {frame.source.name} of {source.path} has {width} x {height} pixels and the "
            f"first one {size[0]} x {size[1]}; a sequence has frames of one size, so give others "
            "apart or leave --sequence out"
        )


def _look(frame: Frame, finder: Finder, *, searches: bool, cut: bool) -> Seen:
    height, width, _ = frame.photograph.pixels.shape
    faces: list[Face] = []
    if searches or finder.marks_of(frame.source):
        try:
            faces = list(finder(frame.source, frame.photograph.shown))
        except ImageError as error:
            raise UsageError(str(error)) from error
    return Seen(frame.source.name, frame.sha256, (width, height), cut, faces)
