"""The formats of pictures that can be read, by their extensions, and what a folder leaves out."""

import functools
import os
from collections import Counter

from PIL import Image

_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises but leaves to other programs."""

HEIF_EXTENSIONS = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})

HEIF_ADVICE = "install pillow-heif to read them: pip install 'perceptual-jax[heif]'"


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC and HEIF can be read, with the optional package pillow-heif.

    The first call registers its decoder with Pillow.
    """
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIC or HEIF and not AVIF, by the brand in its first bytes."""
    brand = data[8:12]
    return data[4:8] == b"ftyp" and brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim")


@functools.cache
def extensions() -> frozenset[str]:
    """The extensions of the formats that are decoded, in lower case."""
    reads_heif()
    formats = Image.registered_extensions()
    return frozenset(
        extension
        for extension, name in formats.items()
        if name in Image.OPEN and name not in _NOT_DECODED
    )


class LeftOut:
    """Counts the files that folders, globs and archives leave out, by extension."""

    def __init__(self) -> None:
        """Starts at zero."""
        self.own = 0
        """Sheets and maps of this project."""
        self._others: Counter[str] = Counter()

    def is_image(self, name: str) -> bool:
        """Whether a file has a picture's extension; a visible one that has none is counted."""
        if name.startswith("."):
            return False
        extension = os.path.splitext(name)[1].lower()
        if extension in extensions():
            return True
        self._others[extension] += 1
        return False

    def __str__(self) -> str:
        """One sentence without its subject and full stop; empty if nothing was left out."""
        parts = [
            f"{count} {extension or 'without an extension'}"
            for extension, count in sorted(self._others.items())
        ]
        if self.own:
            what = "sheet or map" if self.own == 1 else "sheets or maps"
            parts.append(f"{self.own} {what} of this tool")
        advice = f"; {HEIF_ADVICE}" if HEIF_EXTENSIONS & self._others.keys() else ""
        return f"left out, for they are no pictures: {', '.join(parts)}{advice}" if parts else ""
