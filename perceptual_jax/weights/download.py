"""A published checkpoint from its address: resumed where it stopped, checked, never thrown away.

NAME.part   while it is not whole; the next call goes on from there
NAME        whole, and the published one
pins.json   hashes of files for which none is published, from their first download
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from perceptual_jax.io.files import load_json, save_json
from perceptual_jax.weights.catalogue import Download, WeightsError

Progress = Callable[[float, int], None]
"""Bytes there, and bytes of the whole; 0 where that is unknown."""

_CHUNK = 2**20
_TIMEOUT_S = 60.0
_TRIES = 5


def fetch_file(source: Download, folder: Path, *, progress: Progress | None = None) -> Path:
    """The file, downloaded unless it is there.

    Args:
        source: What to get.
        folder: For the file, what there is of it, and the pins; made if it is missing.
        progress: Called now and then.

    Raises:
        WeightsError: If it cannot be got (what was got is kept, the next call goes on from
            there), or is not the published file (it is kept under another name).
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
    """The path, if the file there is the published one; the first of its kind is pinned.

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
    """Gets what is missing; whether all is there now."""
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
