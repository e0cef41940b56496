"""Weights on disk: one safetensors file with the arrays and their metadata.

The file's metadata has two entries: `perceptual_jax`, a JSON object with at least `architecture`
and `config`, and `sha256`, a digest of that object and of every array's name, type, shape and
bytes. One file is therefore complete and can be verified by itself.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.regular import check_regular
from perceptual_jax.io.files import write_atomically

Arrays = dict[str, np.ndarray]
"""Arrays of a network by their dotted names."""


class NotOursError(WeightsError):
    """A safetensors file that this project did not write."""


class Weights(NamedTuple):
    """The content of a weights file."""

    arrays: dict[str, np.ndarray]
    """Arrays by their dotted names."""
    metadata: dict[str, Any]
    """JSON object with at least `architecture` and `config`."""


def save(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Writes a weights file atomically: other processes see the old file or the new one.

    Args:
        path: Path of the file, in an existing folder.
        arrays: Arrays by their dotted names.
        metadata: An object that JSON can represent, with `architecture` (str) and `config` (dict).

    Raises:
        WriteError: If the disk is full or the folder cannot be written to.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    text = json.dumps(metadata, sort_keys=True)
    digests = {"perceptual_jax": text, "sha256": _digest(arrays, text)}
    write_atomically(path, safetensors.numpy.save(arrays, metadata=digests))


def load(path: Path) -> Weights:
    """Reads a weights file and verifies its checksum.

    Raises:
        WeightsError: If it is not a weights file of this project, or is damaged.
    """
    with _open(path) as file:
        text, expected = _metadata(path, file)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _digest(arrays, text) != expected:
        raise WeightsError(f"{path} is damaged: its content does not match its checksum")
    return Weights(arrays, _parsed(path, text))


def inspect(path: Path) -> dict[str, Any]:
    """The metadata of a weights file; only the header is read, without the checksum.

    Raises:
        WeightsError: If it is not a weights file of this project.
    """
    with _open(path) as file:
        return _parsed(path, _metadata(path, file)[0])


def _open(path: Path) -> Any:
    try:
        check_regular(path)
        return safetensors.safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path} is not a safetensors file: {reason}") from None


def _metadata(path: Path, file: Any) -> tuple[str, str]:
    header = file.metadata() or {}
    if not {"perceptual_jax", "sha256"} <= header.keys():
        raise NotOursError(
            f"{path} is a safetensors file, but not one written by perceptual_jax: "
            "it lacks its metadata"
        )
    return header["perceptual_jax"], header["sha256"]


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is damaged: its metadata is not JSON ({error})") from None
    if not isinstance(metadata, dict) or not {"architecture", "config"} <= metadata.keys():
        raise WeightsError(f"{path} does not say its architecture and config")
    return metadata


def _digest(arrays: dict[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"\n{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()
