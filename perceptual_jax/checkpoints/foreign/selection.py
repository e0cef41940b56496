"""Finds the generator in a checkpoint, among its networks and under any prefix of their names.

A generator is recognised by the name of its constant input (`foreign_names.SIGNS`); whatever stands
before that name, `module.`, `decoder.`, `model.g_ema.` and the like, is the prefix of all its
arrays. What does not have the prefix, such as an encoder, is left aside. The words of the network's
name and prefix tell moving averages from weights as trained.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from perceptual_jax.checkpoints.foreign.foreign_names import SIGNS, naming_of
from perceptual_jax.checkpoints.foreign.refusals import (
    ArchitectureError,
    refuse_other_architectures,
)
from perceptual_jax.checkpoints.untrusted.contents import MEANS, Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, Network

Which = Literal["ema", "raw"]

_AVERAGED = re.compile(
    r"Gs|EMA|averaged?|running|shadow|(.*_)?(ema|running|avg)(_.*)?|.*(EMA|Ema)", re.ASCII
)
_ONLINE = "online_model"
_RAW = ("G", "g", _ONLINE)
"""Words for weights as trained, whose average is another network of the same training."""


class Found(NamedTuple):
    """A generator in a checkpoint."""

    name: str
    """Name of its network in the file."""
    prefix: str
    """The beginning of its arrays' names, with the separator at its end."""
    naming: str
    """Naming scheme of its arrays, a result of `naming_of`."""
    network: Network
    """The generator, without the prefix."""

    @property
    def path(self) -> str:
        """Name and prefix, for the user."""
        return ".".join(part for part in (self.name, self.prefix.rstrip("./")) if part)

    @property
    def is_averaged(self) -> bool:
        """Whether its name says that its weights are a moving average."""
        words = self._words
        return _ONLINE not in words and any(_AVERAGED.fullmatch(word) for word in words)

    @property
    def is_raw(self) -> bool:
        """Whether its name says that its weights are those of the training."""
        return not self.is_averaged and any(word in _RAW for word in self._words)

    @property
    def _words(self) -> list[str]:
        return re.split(r"[./]", self.path)


def generators(checkpoint: Checkpoint) -> Iterator[Found]:
    """All StyleGAN2 generators in a checkpoint.

    Args:
        checkpoint: The arrays and attributes of the file.
    """
    for name, network in checkpoint.networks.items():
        for prefix in dict.fromkeys(_prefixes(network.arrays)):
            inner = _without_counters(without_prefix(network, prefix))
            naming = naming_of(inner.arrays)
            if naming is not None:
                yield Found(name, prefix, naming, inner)


def _without_counters(network: Network) -> Network:
    """The network without arrays of no layer, such as a number of steps."""
    arrays = {
        name: value
        for name, value in network.arrays.items()
        if re.search(r"[./]", name) or name in MEANS
    }
    return network._replace(arrays=arrays)


def _prefixes(arrays: Mapping[str, np.ndarray], signs: tuple[str, ...] = ()) -> Iterator[str]:
    for array in arrays:
        for sign in signs or SIGNS.values():
            if array == sign or array.endswith((f".{sign}", f"/{sign}")):
                yield array[: -len(sign)]


def without_prefix(network: Network, prefix: str) -> Network:
    """The part of a network whose names begin with a prefix, by the rest of its names."""
    if not prefix:
        return network
    arrays, attributes = (
        {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        for values in (network.arrays, network.attributes)
    )
    return Network(arrays, attributes, network.kind)


def under_any_prefix(network: Network, sign: str) -> Iterator[Network]:
    """The parts of a network with an array of this name, without the prefix of each."""
    for prefix in dict.fromkeys(_prefixes(network.arrays, (sign,))):
        yield without_prefix(network, prefix)


def find_generator(checkpoint: Checkpoint, *, which: Which) -> Found:
    """Finds the generator of a checkpoint.

    A network whose name says neither is taken for both kinds where there is no other.

    Args:
        checkpoint: The arrays and attributes of the file.
        which: "ema", the moving average of the weights, or "raw", the weights as trained.

    Raises:
        ArchitectureError: If there is none.
        CheckpointError: If there is none of the kind asked for, or several.
    """
    found = list(generators(checkpoint))
    kind = [x for x in found if (x.is_averaged if which == "ema" else x.is_raw)]
    chosen = kind or [x for x in found if not x.is_averaged and not x.is_raw]
    if len(chosen) > 1:
        raise CheckpointError(
            f"the file has several generators, {_listed(chosen)}; save the state_dict() of the one "
            "to be used alone"
        )
    if chosen:
        return chosen[0]
    if found:
        other = "raw" if which == "ema" else "ema"
        raise CheckpointError(
            f"the file has no {which} network, but {_listed(found)}; `perceptual-jax weights "
            f"convert FILE OUT.safetensors --which {other}` takes "
            f"{'it' if len(found) == 1 else 'one of them'}"
        )
    for network in checkpoint.networks.values():
        refuse_other_architectures(network)
    there = ", ".join(repr(n) for n in checkpoint.networks) or "no network at all"
    raise ArchitectureError(f"the file has no StyleGAN2 generator: it has {there}")


def stored_mean(checkpoint: Checkpoint, found: Found) -> np.ndarray | None:
    """The mean of W that a file stores beside the generator; None if it has none.

    Of several, it is the one in the same network, else one outside of all networks.

    Args:
        checkpoint: The arrays and attributes of the file.
        found: The generator.
    """
    own = checkpoint.networks[found.name].arrays
    places = [own, checkpoint.loose, *(net.arrays for net in checkpoint.networks.values())]
    prefixes = (found.prefix, _parent(found.prefix), "")
    for place in places:
        for prefix in prefixes if place is own else ("",):
            for name in MEANS:
                if (value := place.get(f"{prefix}{name}")) is not None:
                    return value
    return None


def _parent(prefix: str) -> str:
    """The prefix without its last part.

    Example:
        >>> _parent("model.decoder."), _parent("decoder.")
        ('model.', '')
    """
    return re.sub(r"[^./]*[./]$", "", prefix)


def _listed(found: list[Found]) -> str:
    return ", ".join(repr(x.path) for x in found)
