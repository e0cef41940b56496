"""RankIQA's weights, from the authors' `.caffemodel` or a torch port, in our names and layouts.

The network is VGG16 with one output. Layers are found by their names in Caffe, `conv1_1` to
`conv5_3` and `fc6` to `fc8`, with or without the suffix (`fc6_m`) that training for another number
of outputs left; torch ports have `.weight` and `.bias` after them.

    conv{0..12}.weight [3 3 in out]   conv{i}.bias [out]
    fc{0..2}.weight [in out]          fc{i}.bias [out]

The inputs of `fc0` are reordered from Caffe's (channel, row, column) to (row, column, channel).
"""

import mmap
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from perceptual_jax.checkpoints.regular import open_regular
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.caffemodel import read_caffemodel
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, DamagedCheckpointError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint

_CONVOLUTIONS = tuple(
    f"conv{block}_{i}"
    for block, count in enumerate((2, 2, 3, 3, 3), 1)
    for i in range(1, count + 1)
)
_DENSE = ("fc6", "fc7", "fc8")
_SIDE = 7
"""Pixels of a side of the last features of a patch of 224 pixels."""


def read_rankiqa(path: Path) -> Arrays:
    """The arrays of RankIQA in a file.

    Args:
        path: A `.caffemodel`, or a torch file of a state dict.

    Raises:
        CheckpointError: If the file cannot be read, or does not hold this network.
    """
    try:
        return _ours(_by_layer(path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"cannot read {path} ({reason})") from None
    except CheckpointError as error:
        text = str(error).removeprefix(f"cannot read {path}: ")
        raise type(error)(f"cannot read {path} as RankIQA: {text}") from None


def _by_layer(path: Path) -> Mapping[str, np.ndarray]:
    """Arrays by `{layer}.weight` and `{layer}.bias`, layers without a suffix."""
    if path.suffix == ".caffemodel":
        with open_regular(path) as file:
            if not (size := file.seek(0, 2)):
                raise DamagedCheckpointError("the file is empty; get it again")
            data = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        arrays = {
            f"{name.rpartition('.')[0]}.{'weight' if name.endswith('.0') else 'bias'}": value
            for name, value in read_caffemodel(data).items()
            if name.endswith((".0", ".1"))
        }
    else:
        networks = read_checkpoint(path).networks
        arrays = {
            name: value for network in networks.values() for name, value in network.arrays.items()
        }
    found = {}
    for name, value in arrays.items():
        match = re.search(r"(?:^|\.)(conv\d_\d|fc\d)(?:_\w+)?\.(weight|bias)$", name)
        # Siamese training has a second branch, conv1_1_p, that shares its weights.
        if match:
            found.setdefault(f"{match[1]}.{match[2]}", value)
    return found


def _ours(arrays: Mapping[str, np.ndarray]) -> Arrays:
    found, before = {}, 3
    for i, layer in enumerate(_CONVOLUTIONS):
        weight, bias = _layer(arrays, layer)
        if weight.ndim != 4 or weight.shape[1:] != (before, 3, 3):
            raise DamagedCheckpointError(
                f"{layer} has weights of shape {weight.shape}, expected (_, {before}, 3, 3)"
            )
        found[f"conv{i}.weight"] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0), np.float32)
        found[f"conv{i}.bias"] = bias
        before = weight.shape[0]
    channels, before = before, before * _SIDE**2
    for i, layer in enumerate(_DENSE):
        weight, bias = _layer(arrays, layer)
        # Old files have two axes of length 1 before.
        if weight.size != len(bias) * before:
            raise DamagedCheckpointError(
                f"{layer} has weights of shape {weight.shape}, expected ({len(bias)}, {before})"
            )
        weight = weight.reshape(len(bias), before)
        if i == 0:
            weight = weight.reshape(-1, channels, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        weight = weight.reshape(len(bias), before).T
        found[f"fc{i}.weight"] = np.ascontiguousarray(weight, np.float32)
        found[f"fc{i}.bias"] = bias
        before = len(bias)
    if before != 1:
        raise DamagedCheckpointError(f"it has {before} outputs, expected 1")
    return found


def _layer(arrays: Mapping[str, np.ndarray], layer: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        weight, bias = arrays[f"{layer}.weight"], arrays[f"{layer}.bias"]
    except KeyError as error:
        raise DamagedCheckpointError(f"it has no {error.args[0]}") from None
    return np.asarray(weight), np.asarray(bias, np.float32).reshape(-1)
