"""The networks in the value that a pickle or a torch file holds.

    {"g_ema": {name: tensor}, "latent_avg": tensor}    a training's checkpoint: networks by name
    {"state_dict": {...}, "opts": {...}}               pSp, e4e, Lightning
    {"models": {"G_ema": {...}}}                       nested once more
    {name: tensor}                                     a network alone
    a module, or {"G_ema": a module}                   saved whole: NVIDIA's pickles, torch.save(G)

A module that was saved whole stays inert: its class is a name, and its tensors are collected from
its state.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from perceptual_jax.checkpoints.untrusted import nvidia_pickles
from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    Instance,
    Network,
    UnknownFormatError,
    as_dict,
)
from perceptual_jax.checkpoints.untrusted.numpy_pickles import PickledArray
from perceptual_jax.checkpoints.untrusted.torch_files import Tensor

Format = Literal[
    "nvidia-torch",
    "nvidia-tensorflow",
    "torch-zip",
    "torch-legacy",
    "pickle",
    "safetensors",
    "hdf5",
]

MEANS = ("latent_avg", "w_avg", "dlatent_avg", "mean_latent", "latent_mean", "w_mean")
"""Names under which projects store the mean of W beside a network."""

_MAX_DEPTH = 4


class Checkpoint(NamedTuple):
    """The content of a checkpoint."""

    format: Format
    networks: dict[str, Network]
    """Networks by the names of the file, nested names joined by dots; the only network of a file
    has an empty name."""
    loose: dict[str, np.ndarray]
    """Arrays outside of the networks, such as `latent_avg`."""
    extra: dict[str, Any]
    """Plain values outside of the networks."""


def of_torch(format: Format, value: Any, budget: Budget) -> Checkpoint:
    """The networks in the value of a torch file.

    Args:
        format: The format of the file.
        value: What the file's pickle made.
        budget: Counts the work.

    Raises:
        CheckpointError: If there is no network in it.
    """
    if nvidia_pickles.is_module(value):
        network = nvidia_pickles.module_of(value, budget=budget)
        return Checkpoint(format, {"": network}, {}, {})
    if isinstance(value, Tensor):
        raise UnknownFormatError("the file holds a single tensor, not a network")
    items = as_dict(value)
    if items is None:
        kind = value.kind if isinstance(value, Instance) else type(value).__name__
        if str(kind).startswith("__torch__"):
            raise UnknownFormatError(
                "the file is a compiled TorchScript program; save the state_dict() of its network "
                "instead"
            )
        raise UnknownFormatError(
            f"the file holds a whole {kind}, not its tensors; save its state_dict() instead"
        )
    return _of_dict(format, items, budget)


def of_pickle(value: Any, budget: Budget) -> Checkpoint:
    """The networks in the value of a plain pickle: NVIDIA's, and others that hold arrays.

    Args:
        value: What the pickle made.
        budget: Counts the work.

    Raises:
        CheckpointError: If there is no network in it.
    """
    parts: tuple[Any, ...] = value if type(value) is tuple else (value,)
    if parts and all(map(nvidia_pickles.is_tf_network, parts)):
        alone = ("",) if len(parts) == 1 else map(str, range(len(parts)))
        names = ("G", "D", "Gs") if len(parts) == 3 else alone
        networks = {
            name: nvidia_pickles.tf_network_of(part, budget=budget)
            for name, part in zip(names, parts, strict=True)
        }
        return Checkpoint("nvidia-tensorflow", networks, {}, {})
    items = as_dict(value) or {}
    persistent = any(map(nvidia_pickles.is_persistent, (value, *items.values())))
    format = "nvidia-torch" if persistent else "pickle"
    if items or nvidia_pickles.is_module(value):
        found = of_torch(format, value, budget)
        if found.networks:
            return found
    raise UnknownFormatError(
        "the file is a pickle, but holds none of NVIDIA's networks (G, D, G_ema or Gs)"
    )


def _of_dict(format: Format, items: dict[Any, Any], budget: Budget) -> Checkpoint:
    networks: dict[str, Network] = {}
    own = _arrays(items, budget)
    alone = any("." in name for name in own)
    if alone:
        networks[""] = Network(own, {}, "state_dict")
    _collect(items, "", networks, budget, 1)
    extra = {str(k): part for k, part in items.items() if type(part) in (int, float, str, bool)}
    return Checkpoint(format, networks, {} if alone else own, extra)


def _collect(
    items: dict[Any, Any], path: str, networks: dict[str, Network], budget: Budget, depth: int
) -> None:
    """Adds the networks in the values of a dict, and those in dicts within them.

    Keys that are no texts are left aside, because they are those of optimisers. A dict within a
    dict is a network only where the names of its arrays have parts, or where it holds a mean.
    """
    for name, part in items.items():
        if not isinstance(name, str):
            continue
        full = f"{path}{name}"
        if nvidia_pickles.is_module(part):
            networks[full] = nvidia_pickles.module_of(part, budget=budget)
            continue
        inner = as_dict(part)
        if inner is None:
            continue
        arrays = _arrays(inner, budget)
        if arrays and (depth == 1 or _is_network(arrays)):
            networks[full] = Network(arrays, {}, "state_dict")
        if depth < _MAX_DEPTH:
            budget.spend("copied", len(full))
            _collect(inner, f"{full}.", networks, budget, depth + 1)


def _is_network(names: Iterable[str]) -> bool:
    return any("." in name or name in MEANS for name in names)


def _arrays(items: dict[Any, Any], budget: Budget) -> dict[str, np.ndarray]:
    """The arrays among the values of a dict."""
    budget.spend("items", len(items))
    found = {
        str(name): part
        for name, part in items.items()
        if isinstance(part, Tensor) or (isinstance(part, PickledArray) and part.is_numeric)
    }
    budget.spend("arrays", len(found))
    return {name: part.array() for name, part in found.items()}
