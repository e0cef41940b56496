"""Searches in their middle, on disk, so that a process that was killed goes on from there.

    .snapshots/NAME.SAMPLE.npz      after every K steps: the search's state and its terms so far

For searches that take long beside the minutes between two interruptions. A restoration is one
row of the batch it is searched for in, so each has a file of its own, and any batch of any
process can go on with it. Plain arrays, not a checkpoint of orbax: that one wants its processes to
stay together, which those of a job do not.
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

from perceptual_jax.io.files import Place, json_text, names_in, save_npz
from perceptual_jax.io.inputs import Input
from perceptual_jax.restoration.middle import Middle
from perceptual_jax.restoration.pictures import Picture
from perceptual_jax.restoration.records import Settings

_FOLDER = ".snapshots"
_THREADS = 8


class Row(NamedTuple):
    """A restoration among those of a batch."""

    picture: Picture
    sample: int

    @property
    def file(self) -> str:
        """The name of its snapshot."""
        return f"{self.picture.input.name}.{self.sample}.npz"


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """Those in a job's folder.

    Attributes:
        out: The job's folder.
        settings: Of the job; snapshots of other settings are not gone on with.
        every: Steps between two of them.
    """

    out: Place
    settings: Settings
    every: int

    def groups(self, inputs: Sequence[Input]) -> list[list[Input]]:
        """The inputs by how far their search has come, the furthest first."""
        there = names_in(self._folder)
        if not there:
            return [list(inputs)]
        groups: dict[int, list[Input]] = {0: []}
        for source in inputs:
            file = f"{source.name}.0.npz"
            saved = _read(self._folder / file) if file in there else None
            groups.setdefault(0 if saved is None else int(saved["taken"]), []).append(source)
        return [groups[taken] for taken in sorted(groups, reverse=True) if groups[taken]]

    def load(self, rows: Sequence[Row]) -> Middle | None:
        """Where the search for these rows is, if all of them are at the same step."""
        saved = []
        for row in rows:
            arrays = _read(self._folder / row.file)
            if arrays is None or arrays["key"].item() != self._key(row):
                return None
            saved.append(arrays)
        if len({int(arrays["taken"]) for arrays in saved}) != 1:
            return None

        def stacked(kind: str) -> list[np.ndarray]:
            names = sorted(name for name in saved[0] if name.startswith(kind))
            return [np.stack([arrays[name] for arrays in saved]) for name in names]

        return Middle(int(saved[0]["taken"]), stacked("leaf"), stacked("term"))

    def save(self, rows: Sequence[Row], middle: Middle) -> None:
        """Writes where the search for these rows is.

        Raises:
            WriteError: If it cannot be written.
        """
        if isinstance(self._folder, Path):
            self._folder.mkdir(exist_ok=True)

        def write(i: int) -> None:
            row = rows[i]
            arrays = {"key": np.array(self._key(row)), "taken": np.array(middle.taken)}
            arrays |= {f"leaf{n:03d}": leaf[i] for n, leaf in enumerate(middle.leaves)}
            arrays |= {f"term{n:03d}": term[i] for n, term in enumerate(middle.terms)}
            save_npz(self._folder / row.file, arrays)

        with ThreadPoolExecutor(_THREADS) as pool:
            # Rows that only fill up a batch are of a picture that is in it.
            list(pool.map(write, {row.file: i for i, row in enumerate(rows)}.values()))

    def remove(self, rows: Sequence[Row]) -> None:
        """Removes those of searches that are done."""
        for row in rows:
            with contextlib.suppress(OSError):
                (self._folder / row.file).unlink(missing_ok=True)
        if isinstance(self._folder, Path):
            with contextlib.suppress(OSError):
                self._folder.rmdir()  # only if nothing is in it any more

    @property
    def _folder(self) -> Place:
        return self.out / _FOLDER

    def _key(self, row: Row) -> str:
        about = [*self.settings, row.picture.sha256, row.sample]
        return hashlib.sha256(json_text(about).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class SnapshotsOf:
    """The `batch.Keeper` of a batch with these rows."""

    snapshots: Snapshots
    rows: Sequence[Row]

    @property
    def every(self) -> int:
        """Steps between two snapshots."""
        return self.snapshots.every

    def load(self, rows: Sequence[int]) -> Middle | None:
        """See `Snapshots.load`."""
        return self.snapshots.load([self.rows[i] for i in rows])

    def save(self, rows: Sequence[int], middle: Middle) -> None:
        """See `Snapshots.save`."""
        self.snapshots.save([self.rows[i] for i in rows], middle)


def _read(path: Place) -> dict[str, np.ndarray] | None:
    try:
        return dict(np.load(io.BytesIO(path.read_bytes())))
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
