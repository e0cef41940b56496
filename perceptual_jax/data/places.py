"""Places of files: on this machine, or in a remote store (gs://, s3://, memory://, file://).

Both are paths with the same methods. What stores do in another way is here: their objects appear
whole and cannot be added to, their folders need not be made, and their listings are remembered.
"""

import os
import re
from pathlib import Path
from typing import Any

from upath import UPath

from perceptual_jax.checked import UsageError

Place = Path | UPath
"""A file or folder of this machine (`Path`), or of a store (`UPath`)."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_remote(address: str) -> bool:
    """Whether it is the address of a remote store.

    Example:
        >>> is_remote("gs://bucket/faces"), is_remote("faces"), is_remote("tfds:mnist")
        (True, False, False)
    """
    return _ADDRESS.match(address) is not None


def place_of(address: str | os.PathLike[str] | UPath) -> Place:
    """The place that a path or an address names.

    Raises:
        UsageError: If it is in a store that nothing installed here can reach.
    """
    if isinstance(address, UPath) and not isinstance(address, Path):
        return address
    if not isinstance(address, str) or not is_remote(address):
        return Path(address)
    try:
        place = UPath(address)
        _ = place.fs  # looks for the driver
    except (ImportError, ValueError) as error:
        raise UsageError(f"{address} cannot be reached: {error}") from error
    return place


def names_in(folder: Place) -> set[str]:
    """The names of all that is in a folder now; none, if there is no folder.

    Raises:
        OSError, or what a store's driver raises: If it cannot be listed.
    """
    try:
        if isinstance(folder, Path):
            return set(os.listdir(folder))
        folder.fs.invalidate_cache()
        found = folder.fs.ls(folder.path, detail=False)
    except FileNotFoundError:
        return set()
    return {str(path).rstrip("/").rpartition("/")[2] for path in found}


def read_object(place: UPath, *, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of an object of a store, or some of them.

    Raises:
        OSError, or what a store's driver raises: If they cannot be read.
    """
    data: Any = place.fs.cat_file(place.path, start=start, end=end)
    return bytes(data)


def store_object(place: UPath, data: bytes) -> None:
    """Writes an object of a store: readers see all of it, or what was there before.

    Raises:
        OSError, or what a store's driver raises: If it cannot be written.
    """
    place.fs.pipe_file(place.path, data)
