"""Reads NVIDIA's network pickles without torch, TensorFlow or any of their code.

    stylegan2-ada-pytorch, stylegan3    a dict of modules: G, D, G_ema, each a call of
                                        `_reconstruct_persistent_obj` with a class's source in it,
                                        which is ignored, and its state; a module's tensors are in
                                        `_parameters` and `_buffers`, its submodules in `_modules`
    stylegan2, stylegan2-ada            a tuple (G, D, Gs) of `Network`, each with its variables as
                                        a list of names and arrays

Source: the structure of the public files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    DamagedCheckpointError,
    Instance,
    Maker,
    Name,
    Network,
    UnsafeCheckpointError,
    instance_of,
    safe_repr,
)
from perceptual_jax.checkpoints.untrusted.numpy_pickles import PickledArray
from perceptual_jax.checkpoints.untrusted.pickles import unpickle
from perceptual_jax.checkpoints.untrusted.torch_files import (
    LOAD,
    MAKERS,
    PERSISTENT,
    Tensor,
    load_from_bytes,
)

_MAX_DEPTH = 16


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
    """Whether a value stands for a torch module: one of NVIDIA's, or of any class saved whole."""
    if not isinstance(value, Instance):
        return False
    state = value.state
    return value.kind == PERSISTENT or (type(state) is dict and "_modules" in state)


def is_persistent(value: Any) -> bool:
    """Whether a value stands for an object of one of NVIDIA's persistent classes."""
    return isinstance(value, Instance) and value.kind == PERSISTENT


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
            elif value is not None and not isinstance(value, Instance):
                full = safe_repr(f"{prefix}{name}")
                raise DamagedCheckpointError(f"the file is damaged: {full} is no tensor")
    budget.spend("items", 1 + len(state))
    for name, value in state.items():
        if isinstance(name, str) and not name.startswith("_") and _plain(value):
            found.attributes[_named(prefix, name, budget)] = value
    for name, value in _dict(state, "_init_kwargs", budget).items():
        if _plain(value):
            found.attributes[_named(f"{prefix}init_kwargs.", name, budget)] = value
    if isinstance(instance, Instance):
        persistent = is_persistent(instance)
        kind = _text(instance.args[0].get("class_name")) if persistent else instance.kind.name
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
    if is_persistent(instance):
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
        if isinstance(entry[1], PickledArray):
            budget.check_key(entry[0])
            budget.spend("arrays", 1)
            arrays[_named(prefix, entry[0], budget)] = entry[1].array()
    for name, part in _dict(state, "components", budget).items():
        if is_tf_network(part):
            _gather_tf(part, f"{prefix}{name}/", arrays, budget, depth + 1)
    return state


_NETWORK = Name("dnnlib.tflib.network", "Network")

NVIDIA_MAKERS: Mapping[Name, Maker] = {
    **MAKERS,
    LOAD: load_from_bytes,
    _NETWORK: instance_of(_NETWORK),
}
"""Makers of the inert results of the calls in a network pickle, by the name called."""
