"""Doubling of images and activations: up-convolutions, their filter, the inverse Haar transform.

The filter [1, 3, 3, 1] is a sum of shifted arrays, never a depthwise convolution, which is slow on
every device. Its gradient is written out.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from perceptual_jax.generator.convolution import conv
from perceptual_jax.generator.filters import (
    USUAL,
    Filter,
    filter_transposed,
    upsample_bilinearly,
    upsample_by,
)

UpConvForm = Literal["dilated", "polyphase"]


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
