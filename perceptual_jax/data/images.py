"""Image files to arrays and back; results written whole or not at all.

Every file that Pillow opens becomes uint8 RGB of the picture as a viewer would show it: turned
upright by its EXIF orientation, transparent parts over white, the first frame of several. Sizes
are checked from the header, before anything is decoded.

Files are written beside their final place, flushed to the disk and renamed, so that a stopped
run, a full disk or a second process never leaves half a file under a result's name.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt8
from PIL import Image, ImageOps
from upath import UPath

from perceptual_jax.data.places import Place, store_object

MAX_PIXELS = 2**26
"""Largest image that is decoded: 8192 x 8192, 200 MB as RGB."""

_BACKGROUND = (255, 255, 255)


class ImageError(ValueError):
    """An image that cannot be read; the message is one sentence for the user."""


class WriteError(OSError):
    """A file that cannot be written; the message is one sentence for the user."""


def read_image(
    path: str | os.PathLike[str] | UPath, *, max_pixels: int = MAX_PIXELS, data: bytes | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Any image file as 8-bit RGB.

    Grey images get three equal channels and transparent parts lie over white. Of more than 8
    bits, integers are taken as 0 to 65535 and floats as 0 to 1. CMYK is converted without a
    colour profile.

    Args:
        path: The file. Its content decides how it is read, not its extension.
        max_pixels: Larger images are refused before they are decoded.
        data: The content, where it is at hand or comes from elsewhere.

    Raises:
        ImageError: If the file is missing, is no image, is truncated or damaged, is too large, or
            holds values outside its range. The message names the file.
    """
    try:
        # Pillow's warnings concern metadata and its own size limit, which is checked here.
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
    except Exception as error:  # A decoder given a damaged file may raise anything.
        raise ImageError(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


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
    """8-bit values to [-1, 1]; 0 becomes -1 and 255 becomes 1.

    Example:
        >>> to_float(np.array([0, 51, 255], np.uint8))
        array([-1. , -0.6,  1. ], dtype=float32)
    """
    return image.astype(np.float32) / np.float32(127.5) - 1


def to_uint8(image: Float[Array | np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Values in [-1, 1] to 8 bits: rounded, clipped beyond the range, NaN becomes 0.

    Inverse of `to_float` on all 256 levels.

    Example:
        >>> to_uint8(np.array([-1.0, -0.6, 7.0, np.nan]))
        array([  0,  51, 255,   0], dtype=uint8)
    """
    levels = np.rint((np.asarray(image, np.float32) + 1) * 127.5)
    return np.clip(np.nan_to_num(levels), 0, 255).astype(np.uint8)


def write_atomically(
    path: str | os.PathLike[str] | UPath, content: bytes | Callable[[BinaryIO], object]
) -> None:
    """Writes a file whole or not at all, replacing one that exists.

    Args:
        path: The file, of this machine or of a store; its folder must exist.
        content: The bytes, or a function that writes them to the binary file it is given.

    Raises:
        WriteError: If the disk is full or the folder cannot be written. An existing file is then
            as it was, and nothing else is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder, "a.txt"), b"whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    if isinstance(path, UPath):
        return _store(path, content)
    path = Path(path)
    temporary = path.with_name(f".{_host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WriteError(
            f"cannot write {path} ({reason}); free some space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _store(path: UPath, content: bytes | Callable[[BinaryIO], object]) -> None:
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        content(buffer)
        content = buffer.getvalue()
    try:
        store_object(path, content)
    except Exception as error:  # Whatever a store's driver raises.
        raise WriteError(f"cannot write {path} ({_reason(error)}); run it again later") from error


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left of files that they were writing.

    Those of other machines, which cannot be asked, are removed when they are an hour old.
    """
    for path in folder.glob(".*-*-*.tmp"):
        host, pid, _ = path.name[1:].split("-", 2)
        with contextlib.suppress(OSError, ValueError):
            if host == _host():
                dead = not is_alive(int(pid))
            else:
                dead = time.time() - path.stat().st_mtime > 3600
            if dead:
                path.unlink()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_png(path: str | os.PathLike[str] | UPath, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes an 8-bit RGB image as PNG, atomically; see `write_atomically`."""
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG"))


def save_npz(
    path: str | os.PathLike[str] | UPath, arrays: Mapping[str, Shaped[Array | np.ndarray, "..."]]
) -> None:
    """Writes named arrays as `.npz`, atomically; equal arrays give equal bytes."""
    named: dict[str, Any] = dict(arrays)
    write_atomically(path, lambda file: np.savez(file, **named))


def save_json(path: str | os.PathLike[str] | UPath, value: Any) -> None:
    """Writes a value as indented JSON, atomically; see `json_text`."""
    write_atomically(path, (json_text(value, indent=2) + "\n").encode())


def load_json(path: Place) -> dict[str, Any] | None:
    """The object of a JSON file; None if there is none, or it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that every reader accepts: NaN and infinities become null.

    Args:
        value: Dicts with string keys, lists and tuples of strings, numbers (also of numpy), paths,
            booleans and None.
        indent: Spaces of a level; None gives one line.

    Example:
        >>> json_text({"mse": float("nan"), "steps": np.int32(3)})
        '{"mse": null, "steps": 3}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
