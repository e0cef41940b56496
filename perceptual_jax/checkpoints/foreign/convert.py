"""Converts foreign checkpoints to generators of this project.

    read -> find the generator -> NVIDIA's names -> configuration from shapes -> our layout, checked

Every array's shape is compared with that of the inferred configuration, so a file converts to the
whole of a network or not at all.
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import Architecture, WeightsError
from perceptual_jax.checkpoints.foreign.foreign_names import to_nvidia
from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import mobilestylegan_config
from perceptual_jax.checkpoints.foreign.mobilestylegan_torch import (
    SIGN,
    from_training,
    is_mobilestylegan,
)
from perceptual_jax.checkpoints.foreign.refusals import (
    ArchitectureError,
    refuse_complex,
    refuse_other_architectures,
    refuse_other_pictures,
)
from perceptual_jax.checkpoints.foreign.resampling import in_words, resample_filter
from perceptual_jax.checkpoints.foreign.selection import (
    Which,
    find_generator,
    stored_mean,
    under_any_prefix,
)
from perceptual_jax.checkpoints.foreign.substitutes import (
    WrongShapeError,
    add_noise,
    estimated_mean,
    one_mean,
)
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.contents import MEANS, Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.filters import USUAL
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config, weight_shapes

__all__ = [
    "ArchitectureError",
    "Converted",
    "Which",
    "WrongShapeError",
    "convert",
    "convert_file",
]


class MissingArrayError(CheckpointError):
    """A network lacks arrays."""


class UnexpectedArrayError(CheckpointError):
    """A network has arrays that no generator of its kind has."""


class Converted(NamedTuple):
    """A generator in our layout."""

    arrays: Arrays
    config: dict[str, Any]
    """Fields of `StyleGAN2Config`, or the dict of `mobilestylegan_config`."""
    about: dict[str, Any]
    """Provenance: format, network, and which missing values were substituted."""
    architecture: Architecture = "stylegan2"


def convert_file(path: Path, out: Path, *, which: Which = "ema") -> Converted:
    """Converts a checkpoint to a weights file of this project.

    Args:
        path: The checkpoint.
        out: Where to write the safetensors file.
        which: "ema", the moving average of the weights, or "raw", the weights as trained.

    Raises:
        UsageError: If `out` is the checkpoint itself, or the checkpoint is a converted file.
        CheckpointError: If the file cannot be read or holds no generator that is served.
        WriteError: If `out` cannot be written.
    """
    if out.exists() and out.samefile(path):
        raise UsageError(f"converting {path} would overwrite it; choose another name")
    with contextlib.suppress(WeightsError):
        store.inspect(path)
        raise UsageError(f"{path} is a converted file already; give it to --generator as it is")
    checkpoint = read_checkpoint(path)
    try:
        result = convert(checkpoint, which=which)
    except CheckpointError as error:
        raise type(error)(f"cannot convert {path}: {error}") from None
    metadata = {
        "architecture": result.architecture,
        "config": result.config,
        "about": result.about,
    }
    store.save(out, result.arrays, metadata)
    return result


def convert(checkpoint: Checkpoint, *, which: Which = "ema") -> Converted:
    """Converts the generator of a checkpoint that was read.

    Args:
        checkpoint: The arrays and attributes of the file.
        which: As in `convert_file`.

    Raises:
        CheckpointError: If it holds no generator that is served; the subclass says why.
    """
    with np.errstate(all="ignore"):  # numbers too large for float32 are refused as infinite
        return _convert(checkpoint, which)


def _convert(checkpoint: Checkpoint, which: Which) -> Converted:
    for name, network in checkpoint.networks.items():
        for inner in under_any_prefix(network, SIGN):
            if is_mobilestylegan(inner.arrays):
                refuse_complex(inner.arrays)
                arrays = from_training(inner.arrays)
                about = {"format": checkpoint.format, "network": name, "noise": "drawn anew"}
                config = mobilestylegan_config(arrays)
                return Converted(arrays, config, about, "mobilestylegan")
    found = find_generator(checkpoint, which=which)
    network = found.network
    refuse_other_architectures(network)
    refuse_complex(network.arrays)
    arrays = to_nvidia(network.arrays, found.naming)
    about: dict[str, Any] = {"format": checkpoint.format, "network": found.path}
    about["names"] = found.naming
    filter = resample_filter(network.arrays, network.attributes, found.naming)
    if filter != USUAL:
        about["resample_filter"] = in_words(filter)
    refuse_other_pictures(arrays)
    config = infer_config(arrays, network.attributes) | {"resample_filter": filter}
    settings: Any = config | {"channels": tuple(config["channels"])}
    sizes = StyleGAN2Config(**settings)
    inside = {name: arrays.pop(name) for name in MEANS if name in arrays}
    means = [arrays.get("mapping.w_avg"), *inside.values(), stored_mean(checkpoint, found)]
    mean = next((mean for mean in means if mean is not None), None)
    if mean is not None:
        arrays["mapping.w_avg"] = one_mean(mean, sizes.w_dim, about)
    add_noise(arrays, sizes, about)
    ours = to_ours(arrays, config, mean_may_lack=True)
    if "w_mean" not in ours:
        ours["w_mean"] = estimated_mean(ours, sizes, about)
    return Converted(ours, config, about)


def infer_config(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Infers the settings of `StyleGAN2Config` from shapes and layer attributes.

    Args:
        arrays: Arrays of the network under NVIDIA's torch names.
        attributes: Plain attributes of the network, by dotted name.

    Raises:
        MissingArrayError: If an array that determines a setting is missing.
    """
    blocks = {int(m[1]) for n in arrays if (m := re.match(r"synthesis\.b(\d+)\.", n))}
    layers = {int(m[1]) for n in arrays if (m := re.match(r"mapping\.fc(\d+)\.", n))}
    resolutions = [4 * 2**i for i in range(len(blocks))]
    channels = []
    for r in resolutions:
        bias = arrays.get(f"synthesis.b{r}.conv1.bias")
        if bias is None:
            raise MissingArrayError(f"the network lacks synthesis.b{r}.conv1.bias")
        channels.append(int(bias.size))
    first = arrays.get("mapping.fc0.weight")
    if first is None or first.ndim != 2:
        raise MissingArrayError("the network lacks mapping.fc0.weight, that of its mapping")
    embed = arrays.get("mapping.embed.weight")
    w_dim, c_dim = int(first.shape[0]), 0 if embed is None else int(embed.shape[-1])
    clamps = {v for k, v in attributes.items() if k.endswith("conv_clamp") and v is not None}
    if len(clamps) > 1:
        raise ArchitectureError(f"the network clamps its layers to several values {sorted(clamps)}")
    return {
        "channels": channels,
        "z_dim": int(first.shape[1]) - (w_dim if c_dim else 0),
        "w_dim": w_dim,
        "c_dim": c_dim,
        "mapping_layers": len(layers),
        "conv_clamp": float(clamps.pop()) if clamps else None,
    }


def to_ours(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], *, mean_may_lack: bool = False
) -> Arrays:
    """Converts arrays from NVIDIA's torch layout into ours, see `stylegan2_weights`.

    Args:
        arrays: Arrays of the network under NVIDIA's torch names.
        config: Result of `infer_config`.
        mean_may_lack: Accept arrays without the mean of W, which BasicSR's files do not have.

    Raises:
        MissingArrayError, UnexpectedArrayError, WrongShapeError: If the arrays are not
            those of the configuration.
        CheckpointError: If a number is NaN or infinite.
    """
    settings: Any = dict(config) | {"channels": tuple(config["channels"])}
    shapes = weight_shapes(StyleGAN2Config(**settings))
    theirs = {_their_name(name): name for name in shapes}
    if mean_may_lack and "mapping.w_avg" not in arrays:
        del shapes[theirs.pop("mapping.w_avg")]
    if lacking := [name for name in theirs if name not in arrays]:
        raise MissingArrayError(
            f"the network lacks {len(lacking)} of {len(theirs)} arrays, the first is {lacking[0]}"
        )
    if unknown := sorted(arrays.keys() - theirs.keys()):
        raise UnexpectedArrayError(
            f"the network has {len(unknown)} arrays that a StyleGAN2 does not have, the first is "
            f"{unknown[0]}"
        )
    ours = {}
    for their_name, name in theirs.items():
        value = np.asarray(arrays[their_name], np.float32)
        expected = _their_shape(name, shapes[name])
        if value.shape != expected:
            raise WrongShapeError(
                f"{their_name} should have the shape {expected}, it has {value.shape}"
            )
        if not np.isfinite(value).all():
            raise CheckpointError(f"{their_name} has NaN or infinite values")
        ours[name] = np.asarray(_our_layout(name, value), order="C")
    return ours


def _their_name(name: str) -> str:
    return "mapping.w_avg" if name == "w_mean" else name


def _their_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith("const") and len(shape) == 3:
        return (shape[2], *shape[:2])
    if len(shape) == 4:
        return (shape[3], shape[2], *shape[:2])
    if name.endswith("torgb.weight"):
        return (shape[1], shape[0], 1, 1)
    return shape[::-1] if name.endswith(".weight") else shape


def _our_layout(name: str, value: np.ndarray) -> np.ndarray:
    if name.endswith("b4.const"):
        return value.transpose(1, 2, 0)
    if value.ndim == 4 and value.shape[2] == 3:
        value = value[:, :, ::-1, ::-1] if name.endswith("conv0.weight") else value
        return value.transpose(2, 3, 1, 0)
    if name.endswith("torgb.weight"):
        value = value[:, :, 0, 0]
    if name.endswith(".weight"):
        gain = np.float32(1 / np.sqrt(value.shape[1]))
        gain *= np.float32(0.01) if name.startswith("mapping.fc") else np.float32(1)
        return value.T * gain
    is_mapping_bias = name.startswith("mapping.fc") and name.endswith(".bias")
    return value * np.float32(0.01) if is_mapping_bias else value
