"""NumPy's arrays and scalars in a pickle, without NumPy's own reconstruction.

An array is a call of `_reconstruct` and a state of shape, dtype and bytes; a scalar is a call of
`scalar`. Numbers become arrays that view the file. Texts, dates, complex numbers and records,
which no network consists of, are accepted beside a network and stay inert; arrays of objects would
be pickles within the pickle and are refused.

Source: the structure of the files; NumPy's documentation of `ndarray.__reduce__`.
"""

import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    DamagedCheckpointError,
    Instance,
    Maker,
    Name,
    UnsafeCheckpointError,
    instance_of,
    safe_repr,
)

_MAX_AXES = 8
_NUMBERS = "fiub"
_OTHERS = "USaVMmc"
"""First letters of the dtypes that are accepted, but not read."""


class PickledType:
    """An inert stand-in for a NumPy dtype; its `dtype` is None unless it is of plain numbers."""

    def __init__(self, _: Budget, code: Any, *__: Any):
        """Parses the dtype's code, such as `f4`.

        Raises:
            UnsafeCheckpointError: If it is a dtype of objects, or none that NumPy writes.
        """
        name = code.decode() if isinstance(code, bytes) else code
        self.dtype: np.dtype | None = None
        if name == "bfloat16":
            self.dtype = np.dtype(ml_dtypes.bfloat16)
            return
        plain = type(name) is str and len(name) <= 12 and name[1:].isdecimal()
        if plain and name[0] in _NUMBERS and len(name) <= 4:
            self.dtype = np.dtype(name)
        elif not plain or name[0] not in _OTHERS:
            raise UnsafeCheckpointError(f"the file has an array of the type {safe_repr(name)}")

    def set_state(self, state: Any) -> None:
        """Checks the byte order.

        Raises:
            UnsafeCheckpointError: If it is not that of this machine or irrelevant.
        """
        order = state[1] if type(state) is tuple and len(state) > 1 else None
        if order not in ("<", "|", "=", b"<", b"|", b"="):
            raise UnsafeCheckpointError(f"the file has an array of byte order {safe_repr(order)}")


class PickledArray:
    """An inert stand-in for a NumPy array, whose state holds shape, dtype and bytes."""

    def __init__(self, *_: Any):
        """Makes an array whose numbers are not yet known."""
        self._array: np.ndarray | None = None
        self.is_numeric = True

    def set_state(self, state: Any) -> None:
        """Sets shape, dtype and bytes.

        Raises:
            UnsafeCheckpointError: If they do not fit each other, or hold objects.
        """
        _, shape, kind, fortran, data = state
        if not isinstance(kind, PickledType) or not isinstance(data, bytes | memoryview):
            raise UnsafeCheckpointError("the file has an array of objects")
        self.is_numeric = kind.dtype is not None
        if kind.dtype is not None:
            self._array = _array_of(shape, kind.dtype, bool(fortran), data)

    def array(self) -> np.ndarray:
        """The numbers, as a read-only view of the file.

        Raises:
            DamagedCheckpointError: If the file gave it none.
        """
        if self._array is None:
            raise DamagedCheckpointError("the file is damaged: an array has no numbers")
        return self._array


def _array_of(shape: Any, dtype: np.dtype, fortran: bool, data: Any) -> np.ndarray:
    if (
        type(shape) not in (tuple, list)
        or len(shape) > _MAX_AXES
        or any(type(n) is not int or not 0 <= n < 2**40 for n in shape)
    ):
        raise UnsafeCheckpointError(f"the file has an array of shape {safe_repr(shape)}")
    sizes = tuple(shape)
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise UnsafeCheckpointError(
            f"the file has an array of shape {sizes} with {len(data):,} bytes of numbers"
        )
    flat = np.frombuffer(data, dtype)
    return flat.reshape(sizes, order="F" if fortran else "C")


def _scalar(_: Budget, kind: Any, data: Any = b"") -> Any:
    if not isinstance(kind, PickledType):
        raise UnsafeCheckpointError("the file has a number that is an object")
    if kind.dtype is None:
        return Instance(Name("numpy", "generic"))
    return _array_of((), kind.dtype, False, data).item()


def _frombuffer(_: Budget, data: Any, kind: Any, shape: Any, order: Any = "C") -> PickledArray:
    array = PickledArray()
    array.set_state((1, shape, kind, order == "F", data))
    return array


def _encode(budget: Budget, text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafeCheckpointError(f"the file encodes something as {safe_repr(encoding)}")
    budget.spend("copied", len(text))
    return text.encode("latin1")


_GENERATORS = ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor")

NUMPY_MAKERS: Mapping[Name, Maker] = {
    Name("_codecs", "encode"): _encode,
    Name("numpy", "dtype"): PickledType,
    Name("numpy", "ndarray"): PickledArray,
    **{
        Name(f"numpy.{core}.multiarray", function): maker
        for core in ("core", "_core")
        for function, maker in (("_reconstruct", PickledArray), ("scalar", _scalar))
    },
    **{Name(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    **{
        name: instance_of(name)
        for name in (
            Name("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
            *(Name("numpy.random._pickle", function) for function in _GENERATORS),
        )
    },
}
"""Makers of the inert results of NumPy's calls in a pickle, by the name called."""
