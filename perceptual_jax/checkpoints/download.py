"""Downloads files that are published at an address.

A download from an address is resumed where it stopped, checked, and never discarded:

    NAME.part   the incomplete file; the next call resumes it
    NAME        the complete file, whose hash was checked
    pins.json   hashes of files for which none is published, from their first download

This is not left to pooch, which does not resume.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from perceptual_jax.checkpoints.catalogue import Download, WeightsError
from perceptual_jax.io.files import load_json, save_json

Progress = Callable[[float, int], None]
"""Called with the bytes received and the total bytes, 0 where the total is unknown."""

_CHUNK = 2**20
_TIMEOUT_S = 60.0
_TRIES = 5


def fetch_file(source: Download, folder: Path, *, progress: Progress | None = None) -> Path:
    """The path of the file, downloaded first unless it exists.

    Args:
        source: The published file.
        folder: Folder of the file, its incomplete part and the pins; created if it is missing.
        progress: Called after every chunk.

    Raises:
        WeightsError: If it cannot be downloaded (the incomplete part is kept, and the next call
            resumes it), or is not the published file (it is kept under another name).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / source.name, folder / f"{source.name}.part"
    if path.exists():
        return check_file(source, path, folder)
    problem = "the connection ended early"
    for _ in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            whole = _append(source, part, progress or (lambda done, total: None))
        except urllib.error.HTTPError as error:
            raise WeightsError(
                f"could not fetch {source.url}: the server says {error.code} {error.reason}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            problem, whole = str(getattr(error, "reason", error)) or type(error).__name__, False
        if whole:
            part.rename(path)
            return check_file(source, path, folder)
        if not part.exists() or part.stat().st_size == before:
            break
    raise WeightsError(
        f"could not fetch {source.url} ({problem}); what was got is kept in {part}, and the same "
        "command goes on from there"
    )


def check_file(source: Download, path: Path, folder: Path) -> Path:
    """Checks the hash of a file; where none is published, the first download is pinned.

    Args:
        source: The published file.
        path: The file to check.
        folder: Folder of the downloads and the pins.

    Returns:
        `path`.

    Raises:
        WeightsError: If it is another file. It stays, but under another name in `folder`.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = expected_sha256(source, folder)
    if expected is None:
        save_json(folder / "pins.json", _pins(folder) | {source.url: found})
        return path
    if found == expected:
        return path
    if path.parent == folder:
        path = path.rename(folder / f"{source.name}.{found[:12]}.unexpected")
    raise WeightsError(
        f"{path} is not the published {source.name}: its SHA-256 is {found}, expected {expected}; "
        "it is kept there, and is not used"
    )


def expected_sha256(source: Download, folder: Path) -> str | None:
    """The published hash, or that of the first download; None before that."""
    return source.sha256 or _pins(folder).get(source.url)


def _pins(folder: Path) -> dict[str, str]:
    return load_json(folder / "pins.json") or {}


def _append(source: Download, part: Path, progress: Progress) -> bool:
    """Downloads the missing bytes; returns whether the file is complete."""
    there = part.stat().st_size if part.exists() else 0
    if source.size is not None and there == source.size:
        return True
    request = urllib.request.Request(source.url)
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:  # nothing is left, or the file is another one now
            if error.headers.get("Content-Range", "").endswith(f"/{there}"):
                return True
            part.unlink()
            return _append(source, part, progress)
        raise
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        there = file.tell()
        left = int(response.headers.get("Content-Length") or 0)
        total = source.size or (there + left if left else 0)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            progress(file.tell(), total)
        return not total or file.tell() >= total
