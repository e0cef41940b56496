"""Converts foreign checkpoints to generators of this project.

    read -> select the network -> NVIDIA's names -> configuration from shapes -> our layout, checked

Every array's shape is compared with that of the inferred configuration, so a file converts to the
whole of a network or not at all.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import Architecture
from perceptual_jax.checkpoints.foreign_names import naming_of, to_nvidia
from perceptual_jax.checkpoints.inert import CheckpointError, Network
from perceptual_jax.checkpoints.mobilestylegan_openvino import mobilestylegan_config
from perceptual_jax.checkpoints.mobilestylegan_torch import from_training, is_mobilestylegan
from perceptual_jax.checkpoints.readers import Checkpoint, read_checkpoint
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.mapping import MappingNetwork, estimate_w_mean
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config, weight_shapes

Which = Literal["ema", "raw"]

_NETWORKS: dict[Which, tuple[str, ...]] = {
    "ema": ("G_ema", "Gs", "g_ema", "params_ema", ""),
    "raw": ("G", "g", "params", "state_dict", ""),
}
"""Names of networks in checkpoints, by preference."""

_W_MEAN_SAMPLES = 10_000


class MissingArrayError(CheckpointError):
    """A network lacks arrays."""


class UnexpectedArrayError(CheckpointError):
    """A network has arrays that no generator of its kind has."""


class WrongShapeError(CheckpointError):
    """An array does not have the shape that the configuration requires."""


class ArchitectureError(CheckpointError):
    """A network has an architecture that is not supported."""


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
        UsageError: If `out` is the checkpoint itself.
        CheckpointError: If the file cannot be read or holds no generator that is served.
        WriteError: If `out` cannot be written.
    """
    if out.exists() and out.samefile(path):
        raise UsageError(f"converting {path} would overwrite it; choose another name")
    result = convert(read_checkpoint(path), which=which)
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
    for name, network in checkpoint.networks.items():
        if is_mobilestylegan(network.arrays):
            arrays = from_training(network.arrays)
            about = {"format": checkpoint.format, "network": name, "noise": "drawn anew"}
            config = mobilestylegan_config(arrays)
            return Converted(arrays, config, about, "mobilestylegan")
    name, network, naming = find_generator(checkpoint, which=which)
    _refuse_other_architectures(network)
    theirs = dict(network.arrays)
    if naming in ("rosinality", "basicsr") and "latent_avg" in checkpoint.loose:
        theirs["latent_avg"] = checkpoint.loose["latent_avg"]
    arrays = to_nvidia(theirs, naming)
    config = infer_config(arrays, network.attributes)
    about = {"format": checkpoint.format, "network": name, "names": naming}
    ours = to_ours(arrays, config, mean_may_lack=True)
    if "w_mean" not in ours:
        ours["w_mean"] = _estimated_mean(ours, config)
        about["w_mean"] = f"estimated from {_W_MEAN_SAMPLES} latents"
    return Converted(ours, config, about)


def find_generator(checkpoint: Checkpoint, *, which: Which) -> tuple[str, Network, str]:
    """Finds the generator among the networks of a checkpoint.

    Args:
        checkpoint: The arrays and attributes of the file.
        which: As in `convert_file`.

    Returns:
        Name of the network, the network, and the naming scheme of its arrays.

    Raises:
        ArchitectureError: If there is none.
        CheckpointError: If there is one, but not of the kind asked for.
    """
    known = {n: naming_of(net.arrays) for n, net in checkpoint.networks.items()}
    generators = {n: naming for n, naming in known.items() if naming is not None}
    for name in _NETWORKS[which]:
        if name in generators:
            return name, checkpoint.networks[name], generators[name]
    if generators:
        there = ", ".join(repr(name) for name in generators)
        raise CheckpointError(f"the file has no {which} network, but {there}")
    for network in checkpoint.networks.values():
        _refuse_other_architectures(network)
    there = ", ".join(repr(n) for n in checkpoint.networks) or "no network at all"
    raise ArchitectureError(f"the file has no StyleGAN2 generator: it has {there}")


def _refuse_other_architectures(network: Network) -> None:
    arrays, attributes = network.arrays, network.attributes
    if any(re.match(r"synthesis\.(input\.|L\d+_)", name) for name in arrays):
        raise ArchitectureError("the network is a StyleGAN3, which is not served; a StyleGAN2 is")
    if any("/ToRGB_lod" in name or "/LayerEpilogue" in name for name in arrays) or (
        network.kind.endswith("G_style")
    ):
        raise ArchitectureError("the network is a StyleGAN1, which is not served; a StyleGAN2 is")
    settings = ("architecture", "synthesis.architecture", "init_kwargs.architecture")
    named = [attributes.get(setting) for setting in settings]
    for architecture in ("resnet", "orig"):
        skipping = any(re.search(r"(\.skip\.|/Skip/)", name) for name in arrays)
        if architecture in named or (architecture == "resnet" and skipping):
            raise ArchitectureError(
                f"the network has the architecture {architecture!r}, which is not served; "
                "'skip', that of the FFHQ networks, is"
            )


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
    lacking = [name for name in theirs if name not in arrays]
    if mean_may_lack and lacking == ["mapping.w_avg"]:
        del shapes[theirs.pop("mapping.w_avg")]
        lacking = []
    if lacking:
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


def _estimated_mean(arrays: Arrays, config: Mapping[str, Any]) -> np.ndarray:
    """Estimates the mean of W over many latents, for files that do not store it."""
    tree = traverse_util.unflatten_dict({k: jnp.asarray(v) for k, v in arrays.items()}, sep=".")
    mapping = MappingNetwork(tree["mapping"])
    label = jnp.zeros(config["c_dim"]) if config["c_dim"] else None
    mean = estimate_w_mean(
        lambda z: mapping(z, label),
        jax.random.key(0),
        z_dim=config["z_dim"],
        samples=_W_MEAN_SAMPLES,
    )
    return np.asarray(mean)
