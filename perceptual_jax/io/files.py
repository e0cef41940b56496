"""Files and folders of this machine, or of a remote store (gs://, s3://, memory://, file://).

Both are paths with the same methods. What stores do in another way is here: their objects appear
whole and cannot be added to, their folders need not be made, and their listings are remembered.

Files of this machine are written beside their final place, flushed to the disk and renamed, so that
a stopped run, a full disk or a second process never leaves half a file under a result's name.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Array, Shaped
from upath import UPath

from perceptual_jax.errors import Error, UsageError

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


def printable(path: str | Place) -> str:
    """A path as text, with the bytes of its name that are no text escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def check_folder(out: Place) -> None:
    """Makes sure that a folder is there or can be made.

    Raises:
        UsageError: If `out`, or what would hold it, is a file, or its store does not answer.
    """
    if isinstance(out, UPath):
        try:
            names_in(out)
        except Exception as error:  # Whatever a store's driver raises.
            reason = str(error) or type(error).__name__
            raise UsageError(f"the output folder {out} cannot be listed ({reason})") from error
        return
    for path in (out, *out.absolute().parents):
        if path.is_dir():
            return
        if path.exists() or path.is_symlink():
            raise UsageError(f"the output folder {out} cannot be made, for {path} is a file")


def make_folder(out: Place) -> None:
    """Makes the folder, where folders have to be made.

    Raises:
        UsageError: If the system refuses.
    """
    if isinstance(out, UPath):
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot make the folder {out} ({reason}); choose another one") from error


def cache_folder() -> Path:
    """Where what is fetched, converted and compiled is kept; it may not exist yet."""
    if chosen := os.environ.get("PERCEPTUAL_JAX_CACHE"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "perceptual_jax"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "perceptual_jax" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "perceptual_jax"
    return Path.home() / ".cache" / "perceptual_jax"


class WriteError(Error, OSError):
    """A file that cannot be written; the message is one sentence for the user."""


def reason_of(error: Exception) -> str:
    """Why a file could not be read or written, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


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
        raise WriteError(f"cannot write {path} ({reason_of(error)}); run it again later") from error


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
