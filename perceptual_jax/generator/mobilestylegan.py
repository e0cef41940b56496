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
Image Synthesis", 2021; the facts of the exported network.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.arrays import nested
from perceptual_jax.generator.draft import DraftHead, DraftParts, finish_draft
from perceptual_jax.generator.layers import conv, dense, inverse_haar, leaky_relu, select_noise
from perceptual_jax.generator.mapping import mapping_network
from perceptual_jax.types import Noise


class MobileStyleGAN(nnx.Module):
    """A MobileStyleGAN with its StyleGAN2 mapping network. Immutable: build once, pass around.

    Styles that never reach the image (7 of the 23 slots of the original convention) do not
    exist here: style 0 drives the first convolution, styles 2i+1 (`up` and `conv1`) and 2i+2
    (`conv2`) block i, and the last style the output.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        *,
        draft_heads: Mapping[int, DraftHead] | None = None,
        dtype: jnp.dtype | type = jnp.float32,
    ):
        """Wraps a nested dict of arrays; see `from_arrays`.

        Args:
            weights: The arrays at the head of this file, nested along the dots of their names.
            draft_heads: Output heads by draft resolution.
            dtype: Of the activations. Styles, scales and the image stay float32.
        """
        self.weights = nnx.data(weights)
        self.draft_heads = nnx.data(dict(draft_heads or {}))
        self.dtype = jnp.dtype(dtype)
        self.num_blocks = len(weights["blocks"])
        self.num_styles = 2 * self.num_blocks + 2
        self.resolution = 8 * 2**self.num_blocks
        self.z_dim = weights["mapping"]["fc0"]["weight"].shape[0]
        self.w_mean = nnx.data(weights["w_mean"])

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        draft_heads: Mapping[int, Mapping[str, np.ndarray]] | None = None,
        dtype: jnp.dtype | type = jnp.float32,
    ) -> "MobileStyleGAN":
        """Builds the generator from arrays by dotted paths, as `checkpoints.store` keeps them."""
        heads = {r: DraftHead.from_arrays(head) for r, head in (draft_heads or {}).items()}
        weights = jax.tree.map(jnp.asarray, nested(arrays))
        for layer in _noisy_layers(weights):
            _split_noise(layer)
        return cls(weights, draft_heads=heads, dtype=dtype)

    def mapping(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """One latent of Z to W, without truncation."""
        return mapping_network(self.weights["mapping"], z)

    def synthesis(self, styles: Float[Array, "k d"], noise: Noise) -> Float[Array, "h w 3"]:
        """The image of W+ styles at full resolution, about in [-1, 1], not clipped."""
        x = self._features(styles, noise, self.num_blocks)
        head = self.weights["to_image"]
        x = (x * self._scale(head, styles[-1])) @ head["weight"].astype(self.dtype)
        return inverse_haar(x.astype(jnp.float32) + head["bias"][None, None])

    def draft(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "h w 3"]:
        """About the area-downscaled image, from the features at half of `resolution`.

        Raises:
            ValueError: If no head was fitted for `resolution`.
        """
        if resolution == self.resolution:
            return self.synthesis(styles, noise)
        if resolution not in self.draft_heads:
            known = ", ".join(str(r) for r in sorted(self.draft_heads)) or "none"
            raise ValueError(
                f"no draft head for {resolution} px (there are: {known}); "
                "fit one with scripts/fit_draft.py or search at full resolution (search.draft = 0)"
            )
        parts = self.draft_parts(styles, noise, resolution)
        return finish_draft(self.draft_heads[resolution], parts)

    def draft_parts(self, styles: Float[Array, "k d"], noise: Noise, resolution: int) -> DraftParts:
        """What a draft head reads: features at half of `resolution`, and the late styles."""
        blocks = resolution.bit_length() - 4
        late = (styles - self.w_mean[None])[2 * blocks + 1 :]
        return DraftParts(self._features(styles, noise, blocks), late, None)

    def num_seen_styles(self, resolution: int) -> int:
        """All styles, at every resolution: the late ones modulate the draft heads."""
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
            mode: Which of the three.
        """
        own = tuple(layer["noise"] for layer in _noisy_layers(self.weights))
        return select_noise(own, key, mode=mode)

    def _features(self, styles: Array, noise: Noise, blocks: int) -> Float[Array, "h w c"]:
        """The activations after `blocks` blocks, at 4 * 2^blocks pixels."""
        first = self.weights["conv1"]
        x = self.weights["const"].astype(self.dtype) * self._scale(first, styles[0])
        x = conv(x, first["weight"].astype(self.dtype))
        x = self._activate(x, first, noise[0])
        for i in range(blocks):
            block = self.weights["blocks"][str(i)]
            x = inverse_haar(x * self._scale(block["up"], styles[2 * i + 1]))
            for name, index in (("conv1", 2 * i + 1), ("conv2", 2 * i + 2)):
                layer = block[name]
                scale = self._scale(layer, styles[index])[0, 0]
                x = modulated_depthwise(x, scale, layer["depthwise"].astype(self.dtype))
                x = x @ layer["pointwise"].astype(self.dtype)
                x = self._activate(x, layer, noise[index])
        return x

    def _scale(self, layer: dict[str, Any], style: Float[Array, " d"]) -> Float[Array, "1 1 c"]:
        return dense(style, **layer["affine"]).astype(self.dtype)[None, None]

    def _activate(self, x: Array, layer: dict[str, Any], noise: Array) -> Float[Array, "h w c"]:
        shift = (noise * layer["noise_strength"])[..., None] + layer["bias"][None, None]
        return leaky_relu(x + shift.astype(self.dtype))


@jax.custom_vjp
def modulated_depthwise(
    x: Float[Array, "h w c"], scale: Float[Array, " c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "h w c"]:
    """Depthwise 3x3 convolution of x * scale, zero-padded.

    The scale goes into the kernel, and the convolution is a sum of nine shifted products:
    XLA's own depthwise convolution is over ten times slower on CPU. The derivative is given by
    hand because that of the nine slices would be nine padded sums; so it is once more a sum of
    shifted products, and `scale` gets its gradient from the same pass.
    """
    return _depthwise(x, kernel * scale[None, None])


def _depthwise(x: Float[Array, "h w c"], kernel: Float[Array, "3 3 c"]) -> Float[Array, "h w c"]:
    height, width, _ = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    taps = [
        padded[i : i + height, j : j + width] * kernel[i, j][None, None]
        for i in range(3)
        for j in range(3)
    ]
    return functools.reduce(jnp.add, taps)


def _depthwise_forward(x: Array, scale: Array, kernel: Array) -> tuple[Array, tuple]:
    return _depthwise(x, kernel * scale[None, None]), (x, scale, kernel)


def _depthwise_backward(residuals: tuple, g: Array) -> tuple[Array, Array, Array]:
    x, scale, kernel = residuals
    d_scaled = _depthwise(g, kernel[::-1, ::-1])
    sum_type = jnp.promote_types(x.dtype, jnp.float32)
    d_scale = jnp.sum(d_scaled * x, axis=(0, 1), dtype=sum_type).astype(scale.dtype)
    # Only training the kernel needs this; elsewhere it is dead code that XLA drops.
    h, w, _ = x.shape
    padded = jnp.pad(x * scale[None, None], ((1, 1), (1, 1), (0, 0)))
    d_kernel = jnp.stack(
        [
            jnp.stack([jnp.sum(g * padded[i : i + h, j : j + w], axis=(0, 1)) for j in range(3)])
            for i in range(3)
        ]
    )
    return d_scaled * scale[None, None], d_scale, d_kernel


modulated_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _noisy_layers(weights: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers with a noise input, from the coarsest."""
    blocks = [weights["blocks"][str(i)] for i in range(len(weights["blocks"]))]
    return [weights["conv1"], *(block[name] for block in blocks for name in ("conv1", "conv2"))]


def _split_noise(layer: dict[str, Any]) -> None:
    """Stored noise = unit map x strength, so that fresh maps can take the place of the own."""
    strength = jnp.std(layer["noise"])
    layer["noise_strength"] = strength
    layer["noise"] = layer["noise"] / jnp.where(strength > 0, strength, 1.0)
