"""Convolution of one example whose gradient is fast on a CPU, too."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Float


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
