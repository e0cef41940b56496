"""An input on its way into a search: read, checked, reduced, and given its data term and its key.

How an input came about, as far as its file tells, decides which data term suits it:

    a picture of less than 128 pixels            l2: it is small because it was downscaled
    a JPEG of a quality that was trained on      jpeg: with the tables and the grid of its header
    anything else                                blind
"""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8
from PIL import Image

from perceptual_jax.config import MIN_SIZE, ConfigError
from perceptual_jax.degradation.jpeg import quality_of, read_header
from perceptual_jax.degradation.resampling import resample_matrix
from perceptual_jax.io.images import ImageError, read_image
from perceptual_jax.io.inputs import Input
from perceptual_jax.types import JpegHeader, unknown_header

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


class Picture(NamedTuple):
    """An input that was read."""

    input: Input
    sha256: str
    """Of the file."""
    size: tuple[int, int]
    """Width and height in the file, in pixels."""
    pixels: UInt8[np.ndarray, "h w 3"]
    """What is restored: reduced if the file's picture is too large."""
    content: int
    """Of the pixels, see `content_of`."""
    look: Look
    """What the file's header says of how it degraded."""


def input_sha256(source: Input) -> str | None:
    """SHA-256 of an input's bytes; None if they cannot be read."""
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError:
        return None


def read_picture(source: Input, *, max_size: int, degradation: str = "auto") -> Picture:
    """Reads an input; a picture above `max_size` pixels is reduced to it by averaging areas.

    Raises:
        ImageError: If it cannot be read, is not square, or is smaller than 4 pixels.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(f"cannot read {source.path}: {reason}") from error
    pixels = read_image(source.path, data=data)
    height, width, _ = pixels.shape
    if height != width:
        raise ImageError(
            f"expected a square aligned face crop, got {width}x{height}; crop it first"
        )
    if width < MIN_SIZE:
        raise ImageError(f"expected at least {MIN_SIZE}x{MIN_SIZE} pixels, got {width}x{height}")
    if width > max_size:
        mean = resample_matrix(width, max_size, filter="area")
        pixels = np.einsum("ah,bw,hwc->abc", mean, mean, pixels, optimize=True)
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    look = look_at(source, degradation, max_size=max_size, data=data)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(source, digest, (width, height), pixels, content_of(pixels), look)


def content_of(pixels: UInt8[np.ndarray, "h w 3"]) -> int:
    """Stands for a picture's content: the first 4 bytes of SHA-256("HEIGHT WIDTH " + pixels)."""
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).digest()
    return int.from_bytes(digest[:4], "little")


def restoration_keys(
    contents: Sequence[int], samples: Sequence[int], *, seed: int
) -> Key[Array, " n"]:
    """The keys of restorations: matters of the picture's content, the seed and the sample.

        fold_in(fold_in(key(seed), content), sample)

    So a result depends neither on the picture's name nor on what else is in its job.

    Args:
        contents: Of each restoration's picture, from `content_of`.
        samples: Its number among those of its picture.
        seed: Of the job, from 0 to 2^32 - 1.
    """
    return _keys(np.uint32(seed), np.array(contents, np.uint32), np.array(samples, np.uint32))


@jax.jit
def _keys(seed: Array, contents: Array, samples: Array) -> Array:
    def one(content: Array, sample: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), content), sample)

    return jax.vmap(one)(contents, samples)
