"""The runs of a report: records, pictures and scores by the names of the inputs."""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.report import Column, Scores, read_scores
from perceptual_jax.io.files import Place, is_remote, names_in, place_of, printable
from perceptual_jax.io.inputs import Input, collect_inputs
from perceptual_jax.jobs import log
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.status import read_results

_NAMED = 5


class Run(NamedTuple):
    """The results of a run, by the names of its inputs."""

    label: str
    folder: Place
    records: Mapping[str, Record] = {}
    """Empty for a folder that is not a job's."""
    files: Mapping[str, Input] = {}
    """The pictures of a folder that is not a job's."""
    metrics: Mapping[str, Mapping[str, float]] = {}
    """Scores of `evaluate` by the names of the pictures."""


class Choice(NamedTuple):
    """The inputs of a job that a report shows."""

    records: Sequence[Record]
    """Their records, in the order of the job."""
    statuses: Mapping[str, int]
    """How many inputs of the whole job have each status."""


def choose_shown(out: Place, limit: int) -> Choice:
    """The inputs to show of a job that may have many more: what failed, then the least consistent.

    Args:
        out: The job's folder; its results are read twice, so that only those chosen are kept.
        limit: Most inputs that are shown.
    """
    worth = {log.input_path(record): _worth(record) for record in read_results(out)}
    chosen = set(sorted(worth, key=lambda path: worth[path][1:])[:limit])
    records: dict[str, Record] = {}
    for record in read_results(out):
        path = log.input_path(record)
        if path in chosen:
            records[path] = record
    return Choice(list(records.values()), Counter(status for status, *_ in worth.values()))


def _worth(record: Record) -> tuple[str, bool, float]:
    """The status, and what is sorted by: restored, and the consistency in dB."""
    status, restorations = str(record.get("status")), record.get("restorations")
    try:
        consistency = min(float(one["consistency_psnr"]) for one in restorations or ())
    except (KeyError, TypeError, ValueError):
        consistency = -math.inf  # What is damaged is worth a look.
    return status, status == "OK", consistency


def is_restored(record: Record) -> bool:
    """Whether a record is that of a restored picture."""
    return isinstance(record.get("restorations"), list) and "files" in record


def file_in(folder: Place, name: str) -> Place:
    """A file of a job's folder by its name, which no damaged record may lead elsewhere.

    Args:
        folder: The job's folder.
        name: The name, for a face of a photograph with the folder of the photograph.

    Raises:
        ValueError: If it is no such name.
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if len(parts) > 2 or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise ValueError(f"{name!r} is no name of a file")
    return folder / name


def labelled(versus: Sequence[str | Place]) -> Iterator[tuple[Place, str]]:
    """Yields the runs with a label each: the folder's name, with its parent's where names clash."""
    places = [place_of(one) for one in versus]
    names = Counter(place.name for place in places)
    used = Counter({"given": 1, "restored": 1})
    for place in places:
        label = place.name or str(place)
        if names[place.name] > 1:
            label = f"{place.parent.name}/{label}"
        used[label] += 1
        yield place, printable(label if used[label] == 1 else f"{label} ({used[label]})")


def other_run(folder: Place, label: str, *, names: Container[str] | None = None) -> Run:
    """The records of a job's folder, of these names or of all, or the pictures of any other.

    Raises:
        UsageError: If the folder has no picture.
    """
    restored = (record for record in read_results(folder) if is_restored(record))
    records = {r["name"]: r for r in restored if names is None or r["name"] in names}
    if records:
        return Run(label, folder, records, {})
    found, _ = collect_inputs([str(folder)])
    return Run(label, folder, {}, {source.name: source for source in found})


def scores_in(folder: Place) -> list[Scores]:
    """The scores in a folder; those that name no folder are of its pictures."""
    found = []
    for name in sorted(names_in(folder)):
        if not name.startswith("evaluat") or not name.endswith(".json"):
            continue
        try:
            table: Any = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        if not (isinstance(table, dict) and "restorations" in table):  # an input of this name
            found += read_scores(table)
    return [one._replace(folder=one.folder or _real(folder)) for one in found]


def with_metrics(run: Run, scores: Sequence[Scores]) -> Run:
    """A run with its scores, from those of the report's folder and those in its own."""
    metrics: dict[str, dict[str, float]] = {}
    for one in (*scores, *scores_in(run.folder)):
        if one.folder is not None and _is_same(one.folder, run.folder):
            for name, values in one.values.items():
                metrics.setdefault(name, {}).update(values)
    return run._replace(metrics=metrics)


def _is_same(named: str, folder: Place) -> bool:
    """Whether a file means this folder; relative paths may have been given in another folder."""
    if not os.path.isabs(named) and not is_remote(named):
        return Path(named).name == folder.absolute().name
    return _real(named) == _real(folder)


def _real(folder: str | Place) -> str:
    place = place_of(folder)
    return os.path.realpath(place) if isinstance(place, Path) else str(place).rstrip("/")


def descriptions(*tables: Sequence[Scores]) -> dict[str, Column]:
    """The columns that files of scores describe, by the names of the metrics."""
    return {
        key: column for table in tables for one in table for key, column in one.described.items()
    }


def check_match(other: Run, names: Sequence[str], report: Callable[[str], None] | None) -> None:
    """Reports the pictures that another run lacks.

    Raises:
        UsageError: If it lacks all of them.
    """
    there = {*other.records, *other.files}
    missing = [name for name in names if name not in there]
    if names and len(missing) == len(names):
        example = next(iter(sorted(there)), "none")
        raise UsageError(
            f"{other.folder} has no picture of this job's inputs: expected names such as "
            f"{printable(names[0])}, found {printable(example)}"
        )
    if missing and report is not None:
        some = ", ".join(map(printable, missing[:_NAMED]))
        rest = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        report(f"{other.label} has no picture of {some}{rest}")
