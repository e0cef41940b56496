"""Reads foreign checkpoints as arrays; nothing in the file is ever executed.

    NVIDIA .pkl          stylegan2-ada-pytorch, stylegan3 (torch); stylegan2, stylegan2-ada (TF)
    torch .pt .pth .ckpt zip files and older streams: rosinality, BasicSR, GFPGAN, Lightning
    .safetensors         arrays of any names
    .h5                  flaxmodels, where h5py is installed

Names, layouts and types stay those of the file; `convert` makes a generator from them.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from perceptual_jax.checkpoints.regular import open_regular
from perceptual_jax.checkpoints.untrusted import nvidia_pickles, torch_files
from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.contents import Checkpoint, of_pickle, of_torch
from perceptual_jax.checkpoints.untrusted.inert import (
    CheckpointError,
    DamagedCheckpointError,
    Network,
    UnknownFormatError,
    UnsafeCheckpointError,
    safe_repr,
)
from perceptual_jax.checkpoints.untrusted.pickles import unpickle

__all__ = ["Checkpoint", "Network", "read_checkpoint"]


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
        with open_regular(path) as file:
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
        return of_torch("torch-zip", torch_files.read_zip(data, budget=budget), budget)
    if head.startswith(b"\x89HDF\r\n"):
        return _of_hdf5(path)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < len(data):
        return _of_safetensors(data)
    _refuse_text(head)
    if _is_stream(data):
        return of_torch("torch-legacy", torch_files.read_stream(data, budget=budget), budget)
    return of_pickle(nvidia_pickles.read_network_pickle(data, budget=budget), budget)


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


_SAFETENSORS = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype("<c8"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def _of_safetensors(data: memoryview) -> Checkpoint:
    try:
        # Not `safetensors.numpy.load`, since it knows only the types that NumPy itself has.
        tensors = safetensors.deserialize(bytes(data))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise DamagedCheckpointError(f"the file is a damaged safetensors file ({error})") from None
    arrays = {}
    for name, tensor in tensors:
        dtype = _SAFETENSORS.get(tensor["dtype"])
        if dtype is None:
            raise UnknownFormatError(
                f"{safe_repr(name)} has numbers of the type {safe_repr(tensor['dtype'])}, which is "
                "not supported; save it as F32"
            )
        flat = np.frombuffer(tensor["data"], dtype)
        arrays[name] = flat.reshape(tensor["shape"])
        arrays[name].flags.writeable = False
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
