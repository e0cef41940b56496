"""What some files lack and a generator needs: noise maps, and one mean of W.

What was drawn, averaged or estimated is noted for the user.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from perceptual_jax.checkpoints.foreign.refusals import refuse_complex
from perceptual_jax.checkpoints.statistics import mean_of_w
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.generator.mapping import MappingNetwork, estimate_w_mean
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config, of_class, weight_shapes

_NOISE_SEED = 0
_W_MEAN_SAMPLES = 10_000
_MOST_CLASSES = 32


class WrongShapeError(CheckpointError):
    """An array does not have the shape that the configuration requires."""


def add_noise(arrays: Arrays, config: StyleGAN2Config, about: dict[str, Any]) -> None:
    """Adds noise maps to a network without any, drawn from a fixed seed.

    Early files of rosinality have strengths but no maps, since every image draws its own; layers
    that were built without noise have neither, and get maps of strength zero. Where only some maps
    are missing, the file is not whole, and nothing is added.

    Args:
        arrays: Arrays under NVIDIA's torch names; changed.
        config: Configuration of the network.
        about: Notes for the user; changed.
    """
    shapes = weight_shapes(config)
    maps = [name for name in shapes if name.endswith("noise_const")]
    strengths = [name for name in shapes if name.endswith("noise_strength")]
    if any(name in arrays for name in maps):
        return
    rng = np.random.default_rng(_NOISE_SEED)
    for name in maps:
        arrays[name] = rng.standard_normal(shapes[name], dtype=np.float32)
    about["noise"] = f"{len(maps)} maps drawn from seed {_NOISE_SEED}, as the file has none"
    if not any(name in arrays for name in strengths):
        arrays.update({name: np.zeros((), np.float32) for name in strengths})
        about["noise"] = "none, as the layers take no noise"


def one_mean(value: np.ndarray, w_dim: int, about: dict[str, Any]) -> np.ndarray:
    """The mean of W [w] from one that may have further axes: [1 w], [styles w], [1 styles w].

    Rows are copies of each other in the files of pSp and e4e; if they differ, their average is
    taken.

    Args:
        value: The mean as it is stored.
        w_dim: Dimension of W.
        about: Notes for the user; changed.

    Raises:
        WrongShapeError: If its last axis is not W.
    """
    refuse_complex({"the stored mean of W": value})
    if not value.size or value.ndim == 0 or value.shape[-1] != w_dim:
        raise WrongShapeError(
            f"the stored mean of W should have the shape ({w_dim},), (1, {w_dim}) or "
            f"(styles, {w_dim}), it has {value.shape}"
        )
    rows = np.asarray(value, np.float32).reshape(-1, w_dim)
    if (rows == rows[0]).all():
        return rows[0]
    about["w_mean"] = f"the average of {len(rows)} different ones"
    return rows.mean(axis=0)


def estimated_mean(arrays: Arrays, config: StyleGAN2Config, about: dict[str, Any]) -> np.ndarray:
    """Estimates the mean of W over many latents, for files that do not store it.

    Args:
        arrays: Arrays in our layout, without `w_mean`.
        config: Configuration of the network.
        about: Notes for the user; changed.
    """
    if config.c_dim:
        classes = np.unique(np.linspace(0, config.c_dim - 1, _MOST_CLASSES).astype(int))
        samples = -(-_W_MEAN_SAMPLES // len(classes))
        about["w_mean"] = f"estimated from {len(classes)} classes"
        means = [mean_of_w(*_layers(of_class(arrays, i)), samples=samples) for i in classes]
        return np.asarray(np.mean(means, axis=0), np.float32)
    about["w_mean"] = f"estimated from {_W_MEAN_SAMPLES} latents"
    tree = traverse_util.unflatten_dict({k: jnp.asarray(v) for k, v in arrays.items()}, sep=".")
    mapping = MappingNetwork(tree["mapping"])
    mean = estimate_w_mean(mapping, jax.random.key(0), z_dim=config.z_dim, samples=_W_MEAN_SAMPLES)
    return np.asarray(mean)


def _layers(arrays: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and biases of an unconditional mapping network."""
    count = sum(re.fullmatch(r"mapping\.fc\d+\.bias", name) is not None for name in arrays)
    weights, biases = (
        [np.asarray(arrays[f"mapping.fc{i}.{part}"]) for i in range(count)]
        for part in ("weight", "bias")
    )
    return weights, biases
