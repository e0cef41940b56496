"""StyleGAN2: a mapping network and a skip-architecture synthesis network.

    x = const;  image = 0
    for r in 4, 8, ..., resolution:
        x = layer(up(x));  x = layer(x)                       (only the second at 4 px)
        image = upsample(image) + clip(to_rgb(x))
    layer(x) = clip(sqrt(2) * leaky_relu(modulated_conv(x) + strength * noise + bias))

Layer i, counted from the coarsest, reads style i and noise map i; the to_rgb of a block reads the
style of the layer after it, so there is one style more than layers: 2 log2(resolution) - 2.

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

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.arrays import flattened, nested
from perceptual_jax.generator.draft import DraftHead, apply_draft_head
from perceptual_jax.generator.layers import (
    SQRT2,
    UpConvForm,
    dense,
    leaky_relu,
    modulated_conv,
    to_rgb,
    upsample,
)
from perceptual_jax.generator.mapping import estimate_w_mean, mapping_network
from perceptual_jax.types import Noise


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config:
    """What the arrays of a StyleGAN2 do not say by themselves, and how it is computed."""

    channels: tuple[int, ...]
    """Channels at 4, 8, ... px; their number gives the resolution."""
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    """Dimension of the labels; 0 for an unconditional generator."""
    mapping_layers: int = 8
    conv_clamp: float | None = None
    """Layers and to_rgb are clipped to this: 256 in networks trained with mixed precision."""
    up_conv: UpConvForm = "dilated"
    """See `layers.up_conv`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the activations. Latents, styles, demodulation and the image stay float32."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Of the blocks: 4, 8, ..., that of the image."""
        return tuple(4 * 2**i for i in range(len(self.channels)))

    @property
    def num_styles(self) -> int:
        """Style vectors the synthesis network reads."""
        return 2 * len(self.channels)

    @classmethod
    def config_f(cls, resolution: int = 1024) -> "StyleGAN2Config":
        """The large networks of the StyleGAN2 paper, such as FFHQ at 1024 px."""
        return cls(channel_table(resolution, base=32768))

    @classmethod
    def paper256(cls) -> "StyleGAN2Config":
        """StyleGAN2-ADA's networks at 256 px."""
        return cls(channel_table(256, base=16384), conv_clamp=256.0)

    @classmethod
    def paper512(cls) -> "StyleGAN2Config":
        """StyleGAN2-ADA's networks at 512 px."""
        return cls(channel_table(512, base=32768), conv_clamp=256.0)


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


class StyleGAN2(nnx.Module):
    """A StyleGAN2 generator. Immutable: build once, pass around."""

    def __init__(
        self,
        config: StyleGAN2Config,
        arrays: Mapping[str, Array | np.ndarray],
        *,
        draft_heads: Mapping[int, DraftHead] | None = None,
    ):
        """Builds the generator from the arrays listed at the head of this file.

        Args:
            config: Its sizes.
            arrays: All of them, by name.
            draft_heads: Corrections of the skip image, by draft resolution.

        Raises:
            ValueError: If an array is missing, unknown or of the wrong shape.
        """
        _check_arrays(arrays, weight_shapes(config))
        weights = nested({name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()})
        for block in weights["synthesis"].values():
            for name in block.keys() & {"conv0", "conv1"}:
                square = jnp.sum(jnp.square(block[name]["weight"]), axis=(0, 1))
                block[name]["weight_square"] = square
        self.config = config
        self.w_mean = nnx.data(weights.pop("w_mean"))
        self.weights = nnx.data(weights)
        self.draft_heads = nnx.data(dict(draft_heads or {}))

    @classmethod
    def init(cls, key: Key[Array, ""], config: StyleGAN2Config) -> "StyleGAN2":
        """Random weights with the distribution the official training starts from."""
        shapes = weight_shapes(config)
        *keys, w_key = jax.random.split(key, len(shapes) + 1)
        arrays = {
            name: _init_array(k, name, shape)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        label = jnp.zeros(config.c_dim) if config.c_dim else None
        mapping = nested(arrays)["mapping"]
        arrays["w_mean"] = estimate_w_mean(
            lambda z: mapping_network(mapping, z, label), w_key, z_dim=config.z_dim, samples=10_000
        )
        return cls(config, arrays)

    @property
    def resolution(self) -> int:
        """Height and width of the image."""
        return self.config.resolutions[-1]

    @property
    def num_styles(self) -> int:
        """Style vectors the synthesis network reads."""
        return self.config.num_styles

    def to_arrays(self) -> dict[str, Array]:
        """The arrays this generator can be built from again."""
        flat = {"w_mean": self.w_mean, **flattened(self.weights)}
        return {name: flat[name] for name in weight_shapes(self.config)}

    def mapping(
        self, z: Float[Array, " d"], label: Float[Array, " c"] | None = None
    ) -> Float[Array, " w"]:
        """One latent of Z to W, without truncation; with a label where `c_dim` is not 0."""
        return mapping_network(self.weights["mapping"], z, label)

    def synthesis(self, styles: Float[Array, "k d"], noise: Noise) -> Float[Array, "h w 3"]:
        """The image of W+ styles at full resolution, about in [-1, 1], not clipped."""
        return self._blocks(styles, noise, self.resolution)[1]

    def draft(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "h w 3"]:
        """About the area-downscaled image: the skip image at `resolution`, corrected by its head.

        Args:
            styles: All styles.
            noise: All maps, or those up to `resolution`.
            resolution: A power of two from 4 to the full resolution.

        Raises:
            ValueError: If there is no block of this resolution.
        """
        x, image = self._blocks(styles, noise, resolution)
        if resolution not in self.draft_heads:
            return image
        late = (styles - self.w_mean[None])[2 * resolution.bit_length() - 5 :]
        return image + apply_draft_head(self.draft_heads[resolution], x, late)

    def noise_maps(
        self,
        key: Key[Array, ""] | None = None,
        *,
        mode: Literal["const", "random", "none"] = "const",
    ) -> Noise:
        """The noise inputs: the network's own maps, standard normal draws, or zeros.

        Args:
            key: Consumed; needed for "random".
            mode: Which of the three.

        Raises:
            ValueError: If "random" gets no key.
        """
        own = tuple(layer["noise_const"] for layer in self._layers())
        if mode == "const":
            return own
        if mode == "none":
            return tuple(jnp.zeros_like(x) for x in own)
        if key is None:
            raise ValueError('noise mode "random" needs a key, got none')
        keys = jax.random.split(key, len(own))
        return tuple(jax.random.normal(k, x.shape) for k, x in zip(keys, own, strict=True))

    def _layers(self) -> list[dict[str, Any]]:
        """The weights of the layers, from the coarsest."""
        blocks = (self.weights["synthesis"][f"b{r}"] for r in self.config.resolutions)
        return [block[name] for block in blocks for name in ("conv0", "conv1") if name in block]

    def _blocks(
        self, styles: Array, noise: Noise, last: int
    ) -> tuple[Float[Array, "h w c"], Float[Array, "h w 3"]]:
        """Features and skip image after the block of resolution `last`."""
        self._check_inputs(styles, noise, last)
        weights = self.weights["synthesis"]
        x = weights["b4"]["const"].astype(self.config.dtype)
        image = jnp.zeros((2, 2, 3))
        i = 0
        for resolution in self.config.resolutions:
            block = weights[f"b{resolution}"]
            if "conv0" in block:
                x = self._layer(x, block["conv0"], styles[i], noise[i], up=self.config.up_conv)
                i += 1
            x = self._layer(x, block["conv1"], styles[i], noise[i])
            i += 1
            rgb = block["torgb"]
            style = dense(styles[i], **rgb["affine"])
            image = upsample(image) + self._clip(to_rgb(x, rgb["weight"], rgb["bias"], style))
            if resolution == last:
                break
        return x, image

    def _layer(
        self, x: Array, layer: dict[str, Any], w: Array, noise: Array, up: UpConvForm | None = None
    ) -> Float[Array, "h w c"]:
        style = dense(w, **layer["affine"])
        x = modulated_conv(x, layer["weight"], layer["weight_square"], style, up=up)
        x = x + (layer["noise_strength"] * noise).astype(x.dtype)[..., None]
        x = x + layer["bias"].astype(x.dtype)[None, None]
        return self._clip(leaky_relu(x, gain=SQRT2))

    def _clip(self, x: Array) -> Array:
        clamp = self.config.conv_clamp
        return x if clamp is None else jnp.clip(x, -clamp, clamp)

    def _check_inputs(self, styles: Array, noise: Noise, last: int) -> None:
        expected = (self.num_styles, self.config.w_dim)
        if styles.shape != expected:
            raise ValueError(f"styles must have shape {expected}, got {styles.shape}")
        resolutions = self.config.resolutions
        if last not in resolutions:
            raise ValueError(f"resolution must be one of {resolutions}, got {last}")
        sizes = [r for r in resolutions for _ in (0, 1) if r <= last][1:]
        got = [x.shape for x in noise[: len(sizes)]]
        if got != [(r, r) for r in sizes]:
            raise ValueError(
                f"noise must have maps of {sizes} px, as noise_maps() gives, got shapes {got}"
            )


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


def _init_array(key: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Standard normal, and effective: over the root of the fan in for dense weights and to_rgb."""
    if name.endswith("affine.bias"):
        return jnp.ones(shape)
    if name.endswith((".bias", ".noise_strength")):
        return jnp.zeros(shape)
    draw = jax.random.normal(key, shape)
    return draw / np.sqrt(shape[0]) if len(shape) == 2 and name.endswith(".weight") else draw


def _check_arrays(
    arrays: Mapping[str, Array | np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
    if missing := sorted(shapes.keys() - arrays.keys()):
        raise ValueError(f"array {missing[0]!r} and {len(missing) - 1} more are missing")
    if unknown := sorted(arrays.keys() - shapes.keys()):
        raise ValueError(f"this configuration has no array {unknown[0]!r}")
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(
                f"array {name!r} must have shape {shape}, got {np.shape(arrays[name])}"
            )
