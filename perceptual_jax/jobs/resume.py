"""Resuming a job from the results and the snapshots that an earlier one left in the folder.

Finished pictures are not restored again. Results of different settings never mix and nothing is
replaced, unless the user asks to overwrite. So a job is refused, before it writes anything, where
the folder holds

- results of another config, generator, seed or number of samples;
- under the name of one of its inputs the result of another picture;
- files that have the names of its results, but no job's config.

Partial searches may also be saved, so that a job resumes them after a process was killed.

    .snapshots/NAME.SAMPLE.npz      after every K steps: the search's state and its terms so far

Snapshots are for searches that take longer than the time between two interruptions. A restoration
is one row of the batch in which it is searched, and each row has a file of its own, so that any
batch of any process can resume it. The files are plain arrays and not orbax checkpoints, since
orbax expects its processes to coordinate, which those of a job do not.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.config import ConfigError, RestoreConfig, parse_toml, to_toml
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import (
    Place,
    json_text,
    load_json,
    names_in,
    printable,
    save_npz,
    write_atomically,
)
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.reading import Picture, input_sha256
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.restoration.batch import Progress
from perceptual_jax.restoration.search import Snapshot

CONFIG, RESULTS, INDEX = "config.toml", "results.jsonl", "index.png"
"""Names of the files that describe a whole job; `index` draws the last one."""

_THREADS, _CHUNK = 8, 4096
_ADVICE = "choose another folder, or overwrite"


def finished_inputs(
    out: Place,
    there: set[str],
    inputs: Sequence[Input],
    config: RestoreConfig,
    settings: Settings,
) -> dict[str, bool]:
    """Finds the inputs that an earlier job with the same settings has finished.

    Args:
        out: The job's folder.
        there: The names of all files in the folder.
        inputs: The inputs of this job.
        config: The config of this job.
        settings: The settings of this job.

    Returns:
        For each finished name, whether its status is OK; a search that stopped early is finished
        as well.

    Raises:
        UsageError: If the folder holds results that this job must not mix with or replace.
    """
    if CONFIG not in there:
        _refuse_foreign_files(out, there, inputs)
        return {}
    if any(name.endswith(".json") for name in there):
        _refuse_other_config(out, config)
    inputs = [source for source in inputs if f"{source.name}.json" in there]
    finished = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(inputs), _CHUNK):
            chunk = inputs[start : start + _CHUNK]
            check = functools.partial(_finished, out, there, settings)
            for source, good in zip(chunk, pool.map(check, chunk), strict=True):
                if good is not None:
                    finished[source.name] = good
    return finished


def _finished(out: Place, there: set[str], settings: Settings, source: Input) -> bool | None:
    """Whether the status of an input's result is OK; None if it is missing or incomplete."""
    path = out / f"{source.name}.json"
    record = load_json(path)
    if record is None:
        return None
    _refuse_other_settings(path, record, settings)
    known = record.get("input", {})
    if known.get("sha256") != input_sha256(source):
        raise UsageError(
            f"{path} is the result of another picture ({known.get('path')}, or what it "
            f"held before), not of {printable(source.path)}; {_ADVICE}"
        )
    if not there.issuperset(record["files"]):
        return None
    return record["status"] == "OK"


def write_config(out: Place, config: RestoreConfig) -> None:
    """Writes `config.toml`, unless there is one with equal settings.

    Raises:
        WriteError: If it cannot be written.
    """
    with contextlib.suppress(ConfigError):
        if _config_in(out) == config:
            return
    write_atomically(out / CONFIG, to_toml(config).encode())


def _config_in(out: Place) -> RestoreConfig:
    path = out / CONFIG
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    return parse_toml(content, name=str(path))


def _refuse_foreign_files(out: Place, there: set[str], inputs: Sequence[Input]) -> None:
    names = [f"{source.name}{end}" for source in inputs for end in (".png", ".json", ".npz")]
    for name in (RESULTS, INDEX, *names):
        if name in there:
            raise UsageError(f"{out / name} exists and is not a result of this tool; {_ADVICE}")


def _refuse_other_config(out: Place, config: RestoreConfig) -> None:
    try:
        there = _config_in(out)
    except ConfigError as error:
        raise UsageError(f"{out} holds results of a config that does not fit: {error}") from error
    difference = first_difference(there, config)
    if difference:
        raise UsageError(f"{out} holds results of another config ({difference}); {_ADVICE}")


def _refuse_other_settings(path: Place, record: Record, settings: Settings) -> None:
    there = record.get("settings", {})
    for name, here in settings._asdict().items():
        if there.get(name) != here:
            difference = f"with {name} {there.get(name)}, not {here}"
            if name.endswith("_sha256"):
                difference = f"of another {name.removesuffix('_sha256')}"
            raise UsageError(f"{path} is a result {difference}; {_ADVICE}")


def first_difference(there: RestoreConfig, here: RestoreConfig) -> str | None:
    """The first setting in which two configs differ, with both values; None if they are equal.

    Example:
        >>> first_difference(RestoreConfig(fidelity=0.25), RestoreConfig())
        'fidelity is 0.25 there and 0.5 here'
    """
    ours = _flat(dataclasses.asdict(here))
    for name, value in _flat(dataclasses.asdict(there)).items():
        if value != ours[name]:
            return f"{name} is {value} there and {ours[name]} here"
    return None


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    plain = {name: value for name, value in values.items() if name not in tables}
    return plain | {f"{t}.{name}": v for t, table in tables.items() for name, v in table.items()}


_SNAPSHOTS = ".snapshots"


class Row(NamedTuple):
    """One restoration of a batch."""

    picture: Picture
    sample: int

    @property
    def file(self) -> str:
        """The name of the restoration's snapshot."""
        return f"{self.picture.input.name}.{self.sample}.npz"


class Group(NamedTuple):
    """Inputs that share their batches."""

    inputs: list[Input]
    pictures: int | None
    """Number of pictures in the interrupted batch; None for inputs without snapshots."""


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """The snapshots in a job's folder.

    Attributes:
        out: The job's folder.
        settings: The settings of the job; searches of other settings are not resumed.
        every: Steps between two snapshots of a search.
    """

    out: Place
    settings: Settings
    every: int

    def groups(self, inputs: Sequence[Input]) -> list[Group]:
        """Groups the inputs: interrupted batches, the most advanced first, then all others."""
        there = names_in(self._folder)
        batches: dict[tuple[int, str, int], dict[int, Input]] = {}
        others = []
        for source in inputs:
            file = f"{source.name}.0.npz"
            saved = _read(self._folder / file) if file in there else None
            if saved is None or "batch" not in saved:
                others.append(source)
            else:
                batch = (int(saved["step"]), saved["batch"].item(), int(saved["pictures"]))
                batches.setdefault(batch, {})[int(saved["row"])] = source
        groups = [
            Group([source for _, source in sorted(batches[batch].items())], batch[-1])
            for batch in sorted(batches, reverse=True)
        ]
        return [*groups, Group(others, None)] if others else groups

    def for_batch(self, rows: Sequence[Row]) -> "BatchSnapshots":
        """The snapshots of a batch with these rows."""
        return BatchSnapshots(self, rows)

    def load(self, rows: Sequence[Row]) -> Snapshot | None:
        """Loads the partial search for these rows; None unless all of them are at the same step."""
        saved = []
        for row in rows:
            arrays = _read(self._folder / row.file)
            if arrays is None or arrays["key"].item() != self._key(row):
                return None
            saved.append(arrays)
        if len({int(arrays["step"]) for arrays in saved}) != 1:
            return None

        def stacked(prefix: str) -> dict[str, np.ndarray]:
            names = sorted(name for name in saved[0] if name.startswith(prefix))
            return {
                n.removeprefix(prefix): np.stack([arrays[n] for arrays in saved]) for n in names
            }

        return Snapshot(int(saved[0]["step"]), list(stacked("leaf.").values()), stacked("trace."))

    def save(self, rows: Sequence[Row], snapshot: Snapshot, *, batch: Sequence[Row]) -> None:
        """Saves the partial search for these rows.

        Args:
            rows: The rows of `snapshot`.
            snapshot: The state and terms of the search.
            batch: All rows of the batch that they belong to, in order.

        Raises:
            WriteError: If a snapshot cannot be written.
        """
        if isinstance(self._folder, Path):
            self._folder.mkdir(exist_ok=True)
        files = [row.file for row in batch]
        shared = {
            "step": np.array(snapshot.step),
            "batch": np.array(hashlib.sha256(json_text(files).encode()).hexdigest()),
            "pictures": np.array(sum(row.sample == 0 for row in batch)),
        }

        def write(i: int) -> None:
            row = rows[i]
            arrays = {"key": np.array(self._key(row)), "row": np.array(files.index(row.file))}
            arrays |= shared
            arrays |= {f"leaf.{n:03d}": leaf[i] for n, leaf in enumerate(snapshot.leaves)}
            arrays |= {f"trace.{name}": term[i] for name, term in snapshot.trace.items()}
            save_npz(self._folder / row.file, arrays)

        with ThreadPoolExecutor(_THREADS) as pool:
            # Rows that pad a batch repeat a picture; only the first of them is saved.
            first = {row.file: i for i, row in reversed(list(enumerate(rows)))}
            list(pool.map(write, first.values()))

    def remove(self, rows: Sequence[Row]) -> None:
        """Removes the snapshots of finished searches."""
        for row in rows:
            with contextlib.suppress(OSError):
                (self._folder / row.file).unlink(missing_ok=True)

    @property
    def _folder(self) -> Place:
        return self.out / _SNAPSHOTS

    def _key(self, row: Row) -> str:
        identity = [*self.settings, row.picture.sha256, row.sample]
        return hashlib.sha256(json_text(identity).encode()).hexdigest()


class BatchSnapshots:
    """The snapshots of one batch, loaded when it starts and saved at intervals."""

    def __init__(self, snapshots: Snapshots, rows: Sequence[Row]):
        """Loads nothing yet."""
        self._snapshots, self._rows = snapshots, rows
        self._saved: dict[Sequence[int], int] = {}

    def load(self, numbers: Sequence[int]) -> Snapshot | None:
        """Loads the partial search for these rows of the batch; None if there is none."""
        snapshot = self._snapshots.load([self._rows[i] for i in numbers])
        self._saved[tuple(numbers)] = 0 if snapshot is None else snapshot.step
        return snapshot

    def save_if_due(self, piece: Progress) -> None:
        """Saves the search if `every` steps were taken since its last snapshot."""
        numbers = tuple(piece.rows)
        if piece.step - self._saved.get(numbers, 0) >= self._snapshots.every:
            rows = [self._rows[i] for i in numbers]
            self._snapshots.save(rows, piece.snapshot(), batch=self._rows)
            self._saved[numbers] = piece.step


def remove_empty_snapshots(out: Place) -> None:
    """Removes the folder of snapshots if it is empty."""
    if isinstance(out, Path):
        with contextlib.suppress(OSError):
            (out / _SNAPSHOTS).rmdir()


def _read(path: Place) -> dict[str, np.ndarray] | None:
    try:
        return dict(np.load(io.BytesIO(path.read_bytes())))
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
