"""Layers of the generators: pure functions of one example, and modules of them.

Three rules make them fast on every device and safe under `jax.vmap`:

- A modulated convolution scales its input, convolves with the *shared* weight, and scales its
  output. A batch is then one ordinary convolution. Per-sample weights would become a grouped
  one, which is several times slower and needs a gradient of every weight.
- The resampling filter [1, 3, 3, 1] is a sum of shifted arrays, never a depthwise convolution.
- Weights are stored *effective*: the learning-rate multiplier and the gain 1/sqrt(fan in) of
  equalised layers are folded in when a checkpoint is imported, and kernels of up-convolutions
  are stored flipped (see `up_conv`).

Layout: activations [h w c], kernels [h w in out], dense weights [in out].

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.filters import (
    USUAL,
    Filter,
    filter_transposed,
    upsample_bilinearly,
    upsample_by,
)
from perceptual_jax.types import Noise

UpConvForm = Literal["dilated", "polyphase"]

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


def conv(
    x: Float[Array, "h w i"],
    weight: Float[Array, "kh kw i o"],
    *,
    padding: tuple[int, int] = (1, 1),
    dilation: int = 1,
) -> Float[Array, "h2 w2 o"]:
    """Convolution (a correlation, as everywhere in the field) without stride.

    The gradient is written out because of `lax.scan` on a CPU: left alone, XLA moves the
    transposition of the kernel out of the loop but not its flip, and then every step runs a
    general convolution that is five times slower. The barrier in it keeps the two together.

    Args:
        x: Activations.
        weight: Kernel, of the dtype of `x`.
        padding: Rows and columns of zeros on each side.
        dilation: 2 puts zeros between the pixels of `x`.
    """
    return _conv(x, weight, padding, dilation)


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


def up_conv(
    x: Float[Array, "h w i"],
    weight: Float[Array, "3 3 i o"],
    *,
    form: UpConvForm,
    filter: Filter = USUAL,
) -> Float[Array, "h2 w2 o"]:
    """Transposed 3x3 convolution of stride 2, then the filter [1, 3, 3, 1] / 4 on both axes.

    The transposed convolution adds x[i] * kernel at 2 i, which is a correlation of the
    zero-stuffed x with the *flipped* kernel: `weight` is that flipped kernel.

    Args:
        x: Activations.
        weight: Kernel of a checkpoint, flipped on both spatial axes.
        form: How the transposed convolution is written; both give the same result. "dilated" is
            one convolution of the zero-stuffed input, "polyphase" four without zeros.
        filter: Another filter; "bilinear" is an interpolation before a plain convolution, whose
            kernel is not flipped.
    """
    if filter == "bilinear":
        return conv(upsample_bilinearly(x), weight)
    transposed = (
        conv(x, weight, padding=(2, 2), dilation=2) if form == "dilated" else _phases(x, weight)
    )
    return _blur(transposed, 1) if filter == USUAL else filter_transposed(transposed, filter)


def upsample(x: Float[Array, "h w c"], *, filter: Filter = USUAL) -> Float[Array, "h2 w2 c"]:
    """Doubles an image with the filter [1, 3, 3, 1] / 4 and zeros beyond the border.

    Per axis y[2i] = (x[i-1] + 3 x[i]) / 4 and y[2i+1] = (3 x[i] + x[i+1]) / 4.

    Args:
        x: The image.
        filter: Another filter, see `filters.py`.

    Example:
        >>> upsample(jnp.ones((2, 2, 1)))[:, 1, 0]
        Array([0.75, 1.  , 1.  , 0.75], dtype=float32)
    """
    if filter == "bilinear":
        return upsample_bilinearly(x)
    return _upsample_axis(_upsample_axis(x, 0), 1) if filter == USUAL else upsample_by(x, filter)


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


def inverse_haar(x: Float[Array, "h w c4"]) -> Float[Array, "h2 w2 c"]:
    """Inverse Haar transform: [h w 4c] -> [2h 2w c].

    The first c channels are the means (times 2), the others hold for each output channel its
    vertical, horizontal and diagonal differences, in this order.
    """
    h, w, channels = x.shape
    c = channels // 4
    mean = x[..., :c]
    vertical, horizontal, diagonal = (x[..., c + i :: 3] for i in range(3))
    plus, minus = mean + vertical, mean - vertical
    same, cross = horizontal + diagonal, horizontal - diagonal
    top = jnp.stack([plus + same, plus - same], axis=2)
    bottom = jnp.stack([minus + cross, minus - cross], axis=2)
    return (0.5 * jnp.stack([top, bottom], axis=1)).reshape(2 * h, 2 * w, c)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: Array, weight: Array, padding: tuple[int, int], dilation: int) -> Array:
    return _correlate(x, weight, padding, dilation=dilation)


def _conv_forward(
    x: Array, weight: Array, padding: tuple[int, int], dilation: int
) -> tuple[Array, tuple[Array, Array]]:
    return _correlate(x, weight, padding, dilation=dilation), (x, weight)


def _conv_backward(
    padding: tuple[int, int], dilation: int, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, weight = residuals
    transposed = lax.optimization_barrier(weight[::-1, ::-1].swapaxes(2, 3))
    complement = (weight.shape[0] - 1 - padding[0], weight.shape[1] - 1 - padding[1])
    # An unused gradient of the weight is dead code that XLA removes.
    _, weight_vjp = jax.vjp(lambda w: _correlate(x, w, padding, dilation=dilation), weight)
    return _correlate(gradient, transposed, complement, stride=dilation), weight_vjp(gradient)[0]


_conv.defvjp(_conv_forward, _conv_backward)


def _correlate(
    x: Array, weight: Array, padding: tuple[int, int], *, dilation: int = 1, stride: int = 1
) -> Array:
    return lax.conv_general_dilated(
        x[None],
        weight,
        window_strides=(stride, stride),
        padding=[(p, p) for p in padding],
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]


def _phases(x: Array, weight: Array) -> Array:
    """The transposed convolution as its four phases: even or odd rows, even or odd columns.

    Even output rows use the first and third row of the kernel, odd ones the second.
    """
    zero = jnp.zeros((), x.dtype)
    phases = []
    for a in (0, 1):
        for b in (0, 1):
            phase = conv(x, weight[a::2, b::2], padding=(1 - a, 1 - b))
            phases.append(lax.pad(phase, zero, ((a, a, 1), (b, b, 1), (0, 0, 0))))
    return sum(phases[1:], start=phases[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _blur(x: Array, padding: int) -> Array:
    """[1, 3, 3, 1] / 4 on both axes of x with `padding` zeros around it.

    The filter is symmetric, so its transpose is itself with the complementary padding. Written
    out for the gradient this is eight times faster on a CPU than the transpose of every slice.
    """
    x = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    for axis in (0, 1):
        size = x.shape[axis] - 3
        a, b, c, d = (lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(4))
        x = 0.25 * (a + d) + 0.75 * (b + c)
    return x


_blur.defvjp(
    lambda x, padding: (_blur(x, padding), None),
    lambda padding, _, gradient: (_blur(gradient, 3 - padding),),
)


def _upsample_axis(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(3)])
    before = lax.slice_in_dim(padded, 0, size, axis=axis)
    after = lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
    return lax.collapse(pair, axis, axis + 2)
