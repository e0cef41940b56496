"""Reads NVIDIA's network pickles without torch, TensorFlow or any of their code.

    stylegan2-ada-pytorch, stylegan3    a dict of modules: G, D, G_ema, each a call of
                                        `_reconstruct_persistent_obj` with a class's source in it,
                                        which is ignored, and its state; a module's tensors are in
                                        `_parameters` and `_buffers`, its submodules in `_modules`
    stylegan2, stylegan2-ada            a tuple (G, D, Gs) of `Network`, each with its variables as
                                        a list of names and arrays

Source: the structure of the public files.
"""

import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from perceptual_jax.checkpoints.budget import Budget
from perceptual_jax.checkpoints.inert import (
    DamagedCheckpointError,
    Instance,
    Maker,
    Name,
    Network,
    UnsafeCheckpointError,
    instance_of,
    safe_repr,
)
from perceptual_jax.checkpoints.pickles import unpickle
from perceptual_jax.checkpoints.torch_files import LOAD, MAKERS, Tensor, load_from_bytes

_MAX_DEPTH = 16
_MAX_AXES = 8
_NUMBERS = "fiub"


def read_network_pickle(data: memoryview, *, budget: Budget) -> Any:
    """The value of a network pickle: dicts, tuples and `Instance`s.

    Args:
        data: The file's bytes.
        budget: Counts the work.

    Raises:
        CheckpointError: If it is not a network pickle, or not safe.
    """
    value, _ = unpickle(data, NVIDIA_MAKERS, budget=budget)
    return value


def module_of(instance: Instance, *, budget: Budget) -> Network:
    """A torch module with all its submodules, flattened.

    Args:
        instance: The stand-in for the module.
        budget: Counts the work.

    Raises:
        CheckpointError: If its state is not that of a module.
    """
    found = Network({}, {}, "")
    _gather(instance, "", found, budget, 0)
    return found._replace(kind=found.attributes.get("class_name", ""))


def tf_network_of(instance: Instance, *, budget: Budget) -> Network:
    """A TensorFlow network with its components, flattened.

    Args:
        instance: The stand-in for the network.
        budget: Counts the work.

    Raises:
        CheckpointError: If its state is not that of a network.
    """
    arrays: dict[str, np.ndarray] = {}
    state = _gather_tf(instance, "", arrays, budget, 0)
    settings = _dict(state, "static_kwargs", budget) | {"version": state.get("version")}
    attributes = {name: value for name, value in settings.items() if _plain(value)}
    return Network(arrays, attributes, _text(state.get("build_func_name")))


def is_module(value: Any) -> bool:
    """Whether a value stands for a torch module."""
    return isinstance(value, Instance) and value.kind == _RECONSTRUCT


def is_tf_network(value: Any) -> bool:
    """Whether a value stands for a TensorFlow network."""
    return isinstance(value, Instance) and value.kind == _NETWORK


def _gather(instance: Any, prefix: str, found: Network, budget: Budget, depth: int) -> None:
    """Adds the arrays and attributes of a module and of its submodules.

    Modules may be shared, so that a small file can refer to more of them than memory holds: each
    visit of a module counts, and so do the characters of each name.
    """
    if depth > _MAX_DEPTH:
        raise UnsafeCheckpointError("the file's modules are nested too deeply")
    state = _state_of(instance)
    for group in ("_parameters", "_buffers"):
        for name, value in _dict(state, group, budget).items():
            if isinstance(value, Tensor):
                budget.spend("arrays", 1)
                found.arrays[_named(prefix, name, budget)] = value.array()
            elif value is not None:
                full = safe_repr(f"{prefix}{name}")
                raise DamagedCheckpointError(f"the file is damaged: {full} is no tensor")
    budget.spend("items", 1 + len(state))
    for name, value in state.items():
        if isinstance(name, str) and not name.startswith("_") and _plain(value):
            found.attributes[_named(prefix, name, budget)] = value
    for name, value in _dict(state, "_init_kwargs", budget).items():
        if _plain(value):
            found.attributes[_named(f"{prefix}init_kwargs.", name, budget)] = value
    if is_module(instance):
        kind = _text(instance.args[0].get("class_name"))
        found.attributes[_named(prefix, "class_name", budget)] = kind
    for name, part in _dict(state, "_modules", budget).items():
        if part is not None:
            _gather(part, f"{prefix}{name}.", found, budget, depth + 1)


def _named(prefix: str, name: str, budget: Budget) -> str:
    budget.spend("copied", len(prefix) + len(name))
    return prefix + name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _state_of(instance: Any) -> dict[str, Any]:
    state = getattr(instance, "state", None)
    if is_module(instance):
        meta = instance.args[0] if len(instance.args) == 1 else None
        if type(meta) is dict and meta.get("type") != "class":
            kind = safe_repr(meta.get("type"))
            raise UnsafeCheckpointError(
                f"the file has a persistent {kind} where a class's object should be"
            )
        state = meta.get("state") if type(meta) is dict else None
    if type(state) is not dict:
        raise DamagedCheckpointError("the file is damaged: a module has no state")
    return state


def _dict(state: Mapping[str, Any], name: str, budget: Budget) -> dict[str, Any]:
    value = state.get(name) or {}
    if type(value) is dict:
        budget.spend("items", len(value))
    if type(value) is not dict or not all(isinstance(key, str) for key in value):
        raise DamagedCheckpointError(f"the file is damaged: a module's {name} are no dict")
    return value


def _plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return len(value) < 64 and all(type(v) in (int, float, str, bool) for v in value)
    return value is None or type(value) in (int, float, str, bool)


def _gather_tf(
    instance: Any, prefix: str, arrays: dict[str, np.ndarray], budget: Budget, depth: int
) -> dict:
    """Adds the arrays of a network and of its components; returns the state of the network."""
    if depth > _MAX_DEPTH:
        raise UnsafeCheckpointError("the file's networks are nested too deeply")
    state = instance.state
    if type(state) is not dict:
        raise DamagedCheckpointError("the file is damaged: a network has no state")
    variables = state.get("variables") or ()
    if type(variables) not in (list, tuple):
        raise DamagedCheckpointError("the file is damaged: a network's variables are no list")
    budget.spend("items", 1 + len(variables))
    for entry in variables:
        if type(entry) is not tuple or len(entry) != 2 or not isinstance(entry[0], str):
            raise DamagedCheckpointError("the file is damaged: a variable is no name and array")
        if isinstance(entry[1], _PickledArray):
            budget.check_key(entry[0])
            budget.spend("arrays", 1)
            arrays[_named(prefix, entry[0], budget)] = entry[1].array()
    for name, part in _dict(state, "components", budget).items():
        if is_tf_network(part):
            _gather_tf(part, f"{prefix}{name}/", arrays, budget, depth + 1)
    return state


class _PickledType:
    """An inert stand-in for a NumPy dtype of plain numbers."""

    def __init__(self, _: Budget, code: Any, *__: Any):
        name = code.decode() if isinstance(code, bytes) else code
        if name == "bfloat16":
            self.dtype = np.dtype(ml_dtypes.bfloat16)
            return
        short = type(name) is str and len(name) <= 4
        if not short or name[:1] not in _NUMBERS or not name[1:].isdecimal():
            raise UnsafeCheckpointError(f"the file has an array of the type {safe_repr(name)}")
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        order = state[1] if type(state) is tuple and len(state) > 1 else None
        if order not in ("<", "|", "=", b"<", b"|", b"="):
            raise UnsafeCheckpointError(f"the file has an array of byte order {safe_repr(order)}")


class _PickledArray:
    """An inert stand-in for a NumPy array, whose state holds shape, dtype and bytes."""

    def __init__(self, *_: Any):
        self._array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _PickledType) or not isinstance(data, bytes | memoryview):
            raise UnsafeCheckpointError("the file has an array of objects")
        self._array = _array_of(shape, kind, bool(fortran), data)

    def array(self) -> np.ndarray:
        if self._array is None:
            raise DamagedCheckpointError("the file is damaged: an array has no numbers")
        return self._array


def _array_of(shape: Any, kind: _PickledType, fortran: bool, data: Any) -> np.ndarray:
    if (
        type(shape) not in (tuple, list)
        or len(shape) > _MAX_AXES
        or any(type(n) is not int or not 0 <= n < 2**40 for n in shape)
    ):
        raise UnsafeCheckpointError(f"the file has an array of shape {safe_repr(shape)}")
    sizes = tuple(shape)
    if math.prod(sizes) * kind.dtype.itemsize != len(data):
        raise UnsafeCheckpointError(
            f"the file has an array of shape {sizes} with {len(data):,} bytes of numbers"
        )
    flat = np.frombuffer(data, kind.dtype)
    return flat.reshape(sizes, order="F" if fortran else "C")


def _scalar(_: Budget, kind: Any, data: Any) -> Any:
    if not isinstance(kind, _PickledType):
        raise UnsafeCheckpointError("the file has a number that is an object")
    return _array_of((), kind, False, data).item()


def _frombuffer(_: Budget, data: Any, kind: Any, shape: Any, order: Any = "C") -> _PickledArray:
    array = _PickledArray()
    array.set_state((1, shape, kind, order == "F", data))
    return array


def _encode(budget: Budget, text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafeCheckpointError(f"the file encodes something as {safe_repr(encoding)}")
    budget.spend("copied", len(text))
    return text.encode("latin1")


def _set(budget: Budget, items: Any = ()) -> set[Any]:
    budget.spend("items", len(items))
    for item in items:
        budget.check_key(item)
    return set(items)


def _easy_dict(*_: Any) -> dict[Any, Any]:
    return {}


_RECONSTRUCT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
_NETWORK = Name("dnnlib.tflib.network", "Network")


NVIDIA_MAKERS: Mapping[Name, Maker] = {
    **MAKERS,
    LOAD: load_from_bytes,
    _RECONSTRUCT: instance_of(_RECONSTRUCT),
    _NETWORK: instance_of(_NETWORK),
    Name("dnnlib", "EasyDict"): _easy_dict,
    Name("dnnlib.util", "EasyDict"): _easy_dict,
    **{Name(module, "set"): _set for module in ("builtins", "__builtin__")},
    **{Name(module, "bytes"): lambda _: b"" for module in ("builtins", "__builtin__")},
    Name("_codecs", "encode"): _encode,
    Name("numpy", "dtype"): _PickledType,
    Name("numpy", "ndarray"): _PickledArray,
    **{
        Name(f"numpy.{core}.multiarray", function): maker
        for core in ("core", "_core")
        for function, maker in (("_reconstruct", _PickledArray), ("scalar", _scalar))
    },
    **{Name(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
"""Makers of the inert results of the calls in a network pickle, by the name called."""
