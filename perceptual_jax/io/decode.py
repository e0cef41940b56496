"""Decodes the bytes of an image file to 8-bit sRGB, as a viewer would show it.

    bytes -> Pillow -> samples of the file's depth -> 8 bits -> sRGB -> over white -> upright

Pillow decodes the pixels of all formats. What it leaves to the caller is done here: the white of
each depth, white-is-zero, signed samples, transparent values, colours (`colour`), and files that
are sound but for their metadata or their end (`repairs`).
"""

import io
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from perceptual_jax.errors import Error
from perceptual_jax.io import repairs
from perceptual_jax.io.colour import Colours, conversion
from perceptual_jax.io.formats import reads_heif

NO_METADATA = "its metadata cannot be read and is left aside"
NO_END = "it lacks its end, but no pixels"
TINY_RANGE = (
    "its values fill less than a 256th of their range, so it looks black; rescale it if they are "
    "of 8 bits"
)
SIGNED = "its samples are signed: the lowest is shown as black and the highest as white"

_ORIENTATION = 0x0112
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Layers(NamedTuple):
    """A decoded picture with its transparency and its metadata."""

    pixels: UInt8[np.ndarray, "h w 3"]
    """In sRGB and upright, also where they are transparent."""
    alpha: UInt8[np.ndarray, "h w"] | None
    """Opacity; None if all is opaque."""
    exif: bytes | None
    """The file's EXIF, as it is."""
    dpi: tuple[float, float] | None
    """Pixels per inch, if the file says so."""
    notes: tuple[str, ...]
    """As in `Decoded`."""
    as_stored: bool
    """As in `Decoded`."""


class Decoded(NamedTuple):
    """A decoded picture."""

    pixels: UInt8[np.ndarray, "h w 3"]
    notes: tuple[str, ...]
    """What the user should know of it: predicates whose subject is the file."""
    as_stored: bool
    """Whether the pixels are those that the format's decoder gave, so that the header of a JPEG
    describes them: in sRGB and upright."""


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Decodes an image file, with transparent parts over white.

    Args:
        data: The content of the file.
        max_pixels: Larger images are refused before they are decoded.

    Raises:
        Exception: Whatever Pillow raises if the file is no image, or truncated or damaged;
            ValueError if it is too large, or its values are out of their range.
    """
    layers = decode_layers(data, max_pixels=max_pixels)
    pixels = layers.pixels
    if layers.alpha is not None:
        pixels = over_white(pixels, layers.alpha)
    return Decoded(pixels, layers.notes, layers.as_stored)


def decode_layers(data: bytes, *, max_pixels: int) -> Layers:
    """Decodes an image file with its transparency and its metadata.

    Args:
        data: As in `decode`.
        max_pixels: As in `decode`.

    Raises:
        Exception: As `decode`.
    """
    reads_heif()
    notes: list[str] = []
    with warnings.catch_warnings(action="ignore"), _opened(data, max_pixels, notes) as image:
        turn = _TURNS.get(_orientation(image))
        exif, dpi = _exif(image), _resolution(image)
        samples = _samples(image, data, notes)
        convert, note = conversion(_colours(image, data), samples.mode)
        notes += [note] if note else []
    pixels, alpha = _shown(samples, convert), samples.alpha
    if turn is not None:
        pixels = np.array(Image.fromarray(pixels).transpose(turn))
        alpha = None if alpha is None else np.array(Image.fromarray(alpha).transpose(turn))
    plain = convert is None and turn is None and alpha is None
    return Layers(pixels, alpha, exif, dpi, tuple(notes), plain)


def over_white(
    pixels: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A transparent picture composited over white."""
    rgba = Image.fromarray(np.concatenate([pixels, alpha[:, :, None]], axis=2), "RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255))
    return np.array(Image.alpha_composite(white, rgba).convert("RGB"))


def _opened(data: bytes, max_pixels: int, notes: list[str]) -> Image.Image:
    """The loaded image; a file that Pillow refuses is repaired if only its metadata is at fault."""
    try:
        return _loaded(data, max_pixels)
    except TooLargeError:
        raise
    except Exception as error:  # A decoder may raise anything for a damaged file.
        for repair, note in ((repairs.without_metadata, NO_METADATA), (repairs.with_end, NO_END)):
            try:
                repaired = repair(data)
                image = None if repaired is None else _loaded(repaired, max_pixels)
            except TooLargeError:
                raise
            except Exception:
                continue
            if image is not None:
                notes.append(note)
                return image
        raise error


class TooLargeError(Error, ValueError):
    """An image of more pixels than are read; the message is a clause for the user."""


def _loaded(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    if width * height > max_pixels:
        raise TooLargeError(
            f"{width} x {height} pixels are more than the {max_pixels:,} that are read"
        )
    image.load()
    if repairs.has_damaged_pixels(data):
        raise ValueError("its pixels fail their checksum")
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Metadata of any form; the pixels do not depend on it.
        return 1


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF of a file; of a TIFF, whose own tags would be among it, what a camera wrote."""
    try:
        data = image.info.get("exif") or image.getexif().tobytes()
    except Exception:  # As above.
        return None
    return bytes(data) if data else None


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if min(x, y) > 0 and max(x, y) < 1e6 else None


def _colours(image: Image.Image, data: bytes) -> Colours:
    if image.format == "PNG":
        return repairs.png_colours(data)
    profile = image.info.get("icc_profile")
    if profile:
        return Colours(profile=bytes(profile))
    return Colours(codes=repairs.nclx_colours(data))


class _Samples(NamedTuple):
    """The channels of a picture before its colours are converted."""

    mode: str
    """RGB, L, CMYK or LAB."""
    levels: Float[np.ndarray, "h w c"] | UInt8[np.ndarray, "h w c"]
    """0 to 255; of one channel, also fractions of levels."""
    alpha: UInt8[np.ndarray, "h w"] | None


def _samples(image: Image.Image, data: bytes, notes: list[str]) -> _Samples:
    tags: Any = getattr(image, "tag_v2", {}) if image.format in ("TIFF", "MPO") else {}
    depth = repairs.png_depth(data) if image.format == "PNG" else _tiff_depth(tags)
    signed = 2 in _as_tuple(tags.get(_SAMPLE_FORMAT, 1))
    if image.mode.startswith("I") or image.mode == "F" or (signed and image.mode == "L"):
        values = np.asarray(image)
        grey = _fraction(values, depth=depth, signed=signed, mode=image.mode, notes=notes)
        if tags.get(_PHOTOMETRIC) == 0:
            grey = 1 - grey
        transparent = image.info.get("transparency")
        alpha = None
        if isinstance(transparent, int):
            alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        return _Samples("L", 255 * grey[:, :, None], alpha)
    image = _with_scaled_transparency(image, depth)
    alpha = None
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.getchannel("R") if grey else image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    levels = np.array(image)
    levels = levels if levels.ndim == 3 else levels[:, :, None]
    if depth > 8 and image.mode == "RGB" and levels.max(initial=0) == 0:
        notes.append(TINY_RANGE)
    if alpha is not None and (alpha == 255).all():
        alpha = None
    return _Samples(image.mode, levels, alpha)


def _tiff_depth(tags: Any) -> int:
    """Bits of a sample of a TIFF; 16 for the wide modes of other formats, which Pillow scales."""
    return max(
        (bits for bits in _as_tuple(tags.get(_BITS, 16)) if isinstance(bits, int)), default=8
    )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _with_scaled_transparency(image: Image.Image, depth: int) -> Image.Image:
    """The image with a PNG's transparent value at 8 bits; Pillow leaves it at the file's depth."""
    value = image.info.get("transparency")
    if image.format != "PNG" or depth == 8 or isinstance(value, bytes):
        return image
    if image.mode == "L" and isinstance(value, int):
        image.info["transparency"] = value * 255 // (2**depth - 1)
    elif image.mode == "RGB" and isinstance(value, tuple):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)
    return image


def _fraction(
    values: Shaped[np.ndarray, "h w"], *, depth: int, signed: bool, mode: str, notes: list[str]
) -> Float[np.ndarray, "h w"]:
    """Maps wide or signed samples to [0, 1], from black to white."""
    black, white = 0.0, float(2**depth - 1)
    if mode == "F":
        white = 1.0
    elif mode == "I" and depth == 32 and not signed:
        values = values.astype(np.int32).view(np.uint32)
    elif signed:
        values = values.astype(np.uint8).view(np.int8) if mode == "L" else values
        notes.append(SIGNED)
        white = float(2 ** (depth - 1) - 1)
        if depth < 32 and values.min(initial=0) < 0:
            black = -white - 1
        elif depth == 32 and values.max(initial=0) < 2**16:
            white = 65535.0  # as Pillow and others store 16 bits
            notes.pop()
    elif mode == "I" and depth < 16:
        white = 65535.0
    low, high = values.min(initial=0), values.max(initial=0)
    if not (low >= black and high <= white):
        raise ValueError(
            f"its values must lie in {black:.0f} to {white:.0f}, got {low} to {high}; rescale it"
        )
    if mode != "F" and black == 0 and 0 < high < white / 256:
        notes.append(TINY_RANGE)
    return (values.astype(np.float64) - black) / (white - black)


def _shown(samples: _Samples, convert: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The samples in sRGB."""
    levels = samples.levels
    if samples.mode == "L":
        ramp = np.arange(256, dtype=np.uint8)[None, :, None]
        table = np.repeat(ramp, 3, axis=2) if convert is None else convert(ramp)
        if levels.dtype == np.uint8:
            pixels = table[0][levels[:, :, 0]]
        else:  # a table of 256 levels is interpolated
            pixels = np.stack(
                [np.interp(levels[:, :, 0], np.arange(256), table[0, :, c]) for c in range(3)],
                axis=-1,
            )
            pixels = np.rint(pixels).astype(np.uint8)
    else:
        pixels = levels if convert is None else convert(levels)
    return np.ascontiguousarray(pixels)
