"""Files and folders on local file systems, or in a remote store (gs://, s3://, memory://, file://).

Both are paths with the same methods. This file handles the differences: objects of a store appear
whole and cannot be appended to, its folders need not be made, and its listings are cached.

Local files are written beside their final path, flushed to the disk and renamed, so that a stopped
run, a full disk or a second process never leaves half a file under a result's name.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
from jaxtyping import Array, Shaped
from upath import UPath

from perceptual_jax.errors import Error, UsageError

Place = Path | UPath
"""A file or folder on a local file system (`Path`), or in a remote store (`UPath`)."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_remote(address: str) -> bool:
    """Whether a string is an address in a remote store.

    Example:
        >>> is_remote("gs://bucket/faces"), is_remote("faces"), is_remote("tfds:mnist")
        (True, False, False)
    """
    return _ADDRESS.match(address) is not None


def place_of(address: str | os.PathLike[str] | UPath) -> Place:
    """Converts a path or an address to a local path or a path in a store.

    Raises:
        UsageError: If no installed driver can reach the store.
    """
    if isinstance(address, UPath) and not isinstance(address, Path):
        return address
    if not isinstance(address, str) or not is_remote(address):
        return Path(address)
    try:
        place = UPath(address)
        _ = place.fs  # imports the driver
    except ImportError as error:
        raise UsageError(
            f"{address} cannot be reached ({error}); gs:// and s3:// need the extra `stores`"
        ) from error
    except ValueError as error:
        raise UsageError(f"{address} cannot be reached: {error}") from error
    return place


def names_in(folder: Place) -> set[str]:
    """Lists the names in a folder, bypassing caches; empty if the folder does not exist.

    Raises:
        OSError, or an error of the store's driver: If the folder cannot be listed.
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
    """Reads the bytes of an object in a store, from `start` to before `end`.

    Raises:
        OSError, or an error of the store's driver: If they cannot be read.
    """
    data: Any = place.fs.cat_file(place.path, start=start, end=end)
    return bytes(data)


def store_object(place: UPath, data: bytes) -> None:
    """Writes an object to a store atomically: readers see the old content or the new.

    Raises:
        OSError, or an error of the store's driver: If the object cannot be written.
    """
    place.fs.pipe_file(place.path, data)


def printable(path: str | Place) -> str:
    """A path as text, with undecodable bytes of its name escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def check_folder(out: Place) -> None:
    """Checks that a folder exists or can be made.

    Raises:
        UsageError: If `out` or one of its parents is a file, or its store cannot be listed.
    """
    if isinstance(out, UPath):
        try:
            names_in(out)
        except Exception as error:  # A store's driver may raise anything.
            reason = str(error) or type(error).__name__
            raise UsageError(f"the output folder {out} cannot be listed ({reason})") from error
        return
    if re.fullmatch(r"[a-z][a-z0-9+.-]+:", out.parts[0] if out.parts else "") and not out.exists():
        raise UsageError(f"{out} is an address in a store, and only restore writes there")
    try:
        for path in (out, *out.absolute().parents):
            if path.is_dir():
                return
            if path.exists() or path.is_symlink():
                raise UsageError(f"the output folder {out} cannot be made, for {path} is a file")
    except OSError as error:  # a name that is too long, for example
        raise UsageError(f"the output folder {out} cannot be made ({reason_of(error)})") from error


def refuse_existing(paths: Iterable[Place], *, overwrite: bool) -> None:
    """Checks that no file would be replaced, unless the user insists.

    Raises:
        UsageError: If one of the files exists, or a name is impossible.
    """
    by_folder: dict[Place, set[str]] = {}
    for path in () if overwrite else paths:
        folder = path.parent
        try:
            if folder not in by_folder:
                by_folder[folder] = names_in(folder) if folder.is_dir() else set()
                path.exists()  # fails for a name that is too long
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({reason_of(error)})") from error
        if path.name in by_folder[folder]:
            raise UsageError(f"{path} exists; choose another name or folder, or give --overwrite")


def make_folder(out: Place) -> None:
    """Makes a folder with its parents; does nothing in a store.

    Raises:
        UsageError: If the folder cannot be made.
    """
    if isinstance(out, UPath):
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot make the folder {out} ({reason}); choose another one") from error


def cache_folder() -> Path:
    """The folder for fetched and converted weights and compiled programs; it may not exist yet.

    It is `$PERCEPTUAL_JAX_CACHE`, else `perceptual_jax` in the user's cache folder.
    """
    if chosen := os.environ.get("PERCEPTUAL_JAX_CACHE"):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("perceptual_jax", appauthor=False)


class WriteError(Error, OSError):
    """A file that cannot be written; the message is one sentence for the user."""


def reason_of(error: Exception) -> str:
    """The reason why a file could not be read or written, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def write_atomically(
    path: str | os.PathLike[str] | UPath, content: bytes | Callable[[BinaryIO], object]
) -> None:
    """Writes a file whole or not at all, replacing one that exists.

    Args:
        path: The file, local or in a store; its folder must exist.
        content: The bytes, or a function that writes them to the binary file it is given.

    Raises:
        WriteError: If the disk is full or the folder cannot be written. An existing file is then
            unchanged, and no temporary file remains.

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
    except Exception as error:  # A store's driver may raise anything.
        raise WriteError(f"cannot write {path} ({reason_of(error)}); run it again later") from error


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of killed processes.

    For other machines, whose processes cannot be checked, a file counts as left after an hour.
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
    """Whether a process with this id runs on this machine."""
    import psutil  # `os.kill` with signal 0 asks on POSIX, and is Ctrl-C on Windows

    return psutil.pid_exists(pid)


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
    """Reads the object of a JSON file; None if the file is missing or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Serialises a value as strict JSON: NaN and infinities become null.

    Uses the standard library, since orjson would be one more package for every installation.

    Args:
        value: Dicts with string keys, lists and tuples of strings, numbers (also NumPy's), paths,
            booleans and None.
        indent: Spaces for each level; None gives one line.

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
