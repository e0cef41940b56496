"""Recognises this project's own sheets, maps and curves, which are pictures but no faces.

Every PNG that a verb writes has a text chunk with its kind, before the pixels. So the folder of one
verb can be the input of the next, whatever its files were renamed to. Folders of versions that
wrote no such chunk are recognised by their records.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from PIL import PngImagePlugin

Kind = Literal["restored", "generated", "degraded", "sample", "crop", "sheet", "map"]
"""`crop` is a face cut out of a photograph, `sheet` a drawing of several pictures or curves, and
`map` a value for each pixel."""

HEAD_BYTES = 512
"""Bytes at the beginning of a file within which the mark lies."""

_KEY = "perceptual_jax"
_MARK = re.compile(rb"tEXt" + _KEY.encode() + rb"\x00([a-z]+)")
_MAP = re.compile(r"(.+)_(nll|spread)\.png")
_SUSPECTS = re.compile(r"index\.png|samples\.png|loss\.png|.+_(nll|spread)\.png")


def mark(kind: Kind) -> PngImagePlugin.PngInfo:
    """The text chunk of a PNG of this kind, for Pillow's `pnginfo`."""
    info = PngImagePlugin.PngInfo()
    info.add_text(_KEY, kind)
    return info


def kind_of(head: bytes) -> str | None:
    """The kind of a PNG of this project by the file's first bytes; None for all other files."""
    if not head.startswith(b"\x89PNG"):
        return None
    match = _MARK.search(head[:HEAD_BYTES])
    return match[1].decode() if match is not None else None


def is_no_face(head: bytes) -> bool:
    """Whether a file is a sheet or a map of this project, by its first bytes."""
    return kind_of(head) in ("sheet", "map")


def has_suspect_name(name: str) -> bool:
    """Whether a verb writes sheets or maps under such a name.

    Only these files are opened where opening is slow: in remote stores and archives.
    """
    return _SUSPECTS.fullmatch(name) is not None


def is_own_file(path: Path) -> bool:
    """Whether a local file is a sheet or a map of this project, by its mark or its record."""
    if path.suffix.lower() != ".png" or not path.is_file():  # reading a pipe would wait for ever
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return is_no_face(head) or _is_recorded(path)


def _is_recorded(path: Path) -> bool:
    """Whether a job's record names the file as its sheet or as a map."""
    if path.name == "index.png":
        return all((path.parent / name).is_file() for name in ("results.jsonl", "config.toml"))
    match = _MAP.fullmatch(path.name)
    if match is None:
        return False
    try:
        record: Any = json.loads((path.parent / f"{match[1]}.json").read_bytes())
        images = [one["image"] for one in record["restorations"]]
        return path.name in record["files"] and path.name not in images
    except (OSError, ValueError, KeyError, TypeError):
        return False
