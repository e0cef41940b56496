"""MobileStyleGAN synthesis: StyleGAN2 distilled into depthwise-separable layers and wavelets.

    x = const; x = conv3x3(x)                                       at 4 x 4
    7 blocks: x = inverse Haar(x * s);  twice: x = leaky(depthwise3x3(x * s) P + noise + b)
    image = inverse Haar((x * s) P + b)

Every s = A(style) is a vector over channels; P is a matrix over channels. An inverse Haar
transform makes one pixel of 4c channels into 2 x 2 pixels of c. Unlike in StyleGAN2 the
demodulation does not depend on the style, so it is folded into P.

The arrays are named as a path through this structure: `blocks.3.conv1.depthwise`. Shapes:
`*.affine.weight` [d c] and `.bias` [c]; `const` [4 4 c]; `conv1.weight` [3 3 c c];
`depthwise` [3 3 c]; `pointwise` [c c']; `noise` [r r], already times its strength;
`to_image.weight` [c 12]; `mapping.fc0.weight` [d d]; `w_mean` [d].

Source: Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity
Image Synthesis", 2021; the structure of the exported network.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.arrays import Arrays
from perceptual_jax.generator.depthwise import modulated_depthwise
from perceptual_jax.generator.draft import DraftHead, DraftParts, finish_draft
from perceptual_jax.generator.layers import (
    Dense,
    add_offset,
    check_feature_size,
    conv,
    leaky_relu,
    select_noise,
)
from perceptual_jax.generator.mapping import MappingNetwork
from perceptual_jax.generator.upsampling import inverse_haar
from perceptual_jax.types import Noise


class StyledLayer(nnx.Module):
    """A layer whose input channels a style scales."""

    def __init__(self, affine: Arrays):
        """Builds the layer from weight and bias of the map from a style to the scale."""
        self.affine = Dense(**affine)

    def scale(self, style: Float[Array, " d"], x: Float[Array, "h w c"]) -> Float[Array, " c"]:
        """The scale of the channels of `x`, in its dtype."""
        return self.affine(style).astype(x.dtype)

    def scaled(self, x: Float[Array, "h w c"], style: Float[Array, " d"]) -> Float[Array, "h w c"]:
        """The scaled input."""
        return x * self.scale(style, x)[None, None]


class NoisyLayer(StyledLayer):
    """A styled layer that ends in noise, bias and a leaky ReLU."""

    def __init__(self, *, affine: Arrays, noise: Float[Array, "r r"], bias: Float[Array, " c"]):
        """Builds the layer from its arrays.

        Args:
            affine: As in `StyledLayer`.
            noise: The stored map, a unit map times its strength. The two are kept apart, so that
                random maps can replace that of the layer.
            bias: Bias of the output channels.
        """
        super().__init__(affine)
        strength = jnp.std(noise)
        self.noise = nnx.Param(noise / jnp.where(strength > 0, strength, 1.0))
        self.noise_strength = nnx.Param(strength)
        self.bias = nnx.Param(bias)

    def activate(
        self, x: Float[Array, "h w c"], noise: Float[Array, "h w"]
    ) -> Float[Array, "h w c"]:
        """Adds noise of this layer's strength and the bias, then the leaky ReLU."""
        shift = (noise * self.noise_strength[...])[..., None] + self.bias[...][None, None]
        return leaky_relu(x + shift.astype(x.dtype))


class StyledConv(NoisyLayer):
    """The first layer: a full 3x3 convolution."""

    def __init__(self, *, weight: Float[Array, "3 3 i o"], **rest: Any):
        """Builds the layer from its arrays; `rest` as in `NoisyLayer`."""
        super().__init__(**rest)
        self.weight = nnx.Param(weight)

    def __call__(self, x: Float[Array, "h w i"], style: Array, noise: Array) -> Array:
        """Activations of the same size."""
        return self.activate(conv(self.scaled(x, style), self.weight[...].astype(x.dtype)), noise)


class SeparableConv(NoisyLayer):
    """A 3x3 convolution of every channel by itself, then a 1x1 convolution."""

    def __init__(
        self, *, depthwise: Float[Array, "3 3 i"], pointwise: Float[Array, "i o"], **rest: Any
    ):
        """Builds the layer from its arrays; `rest` as in `NoisyLayer`."""
        super().__init__(**rest)
        self.depthwise = nnx.Param(depthwise)
        self.pointwise = nnx.Param(pointwise)

    def __call__(self, x: Float[Array, "h w i"], style: Array, noise: Array) -> Array:
        """Activations of the same size."""
        scale = self.scale(style, x)
        x = modulated_depthwise(x, scale, self.depthwise[...].astype(x.dtype))
        return self.activate(x @ self.pointwise[...].astype(x.dtype), noise)


class WaveletUp(StyledLayer):
    """Doubles the size of activations: four channels become 2 x 2 pixels of one channel."""

    def __call__(self, x: Float[Array, "h w c4"], style: Array) -> Float[Array, "h2 w2 c"]:
        """The inverse Haar transform of the scaled input."""
        return inverse_haar(self.scaled(x, style))


class Block(nnx.Module):
    """A block: `up`, then `conv1` and `conv2` at twice the size."""

    def __init__(self, *, up: Arrays, conv1: Arrays, conv2: Arrays):
        """Builds the block from the arrays of its layers."""
        self.up = WaveletUp(**up)
        self.conv1 = SeparableConv(**conv1)
        self.conv2 = SeparableConv(**conv2)

    def __call__(self, x: Array, styles: Float[Array, "2 d"], noise: Noise) -> Array:
        """Activations after the block; the first style modulates `up` and `conv1`."""
        x = self.conv1(self.up(x, styles[0]), styles[0], noise[0])
        return self.conv2(x, styles[1], noise[1])


class ToImage(StyledLayer):
    """The output: the twelve channels of a Haar transform, by a 1x1 convolution."""

    def __init__(self, *, affine: Arrays, weight: Float[Array, "c 12"], bias: Float[Array, " 12"]):
        """Builds the layer from its arrays; `affine` as in `StyledLayer`."""
        super().__init__(affine)
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)

    def __call__(self, x: Float[Array, "h w c"], style: Array) -> Float[Array, "h2 w2 3"]:
        """The image, in float32."""
        x = self.scaled(x, style) @ self.weight[...].astype(x.dtype)
        return inverse_haar(x.astype(jnp.float32) + self.bias[...][None, None])


class MobileStyleGAN(nnx.Module):
    """A MobileStyleGAN with its StyleGAN2 mapping network. Immutable: build once, pass around.

    Styles that never reach the image (7 of the 23 slots of the original convention) do not
    exist here: style 0 modulates the first convolution, styles 2i+1 (`up` and `conv1`) and 2i+2
    (`conv2`) block i, and the last style the output.
    """

    def __init__(
        self,
        weights: Arrays,
        *,
        draft_heads: Mapping[int, DraftHead] | None = None,
        dtype: jnp.dtype | type = jnp.float32,
    ):
        """Builds the generator from nested arrays; see `from_arrays`.

        Args:
            weights: The arrays at the head of this file, nested along the dots of their names;
                others are ignored.
            draft_heads: Output heads by draft resolution.
            dtype: Dtype of the activations. Styles, scales and the image stay float32.
        """
        blocks = [weights["blocks"][str(i)] for i in range(len(weights["blocks"]))]
        self.mapping = MappingNetwork(weights["mapping"])
        self.w_mean = nnx.data(weights["w_mean"])
        self.const = nnx.Param(weights["const"])
        self.conv1 = StyledConv(**weights["conv1"])
        self.blocks = nnx.List([Block(**block) for block in blocks])
        self.to_image = ToImage(**weights["to_image"])
        self.draft_heads = nnx.data(dict(draft_heads or {}))
        self.dtype = jnp.dtype(dtype)
        self.num_styles = 2 * len(blocks) + 2
        self.resolution = 8 * 2 ** len(blocks)
        self.z_dim = self.mapping.z_dim

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        draft_heads: Mapping[int, Mapping[str, np.ndarray]] | None = None,
        dtype: jnp.dtype | type = jnp.float32,
    ) -> "MobileStyleGAN":
        """Builds the generator from arrays by dotted paths, as `checkpoints.store` has them."""
        heads = {r: DraftHead.from_arrays(head) for r, head in (draft_heads or {}).items()}
        weights = {name: jnp.asarray(x) for name, x in arrays.items()}
        nested = traverse_util.unflatten_dict(weights, sep=".")
        return cls(nested, draft_heads=heads, dtype=dtype)

    def synthesis(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        offset: Float[Array, "s s j"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """The image of W+ styles at full resolution, approximately in [-1, 1], not clipped.

        Args:
            styles: All styles.
            noise: All noise maps.
            offset: Added to the features after the block of its size; None adds nothing.

        Raises:
            ValueError: If there are no features of the offset's shape.
        """
        features = self.features(styles, noise, self.resolution // 2, offset)
        return self.to_image(features, styles[-1])

    def draft(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """Approximates the area-downscaled image from the features at half of `resolution`.

        Args:
            styles: All styles.
            noise: All noise maps.
            resolution: Pixels of a side.
            offset: As in `synthesis`.

        Raises:
            ValueError: If no head was fitted for `resolution`, or as `synthesis`.
        """
        if resolution == self.resolution:
            return self.synthesis(styles, noise, offset)
        if resolution not in self.draft_heads:
            known = ", ".join(str(r) for r in sorted(self.draft_heads)) or "none"
            raise ValueError(
                f"no draft head for {resolution} px (there are: {known}); "
                "fit one with scripts/fit_draft.py or search at full resolution (search.draft = 0)"
            )
        parts = self.draft_parts(styles, noise, resolution, offset)
        return finish_draft(self.draft_heads[resolution], parts)

    def draft_parts(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> DraftParts:
        """The inputs of a draft head: features at half of `resolution`, and the late styles."""
        blocks = resolution.bit_length() - 4
        late = (styles - self.w_mean[None])[2 * blocks + 1 :]
        return DraftParts(self.features(styles, noise, resolution // 2, offset), late, None)

    def features(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "s s j"] | None = None,
    ) -> Float[Array, "h w c"]:
        """The activations after the block of a resolution.

        Args:
            styles: All styles.
            noise: All noise maps.
            resolution: Pixels of a side: 4 (before the first block) to half of the image's.
            offset: As in `synthesis`.

        Raises:
            ValueError: If there are no features of this resolution, or as `synthesis`.
        """
        check_feature_size(resolution, 4, self.resolution // 2)
        x = self.conv1(self.const[...].astype(self.dtype), styles[0], noise[0])
        x = add_offset(x, offset, last=resolution)
        for i in range(resolution.bit_length() - 3):
            own = slice(2 * i + 1, 2 * i + 3)
            x = self.blocks[i](x, styles[own], noise[own])
            x = add_offset(x, offset, last=resolution)
        return x

    def num_seen_styles(self, resolution: int) -> int:
        """Number of styles a draft depends on: all of them, as the late ones modulate the heads."""
        return self.num_styles

    def noise_maps(
        self,
        key: Key[Array, ""] | None = None,
        *,
        mode: Literal["const", "random", "none"] = "const",
    ) -> Noise:
        """The noise inputs: the network's own maps, standard normal draws, or zeros.

        Args:
            key: Consumed; needed for "random".
            mode: The maps of the network, normal draws, or zeros.

        Raises:
            ValueError: If the mode is "random" and `key` is None.
        """
        pairs = ((block.conv1, block.conv2) for block in self.blocks)
        layers = [self.conv1, *(layer for pair in pairs for layer in pair)]
        return select_noise(tuple(layer.noise[...] for layer in layers), key, mode=mode)
