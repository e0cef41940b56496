"""Configuration of a StyleGAN2, and the name and shape of every array.

The arrays have the names of NVIDIA's PyTorch checkpoints and these shapes (r a resolution,
i and o channels, d and w the dimensions of Z and W):

    name                                   shape        made from the array of that name by
    mapping.fc{i}.weight                   [in out]     transpose, * 0.01 / sqrt(in)
    mapping.fc{i}.bias                     [out]        * 0.01
    mapping.embed.weight, .bias            [c w], [w]   transpose, / sqrt(c); as it is
    w_mean                                 [w]          mapping.w_avg
    synthesis.b4.const                     [4 4 i]      transpose
    synthesis.b{r}.conv{0,1}.weight        [3 3 i o]    transpose; conv0 also flipped: [::-1, ::-1]
    synthesis.b{r}.conv{0,1}.bias          [o]          as it is
    synthesis.b{r}.conv{0,1}.noise_const   [r r]        as it is
    synthesis.b{r}.conv{0,1}.noise_strength []          as it is
    synthesis.b{r}.torgb.weight            [i 3]        transpose, / sqrt(i)
    synthesis.b{r}.torgb.bias              [3]          as it is
    synthesis.b{r}.*.affine.weight         [w i]        transpose, / sqrt(w)
    synthesis.b{r}.*.affine.bias           [i]          as it is (it includes the + 1)

Demodulated kernels are stored as NVIDIA stores them, without a gain: demodulation cancels it.
Where the filter is "bilinear", the kernel of conv0 is not flipped.

Source: the public StyleGAN2, StyleGAN2-ADA and StyleGAN3 checkpoints; Karras et al., 2020.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Key

from perceptual_jax.generator.filters import USUAL, Filter
from perceptual_jax.generator.mapping import MappingNetwork, estimate_w_mean
from perceptual_jax.generator.upsampling import UpConvForm


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config:
    """Sizes of a StyleGAN2, and options of its computation."""

    channels: tuple[int, ...]
    """Channels at 4, 8, ... px; their number gives the resolution."""
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    """Dimension of the labels; 0 for an unconditional generator."""
    mapping_layers: int = 8
    conv_clamp: float | None = None
    """Layers and to_rgb are clipped to this: 256 in networks trained with mixed precision."""
    resample_filter: Filter = USUAL
    """Taps of the filter that doubles features and images, or "bilinear", see `filters.py`."""
    up_conv: UpConvForm = "polyphase"
    """See `upsampling.up_conv`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the activations. Latents, styles, demodulation and the image stay float32."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., up to that of the image."""
        return tuple(4 * 2**i for i in range(len(self.channels)))

    @classmethod
    def config_f(cls, resolution: int = 1024) -> "StyleGAN2Config":
        """The large networks of the StyleGAN2 paper, such as FFHQ at 1024 px."""
        return cls(channel_table(resolution, base=32768))


def channel_table(resolution: int, *, base: int, maximum: int = 512) -> tuple[int, ...]:
    """min(base / r, maximum) at r = 4, 8, ..., resolution.

    Raises:
        ValueError: If `resolution` is not a power of two from 4.

    Example:
        >>> channel_table(32, base=2048, maximum=128)
        (128, 128, 128, 64)
    """
    if resolution < 4 or resolution.bit_count() != 1:
        raise ValueError(f"resolution must be a power of two from 4, got {resolution}")
    return tuple(min(base // 2**k, maximum) for k in range(2, resolution.bit_length()))


def weight_shapes(config: StyleGAN2Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of a StyleGAN2, see the head of this file."""
    w, shapes = config.w_dim, {}

    def dense_layer(name: str, fan_in: int, fan_out: int) -> None:
        shapes[f"{name}.weight"] = (fan_in, fan_out)
        shapes[f"{name}.bias"] = (fan_out,)

    if config.c_dim:
        dense_layer("mapping.embed", config.c_dim, w)
    for i in range(config.mapping_layers):
        first = config.z_dim + (w if config.c_dim else 0)
        dense_layer(f"mapping.fc{i}", w if i else first, w)
    shapes["w_mean"] = (w,)
    shapes["synthesis.b4.const"] = (4, 4, config.channels[0])
    before = config.channels[0]
    for r, channels in zip(config.resolutions, config.channels, strict=True):
        for conv, fan_in in (("conv0", before), ("conv1", channels))[r == 4 :]:
            name = f"synthesis.b{r}.{conv}"
            shapes[f"{name}.weight"] = (3, 3, fan_in, channels)
            shapes[f"{name}.bias"] = (channels,)
            shapes[f"{name}.noise_const"] = (r, r)
            shapes[f"{name}.noise_strength"] = ()
            dense_layer(f"{name}.affine", w, fan_in)
        dense_layer(f"synthesis.b{r}.torgb", channels, 3)
        dense_layer(f"synthesis.b{r}.torgb.affine", w, channels)
        before = channels
    return shapes


def of_class(
    arrays: Mapping[str, Array | np.ndarray], class_index: int
) -> dict[str, Array | np.ndarray]:
    """The arrays of the unconditional generator that a conditional one is for one class.

    The class enters the first layer of the mapping network beside the latent, as the constant
    normalize(embed(label)) with a one-hot label, so its product with the layer's weight is a part
    of the layer's bias.

    Args:
        arrays: Arrays of a conditional generator, those of `weight_shapes` or some more or less.
        class_index: The class, from 0.

    Raises:
        ValueError: If there is no such class.
    """
    named = dict(arrays)
    embed = np.asarray(named.pop("mapping.embed.weight"), np.float64)
    embedded = embed[_checked(class_index, len(embed))]
    embedded = embedded + np.asarray(named.pop("mapping.embed.bias"), np.float64)
    embedded /= np.sqrt(np.mean(np.square(embedded)) + 1e-8)
    weight = np.asarray(named["mapping.fc0.weight"], np.float64)
    own = len(weight) - len(embedded)
    bias = np.asarray(named["mapping.fc0.bias"], np.float64) + embedded @ weight[own:]
    named["mapping.fc0.weight"] = np.asarray(weight[:own], np.float32)
    named["mapping.fc0.bias"] = np.asarray(bias, np.float32)
    return named


def _checked(class_index: int, classes: int) -> int:
    if not 0 <= class_index < classes:
        raise ValueError(f"the class must be from 0 to {classes - 1}, got {class_index}")
    return class_index


def init_arrays(key: Key[Array, ""], config: StyleGAN2Config) -> dict[str, Array]:
    """Random arrays, distributed as at the start of the official training.

    The exception is `w_mean`, zero there and the mean of 10,000 mapped latents here.

    Args:
        key: Consumed.
        config: Sizes of the network.
    """
    shapes = weight_shapes(config)
    sizes = [math.prod(shape) for shape in shapes.values()]
    draw_key, w_key = jax.random.split(key)
    # A single draw for all arrays, because one draw each would take a minute to compile.
    draws = jnp.split(jax.random.normal(draw_key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    arrays = {
        name: _init_array(draw.reshape(shape), name)
        for draw, (name, shape) in zip(draws, shapes.items(), strict=True)
    }
    mapping = MappingNetwork(traverse_util.unflatten_dict(arrays, sep=".")["mapping"])
    label = jnp.zeros(config.c_dim) if config.c_dim else None
    arrays["w_mean"] = estimate_w_mean(
        lambda z: mapping(z, label), w_key, z_dim=config.z_dim, samples=10_000
    )
    return arrays


def check_arrays(arrays: Mapping[str, Array | np.ndarray], config: StyleGAN2Config) -> None:
    """Compares names and shapes with `weight_shapes`.

    Raises:
        ValueError: If an array is missing, unknown or of the wrong shape.
    """
    shapes = weight_shapes(config)
    if missing := sorted(shapes.keys() - arrays.keys()):
        raise ValueError(f"{len(missing)} of {len(shapes)} arrays are missing: {missing[0]!r}, ...")
    if unknown := sorted(arrays.keys() - shapes.keys()):
        raise ValueError(f"this configuration has no array {unknown[0]!r}")
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(
                f"array {name!r} must have shape {shape}, got {np.shape(arrays[name])}"
            )


def _init_array(draw: Array, name: str) -> Array:
    """The standard normal draw, over the root of the fan in where weights are effective."""
    if name.endswith("affine.bias"):
        return jnp.ones_like(draw)
    if name.endswith((".bias", ".noise_strength")):
        return jnp.zeros_like(draw)
    effective = draw.ndim == 2 and name.endswith(".weight")
    return draw / np.sqrt(draw.shape[0]) if effective else draw
