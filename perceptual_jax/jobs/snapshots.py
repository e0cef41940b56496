"""Snapshots of partial searches, so that a job resumes them after a process was killed.

    .snapshots/NAME.SAMPLE.npz      after every K steps: the search's state and its terms so far

Snapshots are for searches that take longer than the time between two interruptions. A restoration
is one row of the batch in which it is searched, and each row has a file of its own, so that any
batch of any process can resume it. The file also names its batch: a result's last bits depend on
its row and its company, so pictures are resumed together, each in its row, as long as the batch
size has not been lowered. The files are plain arrays and not orbax checkpoints, since orbax expects
its processes to coordinate, which those of a job do not.
"""

import contextlib
import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perceptual_jax.io.files import (
    Place,
    json_text,
    names_in,
    save_npz,
)
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.reading import Picture
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.restoration.batch import Progress
from perceptual_jax.restoration.run import Snapshot

_THREADS = 8
_SNAPSHOTS = ".snapshots"


class Row(NamedTuple):
    """One restoration of a batch."""

    picture: Picture
    sample: int

    @property
    def file(self) -> str:
        """The name of the restoration's snapshot."""
        return _file(self.picture.input.name, self.sample)


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
            file = _file(source.name, 0)
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


def _file(name: str, sample: int) -> str:
    """The name of a snapshot; those of a photograph's faces lie beside the others."""
    return f"{name.replace('/', '%2F')}.{sample}.npz"


def _read(path: Place) -> dict[str, np.ndarray] | None:
    try:
        return dict(np.load(io.BytesIO(path.read_bytes())))
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
