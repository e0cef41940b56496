"""Files of JSON lines that grow while a job runs: `results.jsonl`, `failures.jsonl`.

On this machine a line is added to the file at once, whole or not at all. A store's objects cannot
be added to: there lines gather for some seconds and go out as a part of their own,
`results.TIME.jsonl`, until the job ends and `put_in_order` makes one file of all parts. A process
that is killed loses lines that had not gone out; the records that they repeat are there.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from perceptual_jax.io.files import (
    Place,
    WriteError,
    json_text,
    load_json,
    names_in,
    write_atomically,
)
from perceptual_jax.restoration.records import Record, place

_GATHER_S = 10.0


class Lines:
    """Adds lines to a file, from any thread."""

    def __init__(self, path: Place):
        """Writes nothing yet.

        Args:
            path: The file; one that exists is added to.
        """
        self._path, self._lock = path, threading.Lock()
        self._waiting: list[bytes] = []
        self._sent = time.monotonic()

    def add(self, record: Record) -> None:
        """Adds a line, or some lines that have gathered.

        Raises:
            WriteError: If they cannot be written.
        """
        line = (json_text(record) + "\n").encode()
        with self._lock:
            if isinstance(self._path, Path):
                _append(self._path, line)
                return
            self._waiting.append(line)
            if time.monotonic() - self._sent > _GATHER_S:
                self._send()

    def flush(self) -> None:
        """Writes lines that have gathered.

        Raises:
            WriteError: If they cannot be written.
        """
        with self._lock:
            if self._waiting:
                self._send()

    def _send(self) -> None:
        part = self._path.with_name(f"{self._path.stem}.{time.time_ns():020d}.jsonl")
        write_atomically(part, b"".join(self._waiting))
        self._waiting, self._sent = [], time.monotonic()


def _append(path: Path, line: bytes) -> None:
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if file.write(line) != len(line):
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WriteError(f"cannot write {path} ({reason})") from error


def read_lines(path: Place) -> Iterator[Record]:
    """The lines of a file, one at a time; broken ones are left out."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            record = _parsed(line)
            if record is not None:
                yield record


def read_all_lines(out: Place, stem: str) -> Iterator[Record]:
    """The lines of all processes' files of a kind, and of all their parts."""
    for name in sorted(names_in(out)):
        if name.startswith(stem) and name.endswith(".jsonl"):
            yield from read_lines(out / name)


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def put_in_order(path: Place, places: Iterable[str], fallbacks: Mapping[str, Place]) -> None:
    """Rewrites a results file: one line for each place, those named first; others after them.

    Args:
        path: The file; read line by line, since it may be large.
        places: Of the inputs, in their order.
        fallbacks: For a place without a line, its record's file.

    Raises:
        WriteError: If it cannot be written.
    """
    with _gathered(path) as (there, parts):
        found = _offsets(there)

        def write(target: Any) -> None:
            with contextlib.ExitStack() as stack:
                source = stack.enter_context(open(there, "rb")) if found else None
                for one in dict.fromkeys([*places, *found]):
                    if source is not None and one in found:
                        source.seek(found[one])
                        target.write(source.readline().rstrip(b"\n") + b"\n")
                    elif one in fallbacks and (record := load_json(fallbacks[one])):
                        target.write((json_text(record) + "\n").encode())

        write_atomically(path, write)
    for part in parts:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _gathered(path: Place) -> Iterator[tuple[Path, list[Place]]]:
    """The file with its parts as one file of this machine, and the parts."""
    if isinstance(path, Path):
        yield path, []
        return
    there = names_in(path.parent)
    begin = f"{path.stem}."
    names = [n for n in sorted(there) if n.startswith(begin) and n.endswith(".jsonl")]
    parts: list[Place] = [path.parent / name for name in names if name != path.name]
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as folder:
        whole = Path(folder) / path.name
        with open(whole, "wb") as target:
            for part in ([path] if path.name in there else []) + parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        yield whole, parts


def _offsets(path: Path) -> dict[str, int]:
    """Where in a file the last line of each place begins."""
    found, at = {}, 0
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            record = _parsed(line)
            with contextlib.suppress(TypeError, KeyError):
                if record is not None:
                    found[place(record)] = at
            at += len(line)
    return found
