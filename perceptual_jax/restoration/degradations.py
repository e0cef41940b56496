"""How an input came about, as far as its file tells: which data term suits it.

a picture of less than 128 pixels            l2: it is small because it was downscaled
a JPEG of a quality that was trained on      jpeg: with the tables and the grid of its header
anything else                                blind
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from perceptual_jax.config import ConfigError
from perceptual_jax.degradation.jpeg import JpegHeader, quality_of, read_header, unknown_header
from perceptual_jax.io.inputs import Input

SMALL = 128
"""Pixels of a side below which a picture is taken for a downscaled one."""

LEARNED_QUALITY = 65
"""Highest JPEG quality that the `jpeg` model is used for; it was trained up to 60."""

_ORIENTATION = 0x0112


class Look(NamedTuple):
    """What a file's header says."""

    side: int
    """Pixels of the longer side; 0 if there is nothing to be read."""
    header: JpegHeader
    """Of a JPEG that is used as it is stored; else unknown."""
    degradation: str
    """The data term: `l2`, `dct_box`, or the name or path of a model."""
    reason: str
    """Why, for the user."""


def look_at(
    source: Input | Path, degradation: str, *, max_size: int, data: bytes | None = None
) -> Look:
    """Reads a picture's header and chooses its data term.

    Args:
        source: The picture.
        degradation: The config's: `auto`, or what is to be used whatever the file says.
        max_size: Larger pictures are reduced, which destroys a JPEG's grid.
        data: Its bytes, if they are at hand.
    """
    side, header, what = 0, None, "a picture"
    with (
        contextlib.suppress(Exception),
        warnings.catch_warnings(action="ignore"),
        Image.open(io.BytesIO(source.read_bytes() if data is None else data)) as image,
    ):
        side = max(image.size)
        what = f"{image.format or 'a picture'} of {side} pixels"
        upright = image.getexif().get(_ORIENTATION, 1) == 1
        if upright and side <= max_size:
            header = read_header(image)
    if degradation != "auto":
        return Look(side, header or unknown_header(), degradation, "asked for")
    if side < SMALL:
        return Look(side, unknown_header(), "l2", f"{what}: small, so downscaled")
    if header is None:
        return Look(side, unknown_header(), "blind", f"{what}: no JPEG's header to go by")
    quality = quality_of(np.asarray(header.tables))
    if quality > LEARNED_QUALITY:
        return Look(side, header, "blind", f"{what}: quality {quality}, hardly compressed")
    return Look(side, header, "jpeg", f"{what}: quality {quality}, by its tables")


def require_header(look: Look) -> None:
    """Makes sure that a JPEG's box can be known.

    Raises:
        ConfigError: If it cannot.
    """
    if look.degradation == "dct_box" and not (look.header.tables > 0).all():
        raise ConfigError(
            "degradation dct_box needs a JPEG whose header can be read, no larger than "
            "data.max_size; use blind for other pictures"
        )
