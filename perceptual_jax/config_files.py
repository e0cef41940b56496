"""Configs as TOML: reading, writing, presets, and changes of single settings."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceptual_jax.config import RestoreConfig
from perceptual_jax.validation import ConfigError, from_dict


def from_toml(path: str | Path, *, row: str | None = None) -> RestoreConfig:
    """Reads a config; settings that the file does not name keep their defaults.

    Args:
        path: The file.
        row: The name of a config in a file of several: a table `[rows.NAME]` overrides the
            settings that all rows share.

    Raises:
        ConfigError: If the file cannot be read, is not TOML, or has an invalid setting.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    return parse_toml(content, name=str(path), row=row)


def parse_toml(content: bytes, *, name: str, row: str | None = None) -> RestoreConfig:
    """Parses the content of a config file; `name` is the file's name in error messages.

    Raises:
        ConfigError: If it is not TOML, lacks the row, or has an invalid setting.
    """
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{name} is not a TOML file: {error}") from error
    try:
        return from_dict(RestoreConfig, _row_of(values, row))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _row_of(values: dict[str, Any], row: str | None) -> dict[str, Any]:
    if row is None and "rows" not in values:
        return values
    shared = {name: value for name, value in values.items() if name != "rows"}
    rows = values.get("rows", {})
    if not isinstance(rows, dict) or not isinstance(rows.get(row, {}), dict):
        raise ConfigError("rows must be tables, [rows.NAME]")
    if row not in rows:
        what = "a row must be named, FILE:ROW" if row is None else f"no row is called {row!r}"
        raise ConfigError(f"{what}; its rows are {', '.join(rows) or 'none'}")
    return _merged(shared, rows[row])


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merges nested tables; values of `over` replace those of `under`."""
    tables = {
        n for n, own in over.items() if isinstance(own, dict) and isinstance(under.get(n), dict)
    }
    return under | over | {name: _merged(under[name], over[name]) for name in tables}


def to_toml(config: Any) -> str:
    """Writes every setting as TOML; `from_toml` of it gives an equal config.

    Example:
        >>> from perceptual_jax.config import FinishConfig
        >>> print(to_toml(FinishConfig(steps=5)), end="")
        steps = 5
        learning_rate = 0.02
        schedule = "warmup_cosine"
        sphere = false
        project = true
        data_weight = 1000.0
        nll_weight = 30.0
    """
    values = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)]
    plain = [f"{n} = {_toml(v)}\n" for n, v in values if not dataclasses.is_dataclass(v)]
    tables = [f"\n[{n}]\n{to_toml(v)}" for n, v in values if dataclasses.is_dataclass(v)]
    return "".join(plain + tables)


def _toml(value: str | bool | int | float) -> str:
    # A JSON string is a TOML basic string except for DEL, which TOML requires to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def presets() -> tuple[str, ...]:
    """Lists the names that `load_config` accepts: files in `configs/`, and the rows in them."""
    names = []
    for name, path in _files().items():
        rows = tomllib.loads(path.read_text("utf-8")).get("rows")
        names += [f"{name}:{row}" for row in rows] if rows else [name]
    return tuple(names)


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_folder("configs").glob("*.toml"))}


def shipped_folder(name: str) -> Path:
    """A folder that is inside the package in a wheel, and beside it in a checkout of the source.

    Args:
        name: `configs` or `examples`.
    """
    package = Path(__file__).parent
    return next(folder for folder in (package / name, package.parent / name) if folder.is_dir())


def load_config(name_or_path: str | Path = "default") -> RestoreConfig:
    """Loads a preset by its bare name, such as `pulse`, or the TOML file at a path.

    In a file with rows, a colon and its name select a row: `table2:mean_mmd_sphere`, `mine.toml:a`.

    Raises:
        ConfigError: If there is no such preset, file or row, or the file is invalid.
    """
    match = re.fullmatch(r"(.+):([\w-]+)", str(name_or_path))
    name, row = match.groups() if match else (name_or_path, None)
    path = Path(name)
    if path.suffix or len(path.parts) > 1:
        return from_toml(path, row=row)
    files = _files()
    if str(path) not in files:
        raise ConfigError(
            f"no preset is called {str(path)!r}; presets are {', '.join(presets())}, "
            f"and the path of a file ends in .toml"
        )
    return from_toml(files[str(path)], row=row)


def override(config: RestoreConfig, settings: Mapping[str, Any]) -> RestoreConfig:
    """Returns the config with new values of some settings.

    Args:
        config: The config that gives all other settings.
        settings: Values by dotted name, as in `search.steps`; None leaves a setting unchanged.

    Raises:
        ConfigError: If a setting is unknown, or a value is invalid.

    Example:
        >>> override(RestoreConfig(), {"search.steps": 7, "fidelity": None}).search.steps
        7
    """
    values = dataclasses.asdict(config)
    for name, value in settings.items():
        if value is not None:
            for table in reversed(name.split(".")):
                value = {table: value}
            values = _merged(values, value)
    return from_dict(RestoreConfig, values)


def parse_setting(text: str) -> tuple[str, Any]:
    """Parses NAME=VALUE; a value that is not TOML is taken as a string.

    Raises:
        ConfigError: If there is no equals sign.

    Example:
        >>> [parse_setting(text) for text in ("search.steps=7", "prior.space=whitened")]
        [('search.steps', 7), ('prior.space', 'whitened')]
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"--set takes NAME=VALUE, such as search.steps=50, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name, value
