"""Reads the arrays of a `.caffemodel` without Caffe: the few fields of its protocol buffer.

    NetParameter     layer (100), layers (2, of versions before 2015)
    layer            name (1), blobs (7)            layers    name (4), blobs (6)
    blob             shape (7), data (5), double_data (8); num, channels, height, width (1 to 4)

Everything else is skipped. Nothing in the file is executed, every length is checked against the
rest of the file, nesting is no deeper than that of these messages, and the numbers of fields and of
arrays are bounded. Arrays are views of the file.

Source: Caffe's `caffe.proto`; the encoding of protocol buffers, https://protobuf.dev.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from perceptual_jax.checkpoints.untrusted.inert import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    safe_repr,
)

_MAX_FIELDS = 200_000
_MAX_BLOBS = 2_000
_MAX_AXES = 8
_LAYER, _LAYER_V1 = 100, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Field(NamedTuple):
    number: int
    wire: int
    value: int
    """The number, if the field is a varint."""
    data: memoryview
    """The bytes of every other field."""


def read_caffemodel(data: memoryview) -> dict[str, np.ndarray]:
    """The arrays of all layers: `{layer}.{i}`, where 0 is the weight and 1 the bias.

    Args:
        data: The bytes of the file, read-only.

    Raises:
        DamagedCheckpointError: If it is not a network of Caffe, or ends too early.
        UnsafeCheckpointError: If it has far more fields than a network.
    """
    count = [0]
    found: dict[str, np.ndarray] = {}
    for field in _fields(data, count):
        if field.number not in (_LAYER, _LAYER_V1) or field.wire != _BYTES:
            continue
        name_at, blobs_at = (1, 7) if field.number == _LAYER else (4, 6)
        name, blobs = "", []
        for inner in _fields(field.data, count):
            if inner.number == name_at and inner.wire == _BYTES:
                name = bytes(inner.data[:1000]).decode("utf-8", "replace")
            elif inner.number == blobs_at and inner.wire == _BYTES:
                blobs.append(inner.data)
        for i, blob in enumerate(blobs):
            found[f"{name}.{i}"] = _array(blob, name, count)
            if len(found) > _MAX_BLOBS:
                raise UnsafeCheckpointError(f"the file has more than {_MAX_BLOBS:,} arrays")
    if not found:
        raise DamagedCheckpointError("the file is no network of Caffe: it has no layer with arrays")
    return found


def _fields(data: memoryview, count: list[int]) -> Iterator[_Field]:
    at, empty = 0, data[:0]
    while at < len(data):
        count[0] += 1
        if count[0] > _MAX_FIELDS:
            raise UnsafeCheckpointError(f"the file has more than {_MAX_FIELDS:,} fields")
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield _Field(number, wire, value, empty)
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise DamagedCheckpointError(f"the file is no protocol buffer (wire type {wire})")
        if size > len(data) - at:
            raise DamagedCheckpointError(
                f"the file ends too early: {size:,} bytes are announced, {len(data) - at:,} are "
                "left; get it again"
            )
        yield _Field(number, wire, 0, data[at : at + size])
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DamagedCheckpointError("the file is no protocol buffer, or ends too early")


def _array(blob: memoryview, name: str, count: list[int]) -> np.ndarray:
    legacy, shape, numbers = [1, 1, 1, 1], None, np.zeros(0, "<f4")
    for field in _fields(blob, count):
        if field.number in (1, 2, 3, 4) and field.wire == _VARINT:
            legacy[field.number - 1] = field.value
        elif field.number == 7 and field.wire == _BYTES:
            shape = _shape(field.data, count)
        elif field.number in (5, 8) and field.wire == _BYTES:
            dtype = np.dtype("<f4" if field.number == 5 else "<f8")
            if len(field.data) % dtype.itemsize:
                raise DamagedCheckpointError(f"{safe_repr(name)} has a part of a number")
            numbers = np.frombuffer(field.data, dtype)
    sizes = tuple(legacy if shape is None else shape)
    if len(sizes) > _MAX_AXES or math.prod(sizes) != len(numbers):
        raise DamagedCheckpointError(
            f"{safe_repr(name)} has {len(numbers):,} numbers of shape {safe_repr(sizes)}"
        )
    return numbers.reshape(sizes)


def _shape(data: memoryview, count: list[int]) -> list[int]:
    sizes: list[int] = []
    for field in _fields(data, count):
        if field.number != 1:
            continue
        if field.wire == _VARINT:
            sizes.append(field.value)
        elif field.wire == _BYTES:
            at = 0
            while at < len(field.data) and len(sizes) <= _MAX_AXES:
                size, at = _varint(field.data, at)
                sizes.append(size)
    return sizes
