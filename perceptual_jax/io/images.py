"""Reads image files as arrays and writes them.

Every file that Pillow opens is read as uint8 RGB, as a viewer would show it: turned upright by its
EXIF orientation, transparent parts over white, the first frame of several. Sizes
are checked from the header, before anything is decoded.
"""

import io
import os
import warnings
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt8
from PIL import Image, ImageOps
from upath import UPath

from perceptual_jax.errors import Error
from perceptual_jax.io.files import reason_of, write_atomically
from perceptual_jax.io.own_files import Kind, mark

MAX_PIXELS = 2**26
"""Largest image that is decoded: 8192 x 8192, 200 MB as RGB."""

_BACKGROUND = (255, 255, 255)


class ImageError(Error, ValueError):
    """An image that cannot be read; the message is one sentence for the user."""


def read_image(
    path: str | os.PathLike[str] | UPath, *, max_pixels: int = MAX_PIXELS, data: bytes | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads any image file as 8-bit RGB.

    Grey images get three equal channels and transparent parts are composited over white. Beyond 8
    bits, the range of integers is 0 to 65535 and that of floats 0 to 1. CMYK is converted without
    a colour profile.

    Args:
        path: The file. Its content decides the format, not its extension.
        max_pixels: Larger images are refused before they are decoded.
        data: The content of the file, if it is already read or does not come from a file.

    Raises:
        ImageError: If the file is missing, is not an image, is truncated or damaged, is too large,
            or holds values outside its range. The message names the file.
    """
    try:
        # Pillow warns about metadata and its size limit, which `max_pixels` replaces.
        if data is None and isinstance(path, UPath):
            data = path.read_bytes()
        source: Any = path if data is None else io.BytesIO(data)
        with warnings.catch_warnings(action="ignore"), Image.open(source) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    f"{width} x {height} pixels are more than the {max_pixels:,} that are read"
                )
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # A decoder may raise anything for a damaged file.
        raise ImageError(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    return reason_of(error)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith("I"):
        return _grey(np.asarray(image), white=65535)
    if image.mode == "F":
        return _grey(np.asarray(image), white=1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, _BACKGROUND)
        image = Image.alpha_composite(background, image)
    return np.array(image.convert("RGB"))


def _grey(values: Shaped[np.ndarray, "h w"], *, white: int) -> UInt8[np.ndarray, "h w 3"]:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):
        raise ImageError(f"its values must lie in 0 to {white}, got {low} to {high}; rescale it")
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


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
