"""Resuming a job from the results that an earlier one left in the folder.

Finished pictures are not restored again. Results of different settings never mix and nothing is
replaced, unless the user asks to overwrite. So a job is refused, before it writes anything, where
the folder holds

- results of another config, generator, seed or number of samples;
- under the name of one of its inputs the result of another picture, or of a photograph with other
  settings of its faces;
- files that have the names of its results, but no job's config.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from perceptual_jax.config import (
    RestoreConfig,
)
from perceptual_jax.config_files import parse_toml, to_toml
from perceptual_jax.errors import UsageError
from perceptual_jax.io.encoding import is_ours
from perceptual_jax.io.files import (
    Place,
    load_json,
    names_in,
    printable,
    write_atomically,
)
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.reading import input_sha256
from perceptual_jax.jobs.writing import AS_PNG, Output, Settings
from perceptual_jax.validation import ConfigError

CONFIG, RESULTS, INDEX = "config.toml", "results.jsonl", "index.png"
"""Names of the files that describe a whole job; `index` draws the last one."""

_THREADS, _CHUNK = 8, 4096
_ADVICE = "choose another folder, or overwrite"


def names_with_faces(out: Place, inputs: Sequence[Input]) -> set[str]:
    """The names of the files in a job's folder and in the folders of these photographs.

    The latter have the folder's name, as in `NAME/face-1.json`.
    """
    there = names_in(out)
    photographs = {x.name for x in inputs} & there
    if isinstance(out, Path):
        photographs = {name for name in photographs if (out / name).is_dir()}
    return there | {f"{name}/{file}" for name in photographs for file in names_in(out / name)}


def finished_inputs(
    out: Place,
    there: set[str],
    inputs: Sequence[Input],
    config: RestoreConfig,
    settings: Settings,
    *,
    output: Output = AS_PNG,
    photographs: Mapping[str, Any] | None = None,
) -> dict[str, bool]:
    """Finds the inputs that an earlier job with the same settings has finished.

    Args:
        out: The job's folder.
        there: The names of all files in the folder.
        inputs: The inputs of this job.
        config: The config of this job.
        settings: The settings of this job.
        output: Format and names of the pictures of this job.
        photographs: The settings of a job over photographs, with which those in the folder must
            have been restored; None if this job is over crops.

    Returns:
        For each finished name, whether its status is OK; a search that stopped early is finished
        as well.

    Raises:
        UsageError: If the folder holds results that this job must not mix with or replace.
    """
    if CONFIG not in there:
        names = (f for x in inputs for f in output.files(x.name, settings.samples))
        _refuse_foreign_files(out, there, names)
        return {}
    if any(name.endswith(".json") for name in there):
        _refuse_other_config(out, config)
    else:
        _refuse_foreign_config(out)
    for source in inputs:
        if f"{source.name}.json" not in there:
            _refuse_foreign_result(out, there, output.files(source.name, settings.samples))
    inputs = [source for source in inputs if f"{source.name}.json" in there]
    finished = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(inputs), _CHUNK):
            chunk = inputs[start : start + _CHUNK]
            check = functools.partial(_finished, out, there, settings, photographs)
            for source, good in zip(chunk, pool.map(check, chunk), strict=True):
                if good is not None:
                    finished[source.name] = good
    return finished


def _finished(
    out: Place,
    there: set[str],
    settings: Settings,
    photographs: Mapping[str, Any] | None,
    source: Input,
) -> bool | None:
    """Whether the status of an input's result is OK; None if it is missing or incomplete."""
    path = out / f"{source.name}.json"
    record = load_json(path)
    if record is None:
        return None
    _refuse_other_settings(path, record, settings)
    if "photograph" in record:
        _refuse_other_photograph(path, record["photograph"], photographs)
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
    write_atomically(out / CONFIG, to_toml(config).encode("utf-8", "surrogateescape"))


def _config_in(out: Place) -> RestoreConfig:
    path = out / CONFIG
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    return parse_toml(content, name=str(path))


def _refuse_foreign_config(out: Place) -> None:
    try:
        _config_in(out)
    except ConfigError as error:
        raise UsageError(f"{out / CONFIG} exists and is not of this tool; {_ADVICE}") from error


def _refuse_foreign_result(out: Place, there: set[str], names: Sequence[str]) -> None:
    """Refuses files without a record, unless an interrupted process of this tool left them."""
    existing = [name for name in names if name in there]
    pictures = [name for name in existing if not name.endswith(".npz")]
    for name in pictures or existing:
        if name.endswith(".npz") or not is_ours((out / name).read_bytes()):
            raise UsageError(f"{out / name} exists and is not a result of this tool; {_ADVICE}")


def _refuse_foreign_files(out: Place, there: set[str], names: Iterable[str]) -> None:
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
        if there.get(name, "png" if name == "output" else None) != here:
            difference = f"with {name} {there.get(name)}, not {here}"
            if name.endswith("_sha256"):
                difference = f"of another {name.removesuffix('_sha256')}"
            raise UsageError(f"{path} is a result {difference}; {_ADVICE}")


def _refuse_other_photograph(path: Place, there: Record, here: Mapping[str, Any] | None) -> None:
    if here is None:
        raise UsageError(f"{path} is the result of a whole photograph, not of a crop; {_ADVICE}")
    for name, value in here.items():
        if there.get("settings", {}).get(name) != value:
            known = there.get("settings", {}).get(name)
            difference = f"with {name} {known}, not {value}"
            if name.endswith("_sha256"):
                difference = f"with other {name.removesuffix('_sha256')}"
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
