"""Layers of the generators: pure functions of one example, and modules of them.

Two rules make them fast on every device and safe under `jax.vmap`:

- A modulated convolution scales its input, convolves with the *shared* weight, and scales its
  output. A batch is then one ordinary convolution. Per-sample weights would become a grouped
  one, which is several times slower and needs a gradient of every weight.
- Weights are stored *effective*: the learning-rate multiplier and the gain 1/sqrt(fan in) of
  equalised layers are folded in when a checkpoint is imported, and kernels of up-convolutions
  are stored flipped (see `upsampling.up_conv`).

Layout: activations [h w c], kernels [h w in out], dense weights [in out].

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.convolution import conv
from perceptual_jax.generator.filters import USUAL, Filter
from perceptual_jax.generator.upsampling import UpConvForm, up_conv
from perceptual_jax.types import Noise

SQRT2 = math.sqrt(2.0)
"""Gain after a leaky ReLU, which restores (about) the variance of its input."""


class Dense(nnx.Module):
    """A dense layer; one named `affine` maps a style to the scale of every channel."""

    def __init__(self, *, weight: Float[Array, "i o"], bias: Float[Array, " o"]):
        """Builds the layer from effective weights."""
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """Returns x W + b."""
        return dense(x, self.weight[...], self.bias[...])


def dense(
    x: Float[Array, " i"], weight: Float[Array, "i o"], bias: Float[Array, " o"]
) -> Float[Array, " o"]:
    """Computes x W + b with effective weights, at full float32 precision on every device."""
    return jnp.matmul(x, weight, precision=lax.Precision.HIGHEST) + bias


def leaky_relu(x: Float[Array, "..."], *, gain: float = 1.0) -> Float[Array, "..."]:
    """The larger of x and 0.2 x, times a gain.

    Example:
        >>> leaky_relu(jnp.array([-1.0, 2.0]), gain=2.0)
        Array([-0.4,  4. ], dtype=float32)
    """
    return jnp.where(x >= 0, gain * x, (0.2 * gain) * x)


def normalize_2nd_moment(x: Float[Array, " d"]) -> Float[Array, " d"]:
    """The vector x / sqrt(mean(x^2) + 1e-8), of norm sqrt(d)."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x)) + 1e-8)


def select_noise(
    own: Noise, key: Key[Array, ""] | None = None, *, mode: Literal["const", "random", "none"]
) -> Noise:
    """A network's own noise maps, standard normal draws of their shapes, or zeros.

    Args:
        own: The maps for "const".
        key: Consumed; needed for "random".
        mode: The maps of the network, normal draws, or zeros.

    Raises:
        ValueError: If the mode is "random" and `key` is None.
    """
    if mode == "const":
        return own
    if mode == "none":
        return tuple(jnp.zeros_like(x) for x in own)
    if key is None:
        raise ValueError('noise mode "random" needs a key, got none')
    keys = jax.random.split(key, len(own))
    return tuple(jax.random.normal(k, x.shape) for k, x in zip(keys, own, strict=True))


def modulated_conv(
    x: Float[Array, "h w i"],
    weight: Float[Array, "3 3 i o"],
    weight_square: Float[Array, "i o"],
    style: Float[Array, " i"],
    *,
    up: UpConvForm | None = None,
    filter: Filter = USUAL,
) -> Float[Array, "h2 w2 o"]:
    """3x3 convolution with the weight W style, normalised to unit norm for every output channel.

    (x style) * W / sqrt(sum_i style_i^2 W2_io + 1e-8): the demodulation coefficient is a small
    matrix product because style does not depend on the position in the kernel.

    Args:
        x: Activations; their dtype is the dtype of the convolution and of the result.
        weight: Kernel W, shared by all examples.
        weight_square: W2 = sum over the kernel's positions of W^2, precomputed.
        style: Scale of every input channel, float32.
        up: None keeps the size; otherwise the result is twice as large, by `up_conv` in this form.
        filter: Filter of `up_conv`.
    """
    demodulation = lax.rsqrt(
        jnp.matmul(jnp.square(style), weight_square, precision=lax.Precision.HIGHEST) + 1e-8
    )
    x = x * style.astype(x.dtype)[None, None]
    weight = weight.astype(x.dtype)
    x = conv(x, weight) if up is None else up_conv(x, weight, form=up, filter=filter)
    return x * demodulation.astype(x.dtype)[None, None]


def to_rgb(
    x: Float[Array, "h w i"],
    weight: Float[Array, "i c"],
    bias: Float[Array, " c"],
    style: Float[Array, " i"],
) -> Float[Array, "h w c"]:
    """Modulated 1x1 convolution without demodulation; float32 for every dtype of `x`."""
    x = x * style.astype(x.dtype)[None, None]
    rgb = jnp.matmul(x, weight.astype(x.dtype), preferred_element_type=jnp.float32)
    return rgb + bias[None, None]


def add_offset(
    x: Float[Array, "h w c"], offset: Float[Array, "s s j"] | None, *, last: int
) -> Float[Array, "h w c"]:
    """Adds an offset of features to the activations of its size, and leaves all others unchanged.

    Args:
        x: Activations after a block.
        offset: The offset; None adds nothing.
        last: Pixels of a side after the last block that is computed.

    Raises:
        ValueError: If no computed block has the offset's size, or its channels differ.
    """
    if offset is None:
        return x
    if offset.shape[0] > last:
        raise ValueError(
            f"the offset of features has {offset.shape[0]} px, but only blocks of up to {last} px "
            "are computed; move coarser features or render at a higher resolution"
        )
    if offset.shape[0] != x.shape[0]:
        return x
    if offset.shape != x.shape:
        raise ValueError(f"the offset of features must have shape {x.shape}, got {offset.shape}")
    return x + offset.astype(x.dtype)


def check_feature_size(resolution: int, smallest: int, largest: int) -> None:
    """Checks that a network has features of `resolution`.

    Raises:
        ValueError: If it is no power of two from `smallest` to `largest`.
    """
    if not smallest <= resolution <= largest or resolution.bit_count() != 1:
        raise ValueError(
            f"features must have a power of two of pixels from {smallest} to {largest}, "
            f"got {resolution}"
        )
