"""The formats that pictures are written in: PNG, JPEG or WebP, chosen by an option or a name."""

import dataclasses
import io
import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.own_files import Kind, mark

Format = Literal["png", "jpeg", "webp"]

_QUALITY = {"jpeg": 95, "webp": 90}
_EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_LOSSLESS = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
_OWNER = "perceptual_jax"
_SOFTWARE = 305


@dataclasses.dataclass(frozen=True)
class Encoding:
    """The format of a written picture.

    Raises:
        UsageError: If the format is unknown, or the quality is out of its range or not the
            format's.
    """

    format: Format = "png"
    quality: int | None = None
    """1 to 100, for JPEG and WebP; None for 95 and 90."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.format not in _EXTENSIONS:
            raise UsageError(f"format must be png, jpeg or webp, got {self.format!r}")
        if self.quality is None:
            return
        if self.format == "png":
            raise UsageError("quality is for jpeg and webp; png has none, give another format")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be from 1 to 100, got {self.quality}")

    @property
    def extension(self) -> str:
        """The extension of its files, with the dot."""
        return _EXTENSIONS[self.format]

    def __str__(self) -> str:
        """The format, with its quality if it has one."""
        if self.format == "png":
            return "png"
        return f"{self.format} {self.used_quality}"

    @property
    def used_quality(self) -> int | None:
        """The quality, also where none was given; None for PNG."""
        return self.quality or _QUALITY.get(self.format)

    def encode(self, image: UInt8[np.ndarray, "h w 3"], kind: Kind) -> bytes:
        """The bytes of a file, which has the mark of its kind, see `own_files`."""
        file, picture = io.BytesIO(), Image.fromarray(image)
        quality = self.used_quality
        if self.format == "png":
            picture.save(file, "PNG", pnginfo=mark(kind))
        elif self.format == "jpeg":
            comment = f"{_OWNER} {kind}".encode()
            picture.save(file, "JPEG", quality=quality, subsampling=0, comment=comment)
        else:
            exif = Image.Exif()
            exif[_SOFTWARE] = f"{_OWNER} {kind}"
            picture.save(file, "WEBP", quality=quality, exif=exif)
        return file.getvalue()


PNG = Encoding()


def check_suffix(suffix: str) -> None:
    """Checks a suffix of the names of results.

    Raises:
        UsageError: If it could make the name of another file of the run, or is no part of a name.
    """
    whole = re.fullmatch(r"[._-][^/\\\0]{1,60}", suffix)
    if suffix and (whole is None or re.search(r"_(nll|spread|s\d\d+)$", suffix.casefold())):
        raise UsageError(
            f"suffix must begin with _, - or . and not be that of a map or sample, got {suffix!r}"
        )


def is_ours(data: bytes) -> bool:
    """Whether a picture was written by this project."""
    return _OWNER.encode() in data


def lossless_format(path: Path) -> str:
    """The format that a file's extension asks for.

    Raises:
        UsageError: If it is none that keeps all values.
    """
    extension = path.suffix.lower()
    if extension not in _LOSSLESS:
        names = ", ".join(_LOSSLESS)
        raise UsageError(f"{path} must end in one of {names}, which keep all values")
    return _LOSSLESS[extension]


def write_lossless(
    path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"], kind: Kind
) -> None:
    """Writes a picture in the format of the path's extension, atomically.

    Raises:
        UsageError: If the format of the extension does not keep all values.
        WriteError: If the file cannot be written.
    """
    name = lossless_format(Path(path))
    options = {"PNG": {"pnginfo": mark(kind)}, "WEBP": {"lossless": True}}.get(name, {})
    write_atomically(path, lambda file: Image.fromarray(image).save(file, name, **options))
