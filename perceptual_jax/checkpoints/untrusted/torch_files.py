"""Reads files of `torch.save` without torch: zip files and the older streams.

A zip file holds a pickle and, beside it, the raw numbers of each storage; the older stream holds
four pickles and the storages after them. Pickled tensors give their offset, size and strides in a
storage, which are checked before any view is made. All storages stay views of the bytes of the
file.

Source: the public documentation of torch's serialisation, and the structure of the files.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from perceptual_jax.checkpoints.untrusted.archives import members
from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.harmless import HARMLESS_MAKERS
from perceptual_jax.checkpoints.untrusted.inert import (
    DamagedCheckpointError,
    Maker,
    Name,
    UnknownFormatError,
    UnsafeCheckpointError,
    instance_of,
    safe_repr,
)
from perceptual_jax.checkpoints.untrusted.numpy_pickles import NUMPY_MAKERS
from perceptual_jax.checkpoints.untrusted.pickles import unpickle

MAGIC = 0x1950A86A20F9469CFC6C
"""Magic number at the head of the older streams."""

_MAX_AXES = 8
_TYPES = {
    "Double": np.dtype("<f8"),
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
    "ComplexFloat": np.dtype("<c8"),
    "ComplexDouble": np.dtype("<c16"),
    "Untyped": np.dtype("u1"),
}


class Storage:
    """A flat array of one dtype; in older streams its bytes follow the tensors that view it."""

    def __init__(self, dtype: np.dtype, size: int):
        """Makes a storage whose bytes are not yet known."""
        self.dtype, self.size = dtype, size
        self.numbers: np.ndarray | None = None

    def fill(self, data: memoryview) -> None:
        """Sets the bytes of the storage."""
        if len(data) != self.size * self.dtype.itemsize:
            raise DamagedCheckpointError(
                f"the file is damaged: a storage of {self.size:,} numbers has {len(data):,} bytes"
            )
        self.numbers = np.frombuffer(data, self.dtype)


class Tensor(NamedTuple):
    """A checked view of a storage, with offset and strides in numbers."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The view as a read-only array."""
        numbers = self.storage.numbers
        if numbers is None:
            raise DamagedCheckpointError("the file is damaged: a storage has no numbers")
        steps = tuple(step * self.storage.dtype.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.size, steps, writeable=False
        )


def rebuild_tensor(
    budget: Budget, storage: Any, offset: Any, size: Any, stride: Any, *_: Any
) -> Tensor:
    """A tensor that lies within its storage.

    Args:
        budget: Counts the work.
        storage: The storage.
        offset: Index of the first number.
        size: Length of each axis.
        stride: Step of each axis, in numbers.

    Raises:
        UnsafeCheckpointError: If the tensor exceeds the storage.
    """
    if not isinstance(storage, Storage):
        raise DamagedCheckpointError("the file is damaged: a tensor has no storage")
    axes = [len(numbers) if type(numbers) in (tuple, list) else -1 for numbers in (size, stride)]
    if not (
        0 <= axes[0] == axes[1] <= _MAX_AXES
        and all(type(n) is int and 0 <= n < 2**40 for n in (offset, *size, *stride))
    ):
        raise UnsafeCheckpointError(
            f"the file has a tensor of shape {safe_repr(size)} and strides {safe_repr(stride)} "
            f"at {safe_repr(offset)}"
        )
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count and (last >= storage.size or count > storage.size):
        raise UnsafeCheckpointError(
            f"the file has a tensor of shape {tuple(size)} at {offset} that does not lie within "
            f"its storage of {storage.size:,} numbers"
        )
    return Tensor(storage, offset if count else 0, tuple(size), tuple(stride))


def read_zip(data: memoryview, *, budget: Budget) -> Any:
    """The value that a zip file of `torch.save` holds.

    Args:
        data: The file's bytes.
        budget: Counts the work.

    Raises:
        CheckpointError: If it is not such a file, or not safe.
    """
    files = members(data)
    folders = [name.removesuffix("data.pkl") for name in files if name.endswith("data.pkl")]
    if len(folders) != 1:
        raise UnknownFormatError(
            "the file is a zip archive, but not one that torch.save wrote: it lacks data.pkl"
        )
    order = files.get(f"{folders[0]}byteorder", b"little")
    if bytes(order) != b"little":
        raise UnknownFormatError("the file's numbers are big-endian; save it again elsewhere")
    storages: dict[str, Storage] = {}

    def find(reference: Any) -> Storage:
        dtype, key, size = _reference(reference, budget)
        if key not in storages:
            member = files.get(f"{folders[0]}data/{key}")
            if member is None:
                raise DamagedCheckpointError(
                    f"the file is damaged: it has no storage {safe_repr(key)}"
                )
            storages[key] = Storage(dtype, size)
            storages[key].fill(member)
        return _same(storages[key], dtype, size, key)

    pickled = files[f"{folders[0]}data.pkl"]
    value, _ = unpickle(pickled, MAKERS, budget=budget, find_storage=find)
    return value


def read_stream(data: memoryview, *, budget: Budget, nested: bool = False) -> Any:
    """The value that an older stream of `torch.save` holds.

    Args:
        data: The whole stream.
        budget: Counts the work.
        nested: Whether the stream is part of another pickle; it must then contain no further one.

    Raises:
        CheckpointError: If it is not such a file, or not safe.
    """
    storages: dict[str, Storage] = {}

    def find(reference: Any) -> Storage | Name:
        if (kind := _class_in(reference)) is not None:
            return kind
        dtype, key, size = _reference(reference, budget)
        if (size * dtype.itemsize) > len(data):
            raise UnsafeCheckpointError(
                f"the file has a storage of {size:,} numbers, more than its own {len(data):,} bytes"
            )
        storage = storages.setdefault(key, Storage(dtype, size))
        return _same(storage, dtype, size, key)

    at, head = 0, []
    for _ in range(3):
        value, at = unpickle(data, {}, budget=budget, start=at)
        head.append(value)
    if head[0] != MAGIC:
        raise UnknownFormatError("the file is a pickle, but not one that torch.save wrote")
    if isinstance(head[2], dict) and head[2].get("little_endian") is False:
        raise UnknownFormatError("the file's numbers are big-endian; save it again elsewhere")
    makers = MAKERS if nested else {**MAKERS, LOAD: load_from_bytes}
    value, at = unpickle(data, makers, budget=budget, find_storage=find, start=at)
    keys, at = unpickle(data, {}, budget=budget, start=at)
    names = [str(k) for k in keys if type(k) in (str, int)] if type(keys) is list else []
    # Membership comes first, because sorting would compare long equal strings in full.
    known = len(names) == len(storages) and all(name in storages for name in names)
    if type(keys) is not list or not known or len(set(names)) != len(keys):
        raise DamagedCheckpointError("the file is damaged: its storages are not those it uses")
    for key in names:
        storage = storages[key]
        if at + 8 > len(data) or struct.unpack_from("<q", data, at)[0] != storage.size:
            raise DamagedCheckpointError(
                f"the file ends too early, before storage {safe_repr(key)}"
            )
        end = at + 8 + storage.size * storage.dtype.itemsize
        storage.fill(data[at + 8 : end])
        at = end
    return value


def load_from_bytes(budget: Budget, data: Any) -> Any:
    """A storage that is stored as an older stream within another pickle."""
    budget.spend("arrays", 1)
    if not isinstance(data, bytes | memoryview):
        raise DamagedCheckpointError("the file is damaged: a nested storage is no byte string")
    return read_stream(memoryview(data), budget=budget, nested=True)


def _class_in(reference: Any) -> Name | None:
    """The name of a module's class where a reference has it, with its source, which is ignored."""
    is_class = type(reference) is tuple and len(reference) == 4 and reference[0] == "module"
    return reference[1] if is_class and isinstance(reference[1], Name) else None


def _reference(reference: Any, budget: Budget) -> tuple[np.dtype, str, int]:
    if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
        raise UnsafeCheckpointError("the file refers to data outside of its pickle")
    _, kind, key, _, size, *view = reference
    name = kind.name.removesuffix("Storage") if isinstance(kind, Name) else ""
    if name not in _TYPES or kind.module.split(".")[0] != "torch":
        raise UnknownFormatError(
            f"the file has numbers of the type {safe_repr(kind)}, which is not supported"
        )
    if type(size) is not int or size < 0 or type(key) not in (str, int) or any(view):
        raise UnsafeCheckpointError(
            f"the file has a storage {safe_repr(key)} of {safe_repr(size)} numbers"
        )
    budget.reach("key_length", len(str(key)))
    return _TYPES[name], str(key), size


def _same(storage: Storage, dtype: np.dtype, size: int, key: str) -> Storage:
    if (storage.dtype, storage.size) != (dtype, size):
        raise UnsafeCheckpointError(
            f"the file gives the storage {safe_repr(key)} two types or sizes"
        )
    return storage


def _first(_: Budget, value: Any, *__: Any) -> Any:
    return value


def _of_type(budget: Budget, function: Any, _: Any, args: Any, *__: Any) -> Any:
    """A tensor with attributes of its own, which are left aside."""
    if function not in _REBUILD or type(args) is not tuple:
        raise UnsafeCheckpointError(f"the file makes a tensor by {safe_repr(function)}")
    return _REBUILD[function](budget, *args)


def _size(_: Budget, size: Any = ()) -> tuple[Any, ...]:
    if type(size) not in (tuple, list) or len(size) > _MAX_AXES:
        raise UnsafeCheckpointError(f"the file has a tensor of shape {safe_repr(size)}")
    return tuple(size)


LOAD = Name("torch.storage", "_load_from_bytes")
PERSISTENT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
"""Makes an object of one of NVIDIA's classes, whose source is in its argument; never called."""
_REBUILD = {
    Name("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): _first,
    Name("torch._utils", "_rebuild_parameter_with_state"): _first,
}
MAKERS: Mapping[Name, Maker] = {
    **NUMPY_MAKERS,
    **HARMLESS_MAKERS,
    **_REBUILD,
    Name("torch", "Size"): _size,
    Name("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    PERSISTENT: instance_of(PERSISTENT),
}
"""Makers of the inert results of the calls in a file of `torch.save`, by the name called."""
