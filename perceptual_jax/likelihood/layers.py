"""Layers of the PixelCNN: weight-normalised convolutions that see only what comes before.

Activations are [n h w c]. A pixel comes before another if it is in a row above, or to the left in
the same row. All convolutions here keep the size of the map.

Weights are a flat dict: the name of a layer to its arrays. A `Scope` reads them by name; while a
network is initialised it makes them instead, from the activations that reach each layer:

    w = g v / |v|,   g = scale / std(x * v / |v|),   b = -g mean(x * v / |v|)

so that every layer starts with outputs of mean 0 and standard deviation `scale` on that batch.

Source: Salimans et al., "PixelCNN++", 2017; Salimans and Kingma, "Weight normalization", 2016.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

Weights = Mapping[str, Mapping[str, Array]]
"""Layer name to arrays: `v`, `g`, `b` in training, `w` and `b` once folded."""

Padding = tuple[tuple[int, int], tuple[int, int]]


class Scope:
    """The weights of a network by the names of its layers, during one evaluation."""

    def __init__(
        self,
        weights: Weights | None = None,
        *,
        init_key: Key[Array, ""] | None = None,
        dropout_key: Key[Array, ""] | None = None,
        dropout: float = 0.0,
        dtype: jnp.dtype | type = jnp.float32,
    ):
        """Reads `weights`, or makes them if they are None.

        Args:
            weights: All layers.
            init_key: Of the random directions v, where weights are made.
            dropout_key: None keeps all activations.
            dropout: Share of the activations of each block that are dropped.
            dtype: Of activations and weights, except where a layer says `exact`.
        """
        self.weights: dict[str, Any] = dict(weights or {})
        self.dtype = dtype
        self._init_key = init_key
        self._dropout_key = dropout_key
        self._dropout = dropout
        self._calls = 0

    def conv(
        self,
        name: str,
        x: Float[Array, "n h w c"],
        out: int,
        kernel: tuple[int, int],
        padding: Padding,
        *,
        dilation: int = 1,
        scale: float = 1.0,
    ) -> Float[Array, "n h w out"]:
        """A convolution with weight norm and bias."""
        x = x.astype(self.dtype)
        if self._init_key is not None:
            self._make(name, x, out, kernel, padding, dilation, scale)
        layer = self.weights[name]
        w = layer["w"] if "w" in layer else _kernel(layer)
        y = _correlate(x, w.astype(self.dtype), padding, dilation)
        return y + layer["b"].astype(self.dtype)[None, None, None]

    def nin(
        self, name: str, x: Float[Array, "n h w c"], out: int, *, scale: float = 1.0
    ) -> Float[Array, "n h w out"]:
        """A 1x1 convolution ("network in network")."""
        return self.conv(name, x, out, (1, 1), ((0, 0), (0, 0)), scale=scale)

    def linear(self, name: str, x: Float[Array, "*n c"], out: int) -> Float[Array, "*n out"]:
        """A plain product, without weight norm or bias, for inputs that may all be equal."""
        if self._init_key is not None:
            shape = (x.shape[-1], out)
            self.weights[name] = {"w": 0.05 * jax.random.normal(self._next_key(), shape)}
        return x.astype(self.dtype) @ self.weights[name]["w"].astype(self.dtype)

    def table(self, name: str, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Free parameters, standard normal at first."""
        if self._init_key is not None:
            self.weights[name] = {"w": jax.random.normal(self._next_key(), shape)}
        return self.weights[name]["w"].astype(self.dtype)

    def drop(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Dropout; the identity outside training."""
        if self._dropout_key is None or self._dropout == 0:
            return x
        self._calls += 1
        key = jax.random.fold_in(self._dropout_key, self._calls)
        keep = jax.random.bernoulli(key, 1 - self._dropout, x.shape)
        return jnp.where(keep, x / (1 - self._dropout), 0)

    def _next_key(self) -> Key[Array, ""]:
        assert self._init_key is not None
        self._calls += 1
        return jax.random.fold_in(self._init_key, self._calls)

    def _make(
        self,
        name: str,
        x: Array,
        out: int,
        kernel: tuple[int, int],
        padding: Padding,
        dilation: int,
        scale: float,
    ) -> None:
        v = 0.05 * jax.random.normal(self._next_key(), (*kernel, x.shape[-1], out))
        y = _correlate(x, _direction(v), padding, dilation).astype(jnp.float32)
        g = scale / jnp.sqrt(jnp.var(y, axis=(0, 1, 2)) + 1e-10)
        self.weights[name] = {"v": v, "g": g, "b": -g * jnp.mean(y, axis=(0, 1, 2))}


def fold(weights: Weights) -> dict[str, dict[str, Array]]:
    """The same weights with every normalised kernel multiplied out: no `v` and `g`, but `w`."""
    return {
        name: {"w": _kernel(layer), "b": layer["b"]} if "v" in layer else dict(layer)
        for name, layer in weights.items()
    }


def unfold(weights: Weights) -> dict[str, dict[str, Array]]:
    """Weights that can be trained on and fold to these: the inverse of `fold`."""

    def split(w: Array) -> dict[str, Array]:
        return {"v": w, "g": jnp.sqrt(jnp.sum(w**2, axis=(0, 1, 2)) + 1e-12)}

    return {
        name: split(layer["w"]) | {"b": layer["b"]} if "b" in layer else dict(layer)
        for name, layer in weights.items()
    }


def _kernel(layer: Mapping[str, Array]) -> Array:
    return layer["g"][None, None, None] * _direction(layer["v"])


def _direction(v: Array) -> Array:
    return v / jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2), keepdims=True) + 1e-12)


def _correlate(x: Array, w: Array, padding: Padding, dilation: int) -> Array:
    if w.shape[:2] == (1, 1):  # On a CPU a product is twice as fast as the same convolution.
        return x @ w[0, 0]
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(1, 1),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def above(kernel: tuple[int, int]) -> Padding:
    """Padding of a down-shifted convolution: it sees its own row and those above, both sides."""
    rows, columns = kernel
    return ((rows - 1, 0), ((columns - 1) // 2, (columns - 1) // 2))


def above_left(kernel: tuple[int, int]) -> Padding:
    """Padding of a down-right-shifted convolution: own row and above, own column and left."""
    rows, columns = kernel
    return ((rows - 1, 0), (columns - 1, 0))


def around(kernel: tuple[int, int], *, dilation: int = 1) -> Padding:
    """Padding of a convolution that sees all sides."""
    rows, columns = (dilation * (k - 1) // 2 for k in kernel)
    return ((rows, rows), (columns, columns))


def shift_down(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Every row takes the place of the one below; the first becomes 0."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


def shift_right(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Every column takes the place of the next one; the first becomes 0."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


def concat_elu(x: Float[Array, "*n c"]) -> Float[Array, "*n c2"]:
    """ELU of x and of -x side by side: twice the channels, no dead units."""
    below = jnp.exp(-jnp.abs(x)) - 1  # One exponential serves both halves.
    halves = [jnp.where(x > 0, x, below), jnp.where(x > 0, below, -x)]
    return jnp.concatenate(halves, axis=-1)


def gate(x: Float[Array, "*n c"], pre: Float[Array, "*n c2"]) -> Float[Array, "*n c"]:
    """The end of a gated block: x + A sigmoid(B), with [A, B] the halves of `pre`."""
    a, b = jnp.split(pre, 2, axis=-1)
    return x + a * jax.nn.sigmoid(b)


def space_to_depth(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c4"]:
    """Two by two pixels become one of four times the channels; odd sizes get a zero edge."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    x = x.reshape(n, (h + 1) // 2, 2, (w + 1) // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, (h + 1) // 2, (w + 1) // 2, 4 * c)


def depth_to_space(x: Float[Array, "n h2 w2 c4"], size: tuple[int, int]) -> Float[Array, "n h w c"]:
    """The inverse of `space_to_depth`, cut to `size`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * h, 2 * w, c // 4)[:, : size[0], : size[1]]
