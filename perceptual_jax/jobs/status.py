"""One view of a job that many processes work on, also while they do, and one table of its results.

It reads what the processes write anyway: their lines of results and failures, and what each says
of itself every few seconds.
"""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import Place, load_json, names_in, write_atomically
from perceptual_jax.jobs import log
from perceptual_jax.jobs.log import RESULTS, Record, read_all_lines
from perceptual_jax.jobs.processes import states

_DEVICE = ("wait for input", "search", "wait for output")
"""Stages that exclude each other; reading and writing go on beside them."""


class Worker(NamedTuple):
    """A process of a job."""

    number: int
    alive: bool
    done: int
    failed: int
    left: int
    per_minute: float
    """Pictures since it started."""
    seconds_left: float | None
    """None if it has done nothing yet."""
    slowest: str
    """The stage that took most of its time, with the share of it."""


class Overview(NamedTuple):
    """A job at a moment."""

    done: int
    """Pictures with a good result, over all runs."""
    failed: int
    left: int
    """Of the processes' last runs."""
    workers: tuple[Worker, ...]

    def lines(self) -> Iterator[str]:
        """For the user."""
        yield f"done {self.done}, failed {self.failed}, left {self.left}"
        for worker in self.workers:
            state = "running" if worker.alive else "ended"
            line = f"process {worker.number}: {state}, {worker.done} done, {worker.failed} failed"
            line += f", {worker.left} left, {worker.per_minute:.1f} a minute"
            if worker.alive and worker.seconds_left is not None:
                line += f", {worker.seconds_left / 60:.0f} min to go"
            yield f"{line}; {worker.slowest}"


def overview(out: Place) -> Overview:
    """How a job stands.

    Args:
        out: Its folder.

    Raises:
        UsageError: If it is no job's folder.
    """
    _require_job(out)
    status: dict[str, bool] = {}
    for record in read_results(out):
        status[log.place(record)] = record["status"] == "OK"
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
    share = seconds[slowest] / max(sum(seconds.values()), 1e-9)
    return Worker(
        number=state["process"],
        alive=state["alive"],
        done=done,
        failed=failed,
        left=left,
        per_minute=60 * rate,
        seconds_left=left / rate if rate else None,
        slowest=f"{share:.0%} of the time it was in: {slowest}"
        if share > 0
        else "nothing restored yet",
    )


def read_results(out: Place) -> Iterator[Record]:
    """What all processes noted of their results, in no order; a place may come more than once.

    A process that was killed may have left a record without its line: it comes last.
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
    """Writes `results.csv` and, where pyarrow is installed, `results.parquet`: a row a result.

    Args:
        out: Folder of a job, best one that has ended.

    Returns:
        The files.

    Raises:
        UsageError: If it is no job's folder, or holds no result.
        WriteError: If they cannot be written.
    """
    _require_job(out)
    last = {log.place(record): record for record in read_results(out)}
    rows = [row for place in sorted(last) for row in _rows(last[place])]
    if not rows:
        raise UsageError(f"{out} has no result yet")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = out / "results.csv"
    write_atomically(table, lambda file: _write_csv(file, columns, rows))
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return (table,)
    arrays = {name: [row.get(name) for row in rows] for name in columns}
    parquet = out / "results.parquet"
    write_atomically(parquet, lambda file: pyarrow.parquet.write_table(pyarrow.table(arrays), file))
    return table, parquet


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    about = {
        "name": record["name"],
        "path": log.place(record),
        "status": record["status"],
        "message": record["message"],
        "sha256": record["input"].get("sha256"),
        "term": record.get("degradation", {}).get("term"),
        "seconds": record.get("seconds"),
    }
    about |= record.get("settings", {})
    restorations = record.get("restorations") or [{}]
    for sample, one in enumerate(restorations):
        plain = {k: one.get(k) for k in ("image", "consistency_psnr", "best_step") if k in one}
        yield about | {"sample": sample} | plain | one.get("terms", {})


def _write_csv(file: Any, columns: list[str], rows: list[dict[str, Any]]) -> None:
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
    """An overview now and every so many seconds, until no process is alive."""
    while True:
        view = overview(out)
        yield view
        if not any(worker.alive for worker in view.workers):
            return
        time.sleep(every)
