"""What a process notes while it works: results, failures, and how it is getting on.

    results.jsonl       a line for each input with a result, and for each that failed
    failures.jsonl      those that failed, with why and what the file was
    .processes/*.json   counts, rate and the seconds of each stage, every few seconds

Of several processes each has its own files (`results-00001.jsonl`).
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from perceptual_jax.data.collect import Input
from perceptual_jax.data.images import json_text, load_json, save_json, write_atomically
from perceptual_jax.restoration import records
from perceptual_jax.restoration.records import Record
from perceptual_jax.restoration.shares import Share

RESULTS, FAILURES = "results", "failures"
_HEARTBEAT_S = 2.0


class Journal:
    """Adds lines, from any thread, and keeps the process's state up to date."""

    def __init__(self, out: Path, share: Share, state: Path, total: int):
        """Writes nothing yet.

        Args:
            out: The job's folder.
            share: Of the job.
            state: From `shares.hold`.
            total: Pictures that this process has to restore.
        """
        self._results = out / share.file(RESULTS, ".jsonl")
        self._failures = out / share.file(FAILURES, ".jsonl")
        self._state_path, self._lock = state, threading.Lock()
        self._about = load_json(state) or {}
        self._started = time.time()
        self._written = 0.0
        self.seconds: dict[str, float] = {}
        """Of each stage."""
        self.total = total
        self._counts = {"total": total, "done": 0, "failed": 0}

    def __enter__(self) -> "Journal":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Says how it ended."""
        self.beat(now=True)

    @property
    def done(self) -> int:
        """Results of this process that are good."""
        return self._counts["done"]

    def add(self, record: Record, source: Input | None) -> None:
        """Notes a record of an input; one that failed is also noted among the failures."""
        failed = record["status"] != "OK"
        with self._lock:
            records.append_line(self._results, record)
            if failed:
                records.append_line(self._failures, failure_of(record, source))
            self._counts["failed" if failed else "done"] += 1
        self.beat()

    def beat(self, *, now: bool = False) -> None:
        """Writes the state, if that was some time ago."""
        with self._lock:
            if not now and time.time() - self._written < _HEARTBEAT_S:
                return
            self._written = time.time()
            state = self._about | self._counts
            state |= {"started": self._started, "updated": self._written, "seconds": self.seconds}
        with contextlib.suppress(OSError):
            save_json(self._state_path, state)


def failure_of(record: Record, source: Input | None) -> Record:
    """A line of the failures; the file's size and time tell whether it is still the same."""
    line = {"path": records.place(record), "name": record["name"], "reason": record["message"]}
    return line | stamp_of(source) | {"time": time.time()}


def stamp_of(source: Input | None) -> dict[str, int]:
    """Size and time of change of an input's file, where there is one."""
    if source is None:
        return {}
    try:
        status = os.stat(source.path)
    except OSError:
        return {}
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def quarantined(out: Path) -> dict[str, Record]:
    """The last failure of each place, over all processes."""
    found: dict[str, Record] = {}
    for path in sorted(out.glob(f"{FAILURES}*.jsonl")):
        for line in records.read_lines(path):
            if isinstance(line.get("path"), str):
                found[line["path"]] = line
    return found


def offsets(path: Path) -> dict[str, int]:
    """Where in a results file the last line of each place begins."""
    found, at = {}, 0
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for line in file:
            record = records.parsed(line)
            with contextlib.suppress(TypeError, KeyError):
                if record is not None:
                    found[records.place(record)] = at
            at += len(line)
    return found


def put_in_order(path: Path, places: Iterable[str], fallbacks: Mapping[str, Path]) -> None:
    """Rewrites a results file: one line for each place, those named first; others after them.

    Args:
        path: The file; read line by line, since it may be large.
        places: Of the inputs, in their order.
        fallbacks: For a place without a line, its record's file.
    """
    there = offsets(path)

    def write(target: Any) -> None:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(open(path, "rb")) if there else None
            for place in dict.fromkeys([*places, *there]):
                if source is not None and place in there:
                    source.seek(there[place])
                    target.write(source.readline().rstrip(b"\n") + b"\n")
                elif place in fallbacks and (record := load_json(fallbacks[place])):
                    target.write((json_text(record) + "\n").encode())

    write_atomically(path, write)
