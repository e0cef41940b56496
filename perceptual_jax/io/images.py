"""Reads image files as arrays and writes them.

Every file that Pillow opens is read as uint8 RGB in sRGB, as a viewer would show it: its colour
profile applied, turned upright by its EXIF orientation, transparent parts over white, the first
frame of several (`decode`). Sizes are checked from the header, before anything is decoded.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from PIL import Image
from upath import UPath

from perceptual_jax.errors import Error
from perceptual_jax.io.decode import Decoded, decode
from perceptual_jax.io.files import reason_of, write_atomically
from perceptual_jax.io.formats import HEIF_ADVICE, is_heif, reads_heif
from perceptual_jax.io.own_files import Kind, mark

MAX_PIXELS = 2**26
"""Largest image that is decoded: 8192 x 8192, 200 MB as RGB."""


class ImageError(Error, ValueError):
    """An image that cannot be read; the message is one sentence for the user."""


def read_image(
    path: str | os.PathLike[str] | UPath,
    *,
    max_pixels: int = MAX_PIXELS,
    data: bytes | None = None,
    note: Callable[[str], None] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads any image file as 8-bit RGB in sRGB.

    Grey images get three equal channels, transparent parts are composited over white, and colours
    are converted by an embedded profile. The white of integers beyond 8 bits is the largest value
    of the file's depth, that of floats is 1.

    Args:
        path: The file. Its content decides the format, not its extension.
        max_pixels: Larger images are refused before they are decoded.
        data: The content of the file, if it is already read or does not come from a file.
        note: Receives what the user should know of the file, such as a profile that is ignored.

    Raises:
        ImageError: If the file is missing, is not an image, is truncated or damaged, is too large,
            or holds values outside its range. The message names the file.
    """
    decoded = decode_image(path, max_pixels=max_pixels, data=data)
    if note is not None:
        for one in decoded.notes:
            note(one)
    return decoded.pixels


def decode_image(
    path: str | os.PathLike[str] | UPath, *, max_pixels: int = MAX_PIXELS, data: bytes | None = None
) -> Decoded:
    """Reads any image file with what should be known of it; see `read_image`.

    Raises:
        ImageError: As `read_image`.
    """
    try:
        if data is None:
            file = path if isinstance(path, UPath) else Path(path)
            if file.exists() and not file.is_file() and not file.is_dir():
                raise ImageError("it is not a regular file")
            data = file.read_bytes()
        return decode(data, max_pixels=max_pixels)
    except Exception as error:  # A decoder may raise anything for a damaged file.
        raise image_error(path, error, data) from error


def image_error(
    path: str | os.PathLike[str] | UPath, error: Exception, data: bytes | None
) -> ImageError:
    """The error of a file that cannot be decoded.

    Args:
        path: The file.
        error: What the decoder raised.
        data: The content of the file; None if it could not be read.
    """
    return ImageError(f"cannot read {path}: {_reason(error, data)}")


def _reason(error: Exception, data: bytes | None) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        if data is not None and is_heif(data) and not reads_heif():
            return f"it is HEIC; {HEIF_ADVICE}"
        return "it is not an image of a known format" if data else "it is empty"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    if isinstance(error, OSError) and error.errno is not None:
        return reason_of(error)
    # Messages of decoders may have several lines.
    return " ".join(reason_of(error).split())


def to_float(image: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Maps 8-bit values to [-1, 1]; 0 becomes -1 and 255 becomes 1.

    Example:
        >>> to_float(np.array([0, 51, 255], np.uint8))
        array([-1. , -0.6,  1. ], dtype=float32)
    """
    return image.astype(np.float32) / np.float32(127.5) - 1


def to_uint8(image: Float[Array | np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Maps values in [-1, 1] to 8 bits: rounded, clipped beyond the range, NaN becomes 0.

    It is the inverse of `to_float` on all 256 levels.

    Example:
        >>> to_uint8(np.array([-1.0, -0.6, 7.0, np.nan]))
        array([  0,  51, 255,   0], dtype=uint8)
    """
    levels = np.rint((np.asarray(image, np.float32) + 1) * 127.5)
    return np.clip(np.nan_to_num(levels), 0, 255).astype(np.uint8)


def write_png(
    path: str | os.PathLike[str] | UPath,
    image: UInt8[np.ndarray, "h w 3"],
    *,
    kind: Kind | None = None,
) -> None:
    """Writes an 8-bit RGB image as PNG, atomically; see `write_atomically`.

    Args:
        path: The file.
        image: The image.
        kind: Written into the file, so that sheets and maps are not taken for faces.
    """
    info = None if kind is None else mark(kind)
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG", pnginfo=info))


def reduce_picture(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Reduces a picture to `size` pixels on its shorter side; smaller ones stay unchanged."""
    height, width, _ = image.shape
    scale = size / min(height, width)
    if scale >= 1:
        return image
    reduced = (round(width * scale), round(height * scale))
    return np.array(Image.fromarray(image).resize(reduced, Image.Resampling.LANCZOS))
