"""Photographs as files: read and written with what belongs to them beside the pixels.

They are read upright and in sRGB, with transparency, EXIF and resolution beside the pixels. They
are written as PNG, JPEG or WebP with an sRGB profile, the resolution as it was, and transparency
where the format has it, else over white. The EXIF is kept without what no longer holds: it says
upright, the new size, and has no thumbnail.
"""

import contextlib
import functools
import io
import itertools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

from perceptual_jax.io.decode import Layers, decode_layers, over_white
from perceptual_jax.io.encoding import Encoding
from perceptual_jax.io.files import Place
from perceptual_jax.io.images import MAX_PIXELS, ImageError, image_error
from perceptual_jax.io.own_files import mark

LARGEST_SIDE = {"png": 2**31 - 1, "jpeg": 65535, "webp": 16383}
"""Pixels of the longest side that each format can have."""

MAX_WRITTEN = 2**28
"""Pixels of the largest photograph that is written: 16,384 x 16,384, 800 MB as RGB."""

_ORIENTATION, _SOFTWARE = 0x0112, 0x000B
_EXIF_IFD, _COLOUR_SPACE, _EXIF_WIDTH, _EXIF_HEIGHT = 0x8769, 0xA001, 0xA002, 0xA003
_OF_THE_FILE = frozenset(
    itertools.chain(
        (*range(254, 267), 273, *range(277, 281), 284, 317, *range(320, 326), 330, 332),
        (*range(338, 348), *range(512, 533), 700, 34675),
    )
)
"""Tags of TIFF that describe how the pixels of a file are stored, or its colours."""
_SOFTWARE_NAME = "perceptual_jax restored"
_MAX_EXIF_BYTES = 65000
"""A segment of a JPEG has at most 64 KB."""


class Photograph(NamedTuple):
    """A photograph in memory."""

    pixels: UInt8[np.ndarray, "h w 3"]
    """In sRGB, upright."""
    alpha: UInt8[np.ndarray, "h w"] | None = None
    """Opacity; None if all is opaque."""
    exif: bytes | None = None
    """The file's EXIF, as it is."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch along x and y, if known."""
    notes: tuple[str, ...] = ()
    """What the user should know of the file, see `Decoded`."""

    @property
    def shown(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels as a viewer shows them: over white where they are transparent."""
        return self.pixels if self.alpha is None else over_white(self.pixels, self.alpha)


def read_photograph(path: str | Place, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Reads a photograph.

    Args:
        path: Its path, for messages.
        data: The content of the file.
        max_pixels: Larger ones are refused before they are decoded.

    Raises:
        ImageError: As `read_image`.
    """
    try:
        layers: Layers = decode_layers(data, max_pixels=max_pixels)
    except Exception as error:  # A decoder may raise anything for a damaged file.
        raise image_error(path, error, data) from error
    return Photograph(layers.pixels, layers.alpha, layers.exif, layers.dpi, layers.notes)


def check_size(width: int, height: int, encoding: Encoding) -> None:
    """Checks that a photograph of this size can be written.

    Raises:
        ImageError: If it has too many pixels, or the format has no such sides.
    """
    if width * height > MAX_WRITTEN:
        raise ImageError(
            f"the result would have {width} x {height} pixels, more than the {MAX_WRITTEN:,} that "
            "are written; give a smaller --upscale"
        )
    largest = LARGEST_SIDE[encoding.format]
    if max(width, height) > largest:
        raise ImageError(
            f"the result would have {width} x {height} pixels, and {encoding.format} has at most "
            f"{largest} on a side; give another --format or a smaller --upscale"
        )


def encode_photograph(photograph: Photograph, encoding: Encoding) -> bytes:
    """The bytes of a file with a photograph and what belongs to it.

    Args:
        photograph: The new pixels, with the alpha of their size and the metadata of the file that
            they come from.
        encoding: Format and quality.

    Raises:
        ImageError: If the format cannot hold it.
    """
    height, width, _ = photograph.pixels.shape
    check_size(width, height, encoding)
    keeps_alpha = encoding.format != "jpeg" and photograph.alpha is not None
    image = Image.fromarray(photograph.pixels if keeps_alpha else photograph.shown)
    if keeps_alpha and photograph.alpha is not None:
        image.putalpha(Image.fromarray(photograph.alpha))
    options: dict[str, Any] = {
        "icc_profile": srgb_profile(),
        "exif": updated_exif(photograph.exif, (width, height)),
    }
    if photograph.dpi is not None and encoding.format != "webp":
        options["dpi"] = photograph.dpi
    if encoding.format == "png":
        options["pnginfo"] = mark("restored")
    else:
        options["quality"] = encoding.used_quality
    if encoding.format == "jpeg":
        options |= {"subsampling": 0, "comment": _SOFTWARE_NAME.encode()}
    file = io.BytesIO()
    image.save(file, encoding.format.upper(), **options)
    return file.getvalue()


def updated_exif(exif: bytes | None, size: tuple[int, int]) -> bytes:
    """A file's EXIF for its new pixels; that of no file if it has none, or one that is damaged.

    This project is noted as the software that processed the picture; the camera's own stays.

    Args:
        exif: The EXIF of the original file.
        size: The new width and height in pixels.
    """
    kept = Image.Exif()
    with contextlib.suppress(Exception):  # Metadata of any form.
        kept.load(exif or b"")
        for tag in _OF_THE_FILE & kept.keys():
            del kept[tag]
        if _ORIENTATION in kept:
            kept[_ORIENTATION] = 1
        inner = kept.get_ifd(_EXIF_IFD)
        changed = {_COLOUR_SPACE: 1, _EXIF_WIDTH: size[0], _EXIF_HEIGHT: size[1]}
        inner |= {tag: value for tag, value in changed.items() if tag in inner}
        kept[_SOFTWARE] = _SOFTWARE_NAME
        data = kept.tobytes()  # It writes no thumbnail, which Pillow keeps apart.
        if len(data) <= _MAX_EXIF_BYTES:
            return data
    bare = Image.Exif()
    bare[_SOFTWARE] = _SOFTWARE_NAME
    return bare.tobytes()


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, with the same bytes at any time."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[24:36] = bytes((7, 208, 0, 1, 0, 1)) + bytes(6)  # the date of its making: 2000-01-01
    data[84:100] = bytes(16)  # the checksum of a profile, which may be left out
    return bytes(data)
