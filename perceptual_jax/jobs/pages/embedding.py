"""The pictures of a page: in the page itself, or as files beside it.

A page with its pictures inside is one file to send, but it is read as a whole: a few hundred
pictures are the most. The page of a larger job refers to the files that the job has written, and
only what the folder lacks, the inputs as they were read, is added in `report_files/`.
"""

import io
import os
import urllib.parse
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.evaluation.page import data_url
from perceptual_jax.io.files import Place, make_folder
from perceptual_jax.io.images import reduce_picture, write_png

FILES = "report_files"
"""The folder of pictures beside a page."""

THUMB = 96
"""Shorter side of a small picture in pixels: twice that of the list, for dense screens."""

_SMALL = 256
_QUALITY = 92

Pixels = UInt8[np.ndarray, "_ _ 3"]


class Pictures(NamedTuple):
    """Gives the pictures of a page their addresses; its methods may be called by threads."""

    out: Place
    """The folder of the page."""
    inside: bool
    """Whether pictures become part of the page."""

    def address(self, pixels: Pixels, file: Place | None, name: str) -> str:
        """The address of a picture in the page.

        Args:
            pixels: The picture.
            file: A file that holds just these pixels; None if there is none.
            name: Name for a file with the picture, in `report_files/`, where it has none.

        Raises:
            WriteError: If a file cannot be written.
        """
        if self.inside:
            small = max(pixels.shape) <= _SMALL
            return encode(pixels, "png" if small else "jpeg")
        link = None if file is None else relative_link(file, self.out)
        if link is None:
            make_folder(self.out / FILES)
            name = name.replace("/", "%2F")  # of a photograph's face
            write_png(self.out / FILES / name, pixels, kind="sheet")
            link = relative_link(self.out / FILES / name, self.out)
        return link or ""


def thumb(pixels: Pixels) -> str:
    """The address of a small version; of a picture that is small itself, all its pixels."""
    if max(pixels.shape) <= THUMB:
        return encode(pixels, "png")
    return encode(reduce_picture(pixels, THUMB), "jpeg", quality=80)


def encode(pixels: Pixels, form: Literal["png", "jpeg"], *, quality: int = _QUALITY) -> str:
    """An address that holds a picture; JPEGs keep the resolution of colours.

    Example:
        >>> encode(np.zeros((1, 1, 3), np.uint8), "png").partition(",")[0]
        'data:image/png;base64'
    """
    file, picture = io.BytesIO(), Image.fromarray(pixels)
    if form == "png":
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=quality, subsampling=0)
    return data_url(file.getvalue(), f"image/{form}")


def relative_link(file: Place, folder: Place) -> str | None:
    """The address of a file relative to a page in a folder; None where there is no such address.

    Example:
        >>> relative_link(Path("/faces/b/50%.png"), Path("/faces/a"))
        '../b/50%25.png'
    """
    if isinstance(file, Path) and isinstance(folder, Path):
        try:
            path = os.path.relpath(file, folder)
        except ValueError:  # on another drive
            return None
        return urllib.parse.quote(os.fsencode(Path(path).as_posix()))
    if file.parent == folder:
        return urllib.parse.quote(file.name)
    if file.parent.parent == folder:
        return urllib.parse.quote(f"{file.parent.name}/{file.name}")
    return None
