"""The status of a job with all its processes, also while they run, and a table of its results.

It is computed from the files that the processes write anyway: their results, their failures and
their heartbeats.
"""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import Place, load_json, names_in, write_atomically
from perceptual_jax.jobs import log
from perceptual_jax.jobs.log import RESULTS, Record, read_all_lines
from perceptual_jax.jobs.processes import states

_DEVICE = ("wait for input", "search", "wait for output")
"""Stages that exclude each other; reading and writing run beside them."""


class Worker(NamedTuple):
    """The status of one process of a job."""

    number: int
    alive: bool
    done: int
    failed: int
    left: int
    per_minute: float
    """Pictures per minute since the process started."""
    seconds_left: float | None
    """Estimated seconds until the process is done; None before its first picture."""
    slowest: str
    """The stage that took most of the time, with its fraction of it, for the user."""


class Overview(NamedTuple):
    """The status of a job."""

    done: int
    """Pictures restored with status OK, over all runs."""
    failed: int
    left: int
    """Pictures that the last runs of the processes have not reached."""
    workers: tuple[Worker, ...]

    def lines(self) -> Iterator[str]:
        """Yields the status as lines for the user."""
        yield f"done {self.done}, failed {self.failed}, left {self.left}"
        for worker in self.workers:
            state = "running" if worker.alive else "ended"
            line = f"process {worker.number}: {state}, {worker.done} done, {worker.failed} failed"
            line += f", {worker.left} left, {worker.per_minute:.1f} a minute"
            if worker.alive and worker.seconds_left is not None:
                line += f", {worker.seconds_left / 60:.0f} min to go"
            yield f"{line}; {worker.slowest}"


def overview(out: Place) -> Overview:
    """Computes the status of a job.

    Args:
        out: The job's folder.

    Raises:
        UsageError: If the folder is not a job's.
    """
    _require_job(out)
    status: dict[str, bool] = {}
    for record in read_results(out):
        status[log.input_path(record)] = record["status"] == "OK"
    workers = tuple(_worker(state) for state in states(out))
    counts = Counter(status.values())
    return Overview(counts[True], counts[False], sum(w.left for w in workers), workers)


def _worker(state: dict[str, Any]) -> Worker:
    done, failed = state.get("done", 0), state.get("failed", 0)
    left = max(state.get("total", 0) - done - failed, 0)
    elapsed = state.get("updated", 0) - state.get("started", 0)
    rate = (done + failed) / elapsed if elapsed > 0 else 0.0
    seconds = {stage: state.get("seconds", {}).get(stage, 0.0) for stage in _DEVICE}
    slowest = max(seconds, key=lambda stage: seconds[stage])
    fraction = seconds[slowest] / max(sum(seconds.values()), 1e-9)
    return Worker(
        number=state["process"],
        alive=state["alive"],
        done=done,
        failed=failed,
        left=left,
        per_minute=60 * rate,
        seconds_left=left / rate if rate else None,
        slowest=f"{fraction:.0%} of the time it was in: {slowest}"
        if fraction > 0
        else "nothing restored yet",
    )


def read_results(out: Place) -> Iterator[Record]:
    """Yields the records of all processes, in no order; an input may occur more than once.

    A process that was killed may have left a record without its line; such records come last.
    """
    named = set()
    for record in read_all_lines(out, RESULTS):
        if isinstance(record.get("input"), dict) and "path" in record["input"]:
            named.add(f"{record['name']}.json")
            yield record
    for name in sorted(names_in(out) - named):
        if name.endswith(".json") and (record := load_json(out / name)) and "input" in record:
            yield record


def merge(out: Place) -> tuple[Place, ...]:
    """Writes `results.csv` and `results.parquet` with a row for each restoration.

    Args:
        out: The job's folder, preferably when the job has ended.

    Returns:
        The paths of the two files.

    Raises:
        UsageError: If the folder is not a job's, or holds no result.
        WriteError: If the files cannot be written.
    """
    _require_job(out)
    columns, order = _columns(read_results(out))
    if not order:
        raise UsageError(f"{out} has no result yet")
    table = out / "results.csv"
    rows = ({name: column[i] for name, column in columns.items()} for i in order)
    write_atomically(table, lambda file: write_csv(file, list(columns), rows))
    import pyarrow  # imported here, since only this verb needs it and it takes 0.1 s
    import pyarrow.parquet

    arrays = {name: [column[i] for i in order] for name, column in columns.items()}
    parquet = out / "results.parquet"
    write_atomically(parquet, lambda file: pyarrow.parquet.write_table(pyarrow.table(arrays), file))
    return table, parquet


def _columns(records: Iterable[Record]) -> tuple[dict[str, list[Any]], list[int]]:
    """The rows of all records, by columns, and their order: by path, the last record of each.

    Columns take a tenth of the memory of the records, of which a job may have 100,000.
    """
    columns: dict[str, list[Any]] = {}
    spans: dict[str, range] = {}
    count = 0
    for record in records:
        first = count
        for row in _rows(record):
            for name in row:
                if name not in columns:
                    columns[name] = [None] * count
            for name, column in columns.items():
                value = row.get(name)
                # Texts that rows share, such as the hashes of the settings, are kept once.
                shared = isinstance(value, str) and count and column[-1] == value
                column.append(column[-1] if shared else value)
            count += 1
        spans[log.input_path(record)] = range(first, count)
    return columns, [i for path in sorted(spans) for i in spans[path]]


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    shared = {
        "name": record["name"],
        "path": log.input_path(record),
        "status": record["status"],
        "message": record["message"],
        "sha256": record["input"].get("sha256"),
        "term": record.get("degradation", {}).get("term"),
        "seconds": record.get("seconds"),
    }
    shared |= record.get("settings", {})
    restorations = record.get("restorations") or [{}]
    for sample, one in enumerate(restorations):
        plain = {k: one.get(k) for k in ("image", "consistency_psnr", "best_step") if k in one}
        yield shared | {"sample": sample} | plain | one.get("terms", {})


def write_csv(file: Any, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows as CSV in UTF-8 into a binary file."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    text.flush()
    text.detach()


def _require_job(out: Place) -> None:
    if not (out / "config.toml").is_file():
        raise UsageError(f"{out} is not the folder of a job: it has no config.toml")


def watch(out: Place, every: float) -> Iterator[Overview]:
    """Yields an overview now and every `every` seconds, until no process is alive."""
    while True:
        view = overview(out)
        yield view
        if not any(worker.alive for worker in view.workers):
            return
        time.sleep(every)
