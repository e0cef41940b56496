"""What a process notes while it works: results, failures, and how it is getting on.

    results.jsonl       a line for each input with a result, and for each that failed
    failures.jsonl      those that failed, with why and what the file was
    .processes/*.json   counts and the seconds of each stage, every few seconds (`processes`)

Of several processes each has its own files (`results-00001.jsonl`).

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
"""What is known of one input: a line of `results.jsonl`; a file of its own if it has a result."""


class Failure(NamedTuple):
    """An input that was not restored, or not to the end."""

    source: str
    """Its path, or what the caller named."""
    reason: str
    """One sentence."""


RESULTS, FAILURES = "results", "failures"

_GATHER_S = 10.0


def place(record: Record) -> str:
    """Where a record's input is, or what the user typed: what tells records apart."""
    return record["input"]["path"]


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


class Journal:
    """Adds lines, from any thread, and keeps count of them."""

    def __init__(self, out: Place, share: Share, beat: Heartbeat, total: int):
        """Writes nothing yet.

        Args:
            out: The job's folder.
            share: Of the job.
            beat: From `processes.hold`.
            total: Pictures that this process has to restore.
        """
        self._results = Lines(out / share.file(RESULTS, ".jsonl"))
        self._failures = Lines(out / share.file(FAILURES, ".jsonl"))
        self.seconds: dict[str, float] = {}
        """Of each stage."""
        self.total = total
        self.failures: list[Failure] = []
        """Of this process, in the order in which they were noted."""
        self._counts, self._lock = {"done": 0, "failed": 0}, threading.Lock()
        self._beat = beat
        beat.note(total=total, seconds=self.seconds, **self._counts)

    def __enter__(self) -> "Journal":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Writes lines that are still to be written.

        Raises:
            WriteError: If they cannot be.
        """
        self._results.flush()
        self._failures.flush()

    @property
    def done(self) -> int:
        """Results of this process that are good."""
        return self._counts["done"]

    def add(self, record: Record, source: Input | None) -> None:
        """Notes a record of an input; one that failed is also noted among the failures.

        Raises:
            WriteError: If it cannot be written.
        """
        failed = record["status"] != "OK"
        self._results.add(record)
        if failed:
            self._failures.add(failure_of(record, source))
            self.failures.append(Failure(place(record), record["message"]))
        self._count("failed" if failed else "done")

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1
            self._beat.note(**self._counts)


def failure_of(record: Record, source: Input | None) -> Record:
    """A line of the failures; the file's size and time tell whether it is still the same."""
    line = {"path": place(record), "name": record["name"], "reason": record["message"]}
    return line | stamp_of(source) | {"time": time.time()}


def stamp_of(source: Input | None) -> dict[str, float]:
    """Size and time of change of an input's file, where there is one."""
    if source is None:
        return {}
    try:
        status = source.path.stat()
    except OSError:
        return {}
    return {"size": status.st_size, "mtime": status.st_mtime}


def quarantined(out: Place) -> dict[str, Record]:
    """The last failure of each place, over all processes."""
    lines = read_all_lines(out, FAILURES)
    return {line["path"]: line for line in lines if isinstance(line.get("path"), str)}
