"""The log of a process: its results, its failures, and its progress.

    results.jsonl       a line for each input with a result, and for each that failed
    failures.jsonl      a line for each failed input: the reason, and the file's size and time
    .processes/*.json   counts and the seconds of each stage, every few seconds (`processes`)

With several processes, each has its own files (`results-00001.jsonl`).

On a local file system a line is appended at once, whole or not at all. Objects of a store cannot be
appended to: there, lines are buffered for some seconds and written as a part of their own,
`results.TIME.jsonl`, until the job ends and `put_in_order` makes one file of all parts. A process
that is killed loses its buffered lines, but not the records that they repeat.
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
from typing import Any, NamedTuple

from perceptual_jax.io.files import (
    Place,
    WriteError,
    json_text,
    load_json,
    names_in,
    write_atomically,
)
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.processes import Heartbeat, Share

Record = dict[str, Any]
"""The record of one input: a line of `results.jsonl`, and a JSON file if there is a result."""


class Failure(NamedTuple):
    """An input that was not restored, or whose search stopped early."""

    source: str
    """The path of the input, or the source that the caller named."""
    reason: str
    """One sentence for the user."""


RESULTS, FAILURES = "results", "failures"

_GATHER_S = 10.0


def input_path(record: Record) -> str:
    """The path of a record's input, or the source that the user named; unique among records."""
    return record["input"]["path"]


class Lines:
    """Appends lines to a file, from any thread."""

    def __init__(self, path: Place):
        """Writes nothing yet.

        Args:
            path: The file; an existing one is appended to.
        """
        self._path, self._lock = path, threading.Lock()
        self._waiting: list[bytes] = []
        self._sent = time.monotonic()

    def add(self, record: Record) -> None:
        """Appends a line; in a store, buffers it and writes the buffer when it is due.

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
        """Writes the buffered lines.

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
    """Yields the records of a file line by line; damaged lines are skipped."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            record = _parsed(line)
            if record is not None:
                yield record


def read_all_lines(out: Place, stem: str) -> Iterator[Record]:
    """Yields the records of the files of all processes whose names begin with `stem`."""
    for name in sorted(names_in(out)):
        if name.startswith(stem) and name.endswith(".jsonl"):
            yield from read_lines(out / name)


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def put_in_order(path: Place, paths: Iterable[str], fallbacks: Mapping[str, Place]) -> None:
    """Rewrites a results file with one line for each input: first `paths`, then all others.

    Args:
        path: The file; read line by line, since it may be large.
        paths: Paths of the inputs, in their order, see `input_path`.
        fallbacks: The record's file of an input, read if the input has no line.

    Raises:
        WriteError: If it cannot be written.
    """
    with _gathered(path) as (there, parts):
        found = _offsets(there)

        def write(target: Any) -> None:
            with contextlib.ExitStack() as stack:
                source = stack.enter_context(open(there, "rb")) if found else None
                for one in dict.fromkeys([*paths, *found]):
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
    """The file and its parts joined in one local file, and the list of the parts."""
    if isinstance(path, Path):
        yield path, []
        return
    there = names_in(path.parent)
    prefix = f"{path.stem}."
    names = [n for n in sorted(there) if n.startswith(prefix) and n.endswith(".jsonl")]
    parts: list[Place] = [path.parent / name for name in names if name != path.name]
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as folder:
        whole = Path(folder) / path.name
        with open(whole, "wb") as target:
            for part in ([path] if path.name in there else []) + parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        yield whole, parts


def _offsets(path: Path) -> dict[str, int]:
    """The byte offset of the last line of each input in a file."""
    found, at = {}, 0
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            record = _parsed(line)
            with contextlib.suppress(TypeError, KeyError):
                if record is not None:
                    found[input_path(record)] = at
            at += len(line)
    return found


class Journal:
    """Logs the records of a process, from any thread, and counts them."""

    def __init__(self, out: Place, share: Share, heartbeat: Heartbeat, total: int):
        """Writes nothing yet.

        Args:
            out: The job's folder.
            share: Which process of the job this is.
            heartbeat: The process's heartbeat, from `processes.hold_lease`.
            total: Number of pictures that this process has to restore.
        """
        self._results = Lines(out / share.file(RESULTS, ".jsonl"))
        self._failures = Lines(out / share.file(FAILURES, ".jsonl"))
        self.seconds: dict[str, float] = {}
        """Seconds spent in each stage."""
        self.total = total
        self.failures: list[Failure] = []
        """Failures of this process, in the order in which they were logged."""
        self._counts, self._lock = {"done": 0, "failed": 0}, threading.Lock()
        self._heartbeat = heartbeat
        heartbeat.note(total=total, seconds=self.seconds, **self._counts)

    def __enter__(self) -> "Journal":
        """Returns this journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Writes the lines that are still buffered.

        Raises:
            WriteError: If they cannot be written.
        """
        self._results.flush()
        self._failures.flush()

    def expect(self, total: int) -> None:
        """Sets the number of pictures that this process has to restore, once it is known."""
        self.total = total
        self._heartbeat.note(total=total)

    @property
    def done(self) -> int:
        """Number of pictures that this process has restored."""
        return self._counts["done"]

    def add(self, record: Record, source: Input | None) -> None:
        """Logs the record of an input; one that failed is also logged among the failures.

        Raises:
            WriteError: If it cannot be written.
        """
        failed = record["status"] != "OK"
        self._results.add(record)
        if failed:
            self._failures.add(failure_of(record, source))
            self.failures.append(Failure(input_path(record), record["message"]))
        self._count("failed" if failed else "done")

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1
            self._heartbeat.note(**self._counts)


def failure_of(record: Record, source: Input | None) -> Record:
    """A line of the failures; the file's size and time show whether it has changed since."""
    line = {"path": input_path(record), "name": record["name"], "reason": record["message"]}
    return line | stamp_of(source) | {"time": time.time()}


def stamp_of(source: Input | None) -> dict[str, float]:
    """The size and modification time of an input's file; empty where there is no file."""
    if source is None:
        return {}
    try:
        status = source.path.stat()
    except OSError:
        return {}
    return {"size": status.st_size, "mtime": status.st_mtime}


def quarantined(out: Place) -> dict[str, Record]:
    """The last failure of each input by its path, over all processes."""
    lines = read_all_lines(out, FAILURES)
    return {line["path"]: line for line in lines if isinstance(line.get("path"), str)}
