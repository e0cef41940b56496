"""Reads foreign checkpoints as arrays; nothing in the file is ever executed.

    NVIDIA .pkl          stylegan2-ada-pytorch, stylegan3 (torch); stylegan2, stylegan2-ada (TF)
    torch .pt .pth .ckpt zip files and older streams: rosinality, BasicSR, GFPGAN, Lightning
    .safetensors         arrays of any names
    .h5                  flaxmodels, where h5py is installed

Names, layouts and types stay those of the file; `convert` makes a generator from them.
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from perceptual_jax.checkpoints import nvidia_pickles, torch_files
from perceptual_jax.checkpoints.budget import Budget
from perceptual_jax.checkpoints.inert import (
    CheckpointError,
    DamagedCheckpointError,
    Instance,
    Network,
    UnknownFormatError,
    UnsafeCheckpointError,
)
from perceptual_jax.checkpoints.pickles import unpickle
from perceptual_jax.checkpoints.torch_files import Tensor

Format = Literal[
    "nvidia-torch", "nvidia-tensorflow", "torch-zip", "torch-legacy", "safetensors", "hdf5"
]


class Checkpoint(NamedTuple):
    """The content of a checkpoint."""

    format: Format
    networks: dict[str, Network]
    """Networks by the names of the file; the only network of a file has an empty name."""
    loose: dict[str, np.ndarray]
    """Arrays outside of the networks, such as `latent_avg`."""
    extra: dict[str, Any]
    """Plain values outside of the networks."""


def read_checkpoint(path: Path, *, budget: Budget | None = None) -> Checkpoint:
    """Reads a checkpoint of any known format.

    The arrays are views of the file, which is mapped and must not change while they are used.

    Args:
        path: The file.
        budget: Counts the work of reading pickles; None is a new one with the limits `LIMITS`.

    Raises:
        CheckpointError: If the file cannot be opened, its format is unknown
            (`UnknownFormatError`), it is damaged (`DamagedCheckpointError`), or it requires more
            than reading data (`UnsafeCheckpointError`).
    """
    try:
        with open(path, "rb") as file:
            if not (size := file.seek(0, 2)):
                raise DamagedCheckpointError("the file is empty; get it again")
            data = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        return _read(data, path, budget or Budget())
    except CheckpointError as error:
        raise type(error)(f"cannot read {path}: {error}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"cannot read {path} ({reason})") from None


def _read(data: memoryview, path: Path, budget: Budget) -> Checkpoint:
    head = bytes(data[:512])
    if head.startswith(b"PK\x03\x04"):
        return _of_torch("torch-zip", torch_files.read_zip(data, budget=budget), budget)
    if head.startswith(b"\x89HDF\r\n"):
        return _of_hdf5(path)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < len(data):
        return _of_safetensors(data)
    _refuse_text(head)
    if _is_stream(data):
        return _of_torch("torch-legacy", torch_files.read_stream(data, budget=budget), budget)
    return _of_nvidia(nvidia_pickles.read_network_pickle(data, budget=budget), budget)


def _refuse_text(head: bytes) -> None:
    start = head.lstrip()[:64].lower()
    if start.startswith(b"version https://git-lfs"):
        raise UnknownFormatError(
            "the file is a pointer of git-lfs, not the checkpoint; fetch it with git lfs pull"
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UnknownFormatError(
            "the file is a web page, not a checkpoint; the download failed, get it again"
        )
    if head.startswith(b"\x1f\x8b"):
        raise UnknownFormatError("the file is compressed by gzip; unpack it first")
    if head[257:262] == b"ustar":
        raise UnknownFormatError(
            "the file is a tar archive; unpack it, or save a very old torch file again"
        )
    if head[:1] not in b"\x80(}]lcd":
        raise UnknownFormatError(
            "the file is no checkpoint of a known format: NVIDIA .pkl, torch .pt, safetensors or h5"
        )


def _is_stream(data: memoryview) -> bool:
    try:
        return unpickle(data[:64], {})[0] == torch_files.MAGIC
    except CheckpointError:
        return False


def _of_torch(format: Format, value: Any, budget: Budget) -> Checkpoint:
    if isinstance(value, Tensor):
        raise UnknownFormatError("the file holds a single tensor, not a network")
    if type(value) is not dict:
        kind = value.kind if isinstance(value, Instance) else type(value).__name__
        raise UnknownFormatError(
            f"the file holds a whole {kind}, not its tensors; save its state_dict() instead"
        )
    if any(isinstance(part, Tensor) and "." in str(name) for name, part in value.items()):
        return Checkpoint(format, {"": _state_dict(value, budget)}, {}, {})
    networks = {}
    for name, part in value.items():
        if type(part) is dict and (network := _state_dict(part, budget)).arrays:
            networks[str(name)] = network
    loose = _state_dict(value, budget).arrays
    extra = {str(k): part for k, part in value.items() if type(part) in (int, float, str, bool)}
    return Checkpoint(format, networks, loose, extra)


def _state_dict(value: Mapping[Any, Any], budget: Budget) -> Network:
    budget.spend("items", len(value))
    tensors = {str(name): part for name, part in value.items() if isinstance(part, Tensor)}
    budget.spend("arrays", len(tensors))
    arrays = {name: tensor.array() for name, tensor in tensors.items()}
    return Network(arrays, {}, "state_dict")


def _of_nvidia(value: Any, budget: Budget) -> Checkpoint:
    if type(value) is tuple and value and all(map(nvidia_pickles.is_tf_network, value)):
        names = ("G", "D", "Gs") if len(value) == 3 else map(str, range(len(value)))
        networks = {
            name: nvidia_pickles.tf_network_of(part, budget=budget)
            for name, part in zip(names, value, strict=True)
        }
        return Checkpoint("nvidia-tensorflow", networks, {}, {})
    parts: dict[Any, Any] = value if type(value) is dict else {"": value}
    networks = {
        str(name): nvidia_pickles.module_of(part, budget=budget)
        for name, part in parts.items()
        if nvidia_pickles.is_module(part)
    }
    if not networks:
        raise UnknownFormatError(
            "the file is a pickle, but holds none of NVIDIA's networks (G, D, G_ema or Gs)"
        )
    return Checkpoint("nvidia-torch", networks, {}, {})


def _of_safetensors(data: memoryview) -> Checkpoint:
    try:
        arrays = safetensors.numpy.load(bytes(data))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise DamagedCheckpointError(f"the file is a damaged safetensors file ({error})") from None
    return Checkpoint("safetensors", {"": Network(arrays, {}, "state_dict")}, {}, {})


def _of_hdf5(path: Path) -> Checkpoint:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CheckpointError(
            "HDF5 files need h5py: install perceptual-jax with its extra `hdf5`"
        ) from None
    arrays: dict[str, np.ndarray] = {}
    left = 16 * path.stat().st_size  # bytes: a dataset may claim more than it stores

    def visit(name: str, item: Any) -> None:
        nonlocal left
        # An external link or a virtual dataset would read other files.
        if isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external:
            if (left := left - item.nbytes) < 0:
                raise UnsafeCheckpointError("the file's arrays are far larger than the file")
            arrays[name] = np.asarray(item)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DamagedCheckpointError(f"the file is a damaged HDF5 file ({error})") from None
    return Checkpoint("hdf5", {"": Network(arrays, {}, "state_dict")}, {}, {})
