"""MobileStyleGAN from a training checkpoint: the student and the teacher's mapping network.

A layer's demodulation is constant in training, too: it is computed from a learned vector
(`style_inv`) in place of the style. It is therefore folded into the kernel, as in the exported
graph. The training draws new noise for each image; the maps here are one draw with a fixed seed.

Source: Belousov, "MobileStyleGAN", 2021, and the structure of its public checkpoints.
"""

import re
from collections.abc import Mapping

import numpy as np

from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import prefixed
from perceptual_jax.checkpoints.foreign.refusals import refuse_colours, refuse_other_constants
from perceptual_jax.checkpoints.statistics import mean_of_w
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError

_MAPPING_RATE = 0.01
_NOISE_SEED = 0


SIGN = "student.input.input"
"""The characteristic name: the student's constant input."""


def is_mobilestylegan(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the arrays of a MobileStyleGAN training."""
    return SIGN in arrays and "mapping_net.layers.1.weight" in arrays


def from_training(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Converts the generator to our layout, see `mobilestylegan_openvino`.

    Args:
        arrays: State dict of the training.

    Raises:
        CheckpointError: If an array is missing or does not have the shape that the others imply.
    """
    try:
        return _from_training(_Source(arrays), arrays)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"the network's arrays do not fit each other as a MobileStyleGAN's do ({error})"
        ) from None


def _from_training(source: "_Source", arrays: Mapping[str, np.ndarray]) -> Arrays:
    ours = _mapping(source)
    layers = range(len(ours) // 2)
    ours["w_mean"] = mean_of_w(
        [ours[f"mapping.fc{i}.weight"] for i in layers],
        [ours[f"mapping.fc{i}.bias"] for i in layers],
    )
    rng = np.random.default_rng(_NOISE_SEED)
    const = source.get(SIGN, 4)
    refuse_other_constants(const.shape[2:], 2 + len(_blocks(arrays)))  # the last is Haar's
    channels, resolution = const.shape[1:3]
    ours["const"] = const[0].transpose(1, 2, 0)
    ours |= prefixed("conv1", _full(source, "student.conv1", channels, resolution, rng))
    blocks = len(_blocks(arrays))
    for i in range(blocks):
        resolution *= 2
        layer = f"student.layers.{i}"
        ours |= prefixed(f"blocks.{i}.up.affine", _affine(source, f"{layer}.up", 1.0))
        for conv in ("conv1", "conv2"):
            separable = _separable(source, f"{layer}.{conv}", resolution, rng)
            ours |= prefixed(f"blocks.{i}.{conv}", separable)
    head = f"student.layers.{blocks - 1}.to_img"
    weight = source.get(f"{head}.conv.weight", 4)
    refuse_colours(len(weight) // 4)  # Haar coefficients, four of each channel
    ours |= prefixed("to_image.affine", _affine(source, f"{head}.conv", weight.shape[1] ** -0.5))
    ours["to_image.weight"] = weight[:, :, 0, 0].T
    ours["to_image.bias"] = source.get(f"{head}.bias", 4).reshape(-1)
    return {name: np.asarray(value, np.float32, order="C") for name, value in ours.items()}


def _blocks(arrays: Mapping[str, np.ndarray]) -> range:
    """The numbers of the student's blocks."""
    found = (re.match(r"student\.layers\.(\d{1,2})\.", name) for name in arrays)
    return range(1 + max((int(match[1]) for match in found if match), default=-1))


class _Source:
    """The arrays of a training, checked for their number of axes on access."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = arrays

    def get(self, name: str, axes: int) -> np.ndarray:
        value = self.arrays.get(name)
        if value is None:
            raise CheckpointError(f"the network lacks {name}")
        if value.ndim != axes:
            raise CheckpointError(f"{name} should have {axes} axes, it has the shape {value.shape}")
        value = np.asarray(value, np.float32)
        if not np.isfinite(value).all():
            raise CheckpointError(f"{name} has NaN or infinite values")
        return value


def _mapping(source: _Source) -> Arrays:
    ours, i = {}, 0
    while f"mapping_net.layers.{i + 1}.weight" in source.arrays:
        weight = source.get(f"mapping_net.layers.{i + 1}.weight", 2)
        ours[f"mapping.fc{i}.weight"] = weight.T * _MAPPING_RATE / np.sqrt(weight.shape[1])
        bias = source.get(f"mapping_net.layers.{i + 1}.bias", 1)
        ours[f"mapping.fc{i}.bias"] = bias * _MAPPING_RATE
        i += 1
    return ours


def _affine(source: _Source, layer: str, gain: float) -> Arrays:
    weight = source.get(f"{layer}.modulation.weight", 2)
    bias = source.get(f"{layer}.modulation.bias", 1)
    return {"weight": weight.T * gain, "bias": bias * gain}


def _full(
    source: _Source, layer: str, channels: int, resolution: int, rng: np.random.Generator
) -> Arrays:
    weight = source.get(f"{layer}.conv.weight", 4)
    gain = (channels * weight.shape[2] ** 2) ** -0.5
    weight = weight * _demodulation(source, layer, weight, gain)[:, None, None, None]
    return {
        **prefixed("affine", _affine(source, f"{layer}.conv", gain)),
        "weight": weight.transpose(2, 3, 1, 0),
        **_noise_and_bias(source, layer, resolution, rng),
    }


def _separable(source: _Source, layer: str, resolution: int, rng: np.random.Generator) -> Arrays:
    depthwise = source.get(f"{layer}.conv.weight_dw", 4)
    pointwise = source.get(f"{layer}.conv.weight_permute", 4)
    gain = (depthwise.shape[0] * depthwise.shape[2] ** 2) ** -0.5
    both = depthwise.transpose(1, 0, 2, 3) * pointwise
    pointwise = pointwise[:, :, 0, 0] * _demodulation(source, layer, both, gain)[:, None]
    return {
        **prefixed("affine", _affine(source, f"{layer}.conv", gain)),
        "depthwise": depthwise[:, 0].transpose(1, 2, 0),
        "pointwise": pointwise.T,
        **_noise_and_bias(source, layer, resolution, rng),
    }


def _demodulation(source: _Source, layer: str, weight: np.ndarray, gain: float) -> np.ndarray:
    """Demodulation factor [o] of each output channel."""
    style = source.get(f"{layer}.conv.style_inv", 5)[0]
    scaled = gain * style.astype(np.float64) * weight
    return (1 / np.sqrt(np.square(scaled).sum(axis=(1, 2, 3)) + 1e-8)).astype(np.float32)


def _noise_and_bias(
    source: _Source, layer: str, resolution: int, rng: np.random.Generator
) -> Arrays:
    strength = source.get(f"{layer}.noise.weight", 1)
    return {
        "noise": strength * rng.standard_normal((resolution, resolution)),
        "bias": source.get(f"{layer}.bias", 4).reshape(-1),
    }
