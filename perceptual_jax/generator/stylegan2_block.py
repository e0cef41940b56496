"""A block of StyleGAN2's synthesis network and its layers; `stylegan2` puts them together.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from perceptual_jax.generator.arrays import Arrays
from perceptual_jax.generator.filters import USUAL, Filter
from perceptual_jax.generator.layers import SQRT2, Dense, leaky_relu, modulated_conv, to_rgb
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.generator.upsampling import UpConvForm, upsample
from perceptual_jax.types import Noise


class StyledConv(nnx.Module):
    """A layer: modulated 3x3 convolution, noise, bias and leaky ReLU."""

    def __init__(
        self,
        *,
        affine: Arrays,
        weight: Float[Array, "3 3 i o"],
        bias: Float[Array, " o"],
        noise_const: Float[Array, "r r"],
        noise_strength: Float[Array, ""],
        up: UpConvForm | None,
        clamp: float | None,
        filter: Filter = USUAL,
    ):
        """Builds the layer from its arrays.

        Args:
            affine: Weight and bias of the map from W to the scale of each input channel.
            weight: Kernel.
            bias: Bias of the output channels.
            noise_const: The layer's own noise map.
            noise_strength: Factor of any noise map.
            up: Form of the up-convolution, see `upsampling.up_conv`; None keeps the size.
            clamp: Largest absolute value of the result; None does not limit it.
            filter: Filter of the up-convolution.
        """
        self.affine = Dense(**affine)
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)
        self.noise_const = nnx.Param(noise_const)
        self.noise_strength = nnx.Param(noise_strength)
        # Precomputed for the demodulation; no parameter, as it is a function of the kernel.
        self.weight_square = nnx.data(jnp.sum(jnp.square(weight), axis=(0, 1)))
        self.up: UpConvForm | None = up
        self.filter: Filter = filter
        self.clamp = clamp

    def __call__(
        self, x: Float[Array, "h w i"], w: Float[Array, " d"], noise: Float[Array, "r r"]
    ) -> Float[Array, "r r o"]:
        """Activations from activations, a style of W, and a noise map."""
        style = self.affine(w)
        x = modulated_conv(
            x, self.weight[...], self.weight_square, style, up=self.up, filter=self.filter
        )
        x = x + (self.noise_strength[...] * noise).astype(x.dtype)[..., None]
        x = x + self.bias[...].astype(x.dtype)[None, None]
        return _clip(leaky_relu(x, gain=SQRT2), self.clamp)


class ToRGB(nnx.Module):
    """A modulated 1x1 convolution to the image."""

    def __init__(
        self,
        *,
        affine: Arrays,
        weight: Float[Array, "i 3"],
        bias: Float[Array, " 3"],
        clamp: float | None,
    ):
        """Builds the layer from its arrays; `affine` and `clamp` as in `StyledConv`."""
        self.affine = Dense(**affine)
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)
        self.clamp = clamp

    def __call__(self, x: Float[Array, "h w i"], w: Float[Array, " d"]) -> Float[Array, "h w 3"]:
        """The contribution of a block to the skip image."""
        return _clip(to_rgb(x, self.weight[...], self.bias[...], self.affine(w)), self.clamp)


class Block(nnx.Module):
    """A block: `conv0`, which doubles the size (`const` in the first block), `conv1`, `torgb`."""

    const: nnx.Param[Array]
    """Learned constant input of the network, in the first block only."""

    def __init__(self, arrays: Arrays, config: StyleGAN2Config):
        """Builds the block from its arrays."""
        up, clamp, filter = config.up_conv, config.conv_clamp, config.resample_filter
        self.filter: Filter = filter
        first = "const" in arrays
        if first:
            self.const = nnx.Param(arrays["const"])
        self.conv0 = (
            None if first else StyledConv(**arrays["conv0"], up=up, clamp=clamp, filter=filter)
        )
        self.conv1 = StyledConv(**arrays["conv1"], up=None, clamp=clamp)
        self.torgb = ToRGB(**arrays["torgb"], clamp=clamp)

    @property
    def layers(self) -> list[StyledConv]:
        """The layers with a noise input, in order."""
        return [self.conv1] if self.conv0 is None else [self.conv0, self.conv1]

    def __call__(
        self, x: Float[Array, "_ _ i"], image: Array, styles: Float[Array, "j d"], noise: Noise
    ) -> tuple[Float[Array, "h w o"], Float[Array, "h w 3"]]:
        """Features and skip image after the block.

        Args:
            x: Features.
            image: Skip image, of half the block's size.
            styles: The style of each layer, then that of `torgb`.
            noise: The noise map of each layer.
        """
        for i, layer in enumerate(self.layers):
            x = layer(x, styles[i], noise[i])
        image = upsample(image, filter=self.filter) + self.torgb(x, styles[len(self.layers)])
        return x, image


def _clip(x: Array, clamp: float | None) -> Array:
    return x if clamp is None else jnp.clip(x, -clamp, clamp)
