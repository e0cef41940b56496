"""Layers of the PixelCNN: weight-normalised causal convolutions.

Activations are [n h w c]. A pixel comes before another if it is in a row above, or to the left in
the same row. All convolutions here keep the size of the map, and compute in the dtype of their
input.

Flax's own `nnx.WeightNorm` has no initialisation from data, and normalises at every call. Here

    w = g v / |v|,   g = scale / std(x * v / |v|),   b = -g mean(x * v / |v|)

so that every layer starts with outputs of mean 0 and standard deviation `scale` on a real batch
(`initialized`), and the normalised kernels are computed once after training (`fold`).

Source: Salimans et al., "PixelCNN++", 2017; Salimans and Kingma, "Weight normalization", 2016.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key

Keys = Iterator[Key[Array, ""]]
"""Independent PRNG keys, one for each random parameter in order of creation, or each dropout."""

Padding = tuple[tuple[int, int], tuple[int, int]]

Network = TypeVar("Network", bound=nnx.Module)


def key_stream(key: Key[Array, ""]) -> Keys:
    """An endless stream of keys, each a function of `key` and its index."""
    return (jax.random.fold_in(key, i) for i in itertools.count(1))


class Conv(nnx.Module):
    """A convolution with weight norm and bias.

    Its parameters are the direction `v` [h w in out], the norm `g` [out] and the bias `b` [out];
    once folded, the kernel `w` [h w in out] and `b`.
    """

    v: nnx.Param[Array]
    g: nnx.Param[Array]
    w: nnx.Param[Array]

    def __init__(
        self,
        fan_in: int,
        out: int,
        keys: Keys,
        *,
        kernel: tuple[int, int] = (1, 1),
        padding: Padding = ((0, 0), (0, 0)),
        dilation: int = 1,
        scale: float = 1.0,
    ):
        """Draws a random direction; norm and bias are 1 and 0 until `initialized`.

        Args:
            fan_in: Channels of the input.
            out: Channels of the output.
            keys: PRNG keys; one is taken.
            kernel: Rows and columns of the kernel.
            padding: Zeros above and below, left and right, that keep the size of the map.
            dilation: Distance of the taps in pixels.
            scale: Standard deviation of the outputs after `initialized`.
        """
        self.v = nnx.Param(0.05 * jax.random.normal(next(keys), (*kernel, fan_in, out)))
        self.g = nnx.Param(jnp.ones(out))
        self.b = nnx.Param(jnp.zeros(out))
        self.padding = padding
        self.dilation = dilation
        self.scale = scale
        self.initializing = False

    @property
    def is_folded(self) -> bool:
        """Whether the layer holds its effective kernel instead of direction and norm."""
        return hasattr(self, "w")

    @property
    def kernel(self) -> Float[Array, "h w i o"]:
        """The effective kernel."""
        if self.is_folded:
            return self.w[...]
        return self.g[...][None, None, None] * _direction(self.v[...])

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """The convolution plus the bias."""
        if self.initializing:
            self._set_norm_and_bias(x)
        y = self._correlate(x, self.kernel)
        return y + self.b[...].astype(x.dtype)[None, None, None]

    def _set_norm_and_bias(self, x: Array) -> None:
        y = self._correlate(x, _direction(self.v[...])).astype(jnp.float32)
        g = self.scale / jnp.sqrt(jnp.var(y, axis=(0, 1, 2)) + 1e-10)
        self.g[...] = g
        self.b[...] = -g * jnp.mean(y, axis=(0, 1, 2))

    def _correlate(self, x: Array, w: Array) -> Array:
        w = w.astype(x.dtype)
        if w.shape[:2] == (1, 1):  # On a CPU a product is twice as fast as the same convolution.
            return x @ w[0, 0]
        return lax.conv_general_dilated(
            x,
            w,
            window_strides=(1, 1),
            padding=self.padding,
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class Linear(nnx.Module):
    """A matrix product without weight norm or bias, for inputs that may all be equal."""

    def __init__(self, fan_in: int, out: int, keys: Keys):
        """Draws random weights; one key is taken."""
        self.w = nnx.Param(0.05 * jax.random.normal(next(keys), (fan_in, out)))

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """The product of the inputs and the matrix."""
        return x @ self.w[...].astype(x.dtype)


class Table(nnx.Module):
    """An array of parameters, drawn from a standard normal distribution."""

    def __init__(self, shape: tuple[int, ...], keys: Keys):
        """Draws the parameters; one key is taken."""
        self.w = nnx.Param(jax.random.normal(next(keys), shape))


def initialized(network: Network, run: Callable[[Network], object]) -> Network:
    """A copy of the network with norms and biases from the activations that reach each layer.

    Args:
        network: Any network of `Conv`s, not folded; it is not modified.
        run: Function that evaluates its argument, a network, on a real batch.
    """
    scaled = nnx.clone(network)
    scaled.set_attributes(Conv, initializing=True)
    run(scaled)
    scaled.set_attributes(Conv, initializing=False)
    return scaled


def fold(network: Network) -> Network:
    """A copy of the network with the effective kernels `w` in place of `v` and `g`."""
    folded = nnx.clone(network)
    for layer in _convolutions(folded):
        if not layer.is_folded:
            layer.w = nnx.Param(layer.kernel)
            del layer.v, layer.g
    return folded


def unfold(network: Network) -> Network:
    """A trainable network that folds to this one: the inverse of `fold`."""
    unfolded = nnx.clone(network)
    for layer in _convolutions(unfolded):
        if layer.is_folded:
            w = layer.w[...]
            layer.v = nnx.Param(w)
            layer.g = nnx.Param(jnp.sqrt(jnp.sum(w**2, axis=(0, 1, 2)) + 1e-12))
            del layer.w
    return unfolded


def _convolutions(network: nnx.Module) -> list[Conv]:
    return [module for _, module in nnx.iter_modules(network) if isinstance(module, Conv)]


def _direction(v: Array) -> Array:
    return v / jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2), keepdims=True) + 1e-12)


def above(kernel: tuple[int, int]) -> Padding:
    """Padding of a down-shifted convolution: own row and rows above, columns on both sides."""
    rows, columns = kernel
    return ((rows - 1, 0), ((columns - 1) // 2, (columns - 1) // 2))


def above_left(kernel: tuple[int, int]) -> Padding:
    """Padding of a down-right-shifted convolution: own row and above, own column and left of it."""
    rows, columns = kernel
    return ((rows - 1, 0), (columns - 1, 0))


def around(kernel: tuple[int, int], *, dilation: int = 1) -> Padding:
    """Padding of a centred convolution, which is not causal."""
    rows, columns = (dilation * (k - 1) // 2 for k in kernel)
    return ((rows, rows), (columns, columns))


def shift_down(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Shifts every row one down; the first row becomes 0."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


def shift_right(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Shifts every column one to the right; the first column becomes 0."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


def concat_elu(x: Float[Array, "*n c"]) -> Float[Array, "*n c2"]:
    """ELU of x and of -x, concatenated: twice the channels, no dead units."""
    negative = jnp.exp(-jnp.abs(x)) - 1  # One exponential serves both halves.
    halves = [jnp.where(x > 0, x, negative), jnp.where(x > 0, negative, -x)]
    return jnp.concatenate(halves, axis=-1)


def gate(x: Float[Array, "*n c"], pre: Float[Array, "*n c2"]) -> Float[Array, "*n c"]:
    """The gate of a block: x + A sigmoid(B), with [A, B] the halves of `pre`."""
    a, b = jnp.split(pre, 2, axis=-1)
    return x + a * jax.nn.sigmoid(b)


def space_to_depth(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c4"]:
    """Rearranges blocks of 2x2 pixels into channels; odd sizes are padded with zeros."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    x = x.reshape(n, (h + 1) // 2, 2, (w + 1) // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, (h + 1) // 2, (w + 1) // 2, 4 * c)


def depth_to_space(x: Float[Array, "n h2 w2 c4"], size: tuple[int, int]) -> Float[Array, "n h w c"]:
    """The inverse of `space_to_depth`, cropped to `size`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * h, 2 * w, c // 4)[:, : size[0], : size[1]]
