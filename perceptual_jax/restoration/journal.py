"""What a process notes while it works: results, failures, and how it is getting on.

    results.jsonl       a line for each input with a result, and for each that failed
    failures.jsonl      those that failed, with why and what the file was
    .processes/*.json   counts and the seconds of each stage, every few seconds (`holding`)

Of several processes each has its own files (`results-00001.jsonl`).
"""

import threading
import time

from perceptual_jax.io.files import Place
from perceptual_jax.io.inputs import Input
from perceptual_jax.restoration import records
from perceptual_jax.restoration.holding import Heartbeat
from perceptual_jax.restoration.lines import Lines, read_all_lines
from perceptual_jax.restoration.records import Record
from perceptual_jax.restoration.shares import Share

RESULTS, FAILURES = "results", "failures"


class Journal:
    """Adds lines, from any thread, and keeps count of them."""

    def __init__(self, out: Place, share: Share, beat: Heartbeat, total: int):
        """Writes nothing yet.

        Args:
            out: The job's folder.
            share: Of the job.
            beat: From `holding.hold`.
            total: Pictures that this process has to restore.
        """
        self._results = Lines(out / share.file(RESULTS, ".jsonl"))
        self._failures = Lines(out / share.file(FAILURES, ".jsonl"))
        self.seconds: dict[str, float] = {}
        """Of each stage."""
        self.total = total
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
        self._count("failed" if failed else "done")

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1
            self._beat.note(**self._counts)


def failure_of(record: Record, source: Input | None) -> Record:
    """A line of the failures; the file's size and time tell whether it is still the same."""
    line = {"path": records.place(record), "name": record["name"], "reason": record["message"]}
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
