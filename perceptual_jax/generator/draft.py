"""Draft heads: the image at a low resolution, from intermediate features of a generator.

A search uses the image only at the size of its data term, so most of a 1024-px synthesis is
wasted on it. A draft head computes the image from the features f of an early block:

    y = conv1x1(f * s1);  y = y + conv3x3(y * s2);  image = conv3x3(y * s3) + conv1x1(f * s1)

with leaky ReLUs between. It is fitted by `scripts/fit_draft.py` to the generator's own
area-downsampled output; where a network has an intermediate image (StyleGAN2's skip
image), to its residual. The output of the later layers depends on their styles, so these modulate
the head: s = 1 + tanh(A(style - w_mean)). The bound matters: with a
linear s the image diverges as soon as a search leaves the prior.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.convolution import conv
from perceptual_jax.generator.layers import dense, leaky_relu
from perceptual_jax.generator.upsampling import inverse_haar


class DraftHead(nnx.Module):
    """A draft head with 3 output channels, or 12: a Haar transform of an image twice as large."""

    def __init__(
        self,
        *,
        affine1_weight: Float[Array, "d c"],
        affine1_bias: Float[Array, " c"],
        affine2_weight: Float[Array, "d hidden"],
        affine2_bias: Float[Array, " hidden"],
        affine3_weight: Float[Array, "d hidden"],
        affine3_bias: Float[Array, " hidden"],
        squeeze_weight: Float[Array, "c hidden"],
        squeeze_bias: Float[Array, " hidden"],
        context_weight: Float[Array, "3 3 hidden hidden"],
        context_bias: Float[Array, " hidden"],
        output_weight: Float[Array, "3 3 hidden out"],
        shortcut_weight: Float[Array, "c out"],
        output_bias: Float[Array, " out"],
    ):
        """Builds the head from its weights."""
        self.affine1_weight = nnx.Param(affine1_weight)
        self.affine1_bias = nnx.Param(affine1_bias)
        self.affine2_weight = nnx.Param(affine2_weight)
        self.affine2_bias = nnx.Param(affine2_bias)
        self.affine3_weight = nnx.Param(affine3_weight)
        self.affine3_bias = nnx.Param(affine3_bias)
        self.squeeze_weight = nnx.Param(squeeze_weight)
        self.squeeze_bias = nnx.Param(squeeze_bias)
        self.context_weight = nnx.Param(context_weight)
        self.context_bias = nnx.Param(context_bias)
        self.output_weight = nnx.Param(output_weight)
        self.shortcut_weight = nnx.Param(shortcut_weight)
        self.output_bias = nnx.Param(output_bias)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DraftHead":
        """Builds the head from stored arrays, by name; float16 on disk becomes float32."""
        return cls(**{name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()})

    def __call__(
        self, features: Float[Array, "h w c"], late: Float[Array, "j d"]
    ) -> Float[Array, "h w out"]:
        """Computes the output channels of a draft.

        Args:
            features: Activations of the generator's early layers.
            late: Deviations from `w_mean` of the styles that `features` do not depend on; any
                number of them is reduced to three by averaging neighbours.
        """
        first, second, third = (
            1.0 + jnp.tanh(dense(style, weight[...], bias[...]))
            for style, weight, bias in zip(
                thirds(late),
                (self.affine1_weight, self.affine2_weight, self.affine3_weight),
                (self.affine1_bias, self.affine2_bias, self.affine3_bias),
                strict=True,
            )
        )
        dtype = features.dtype

        def cast(x: Array | nnx.Param[Array]) -> Array:
            return x[...].astype(dtype)

        f = features * cast(first)[None, None]
        x = leaky_relu(f @ cast(self.squeeze_weight) + cast(self.squeeze_bias)[None, None])
        y = conv(x * cast(second)[None, None], cast(self.context_weight))
        x = x + leaky_relu(y + cast(self.context_bias)[None, None])
        y = conv(x * cast(third)[None, None], cast(self.output_weight))
        y = y + f @ cast(self.shortcut_weight)
        return y.astype(jnp.float32) + self.output_bias[...][None, None]


class DraftParts(NamedTuple):
    """The outputs of a generator's early layers that a draft is made from."""

    features: Float[Array, "h w c"]
    """Activations at the size of the draft or half of it."""
    late: Float[Array, "j d"]
    """The styles that `features` do not depend on, as deviations from `w_mean`."""
    base: Float[Array, "r r 3"] | None
    """The intermediate image, which the head corrects; None if the generator has none."""


def init_draft_head(
    key: Key[Array, ""], channels: int, dim: int, *, hidden: int = 48, out: int = 12
) -> DraftHead:
    """A draft head with random weights, to be fitted.

    Args:
        key: Consumed.
        channels: Channels of the features.
        dim: Dimension of a style.
        hidden: Width of the head.
        out: 12 for an image of twice the size of the features, by a Haar transform, or 3.
    """
    shapes = {
        "affine1": (dim, channels),
        "affine2": (dim, hidden),
        "affine3": (dim, hidden),
        "squeeze": (channels, hidden),
        "context": (3, 3, hidden, hidden),
        "output": (3, 3, hidden, out),
        "shortcut": (channels, out),
    }
    # Small enough for the head to begin near "unmodulated, black" whatever the styles.
    gains = {"affine1": 0.3, "affine2": 0.3, "affine3": 0.3, "output": 0.1, "shortcut": 0.02}
    arrays = {}
    for name, k in zip(shapes, jax.random.split(key, len(shapes)), strict=True):
        shape = shapes[name]
        spread = gains.get(name, 1.0) / math.sqrt(math.prod(shape[:-1]))
        arrays[f"{name}_weight"] = spread * jax.random.normal(k, shape)
        if name != "shortcut":
            arrays[f"{name}_bias"] = jnp.zeros(shape[-1])
    return DraftHead(**arrays)


def finish_draft(head: DraftHead, parts: DraftParts) -> Float[Array, "r r 3"]:
    """The draft image: the output of the head, added to the intermediate image if there is one."""
    image = head(parts.features, parts.late)
    if image.shape[-1] == 12:
        image = inverse_haar(image)
    return image if parts.base is None else parts.base + image


def thirds(late: Float[Array, "j d"]) -> tuple[Float[Array, " d"], ...]:
    """The means of the first, second and last third of the rows; few rows are used repeatedly.

    Example:
        >>> [float(x[0]) for x in thirds(jnp.arange(5.0)[:, None])]
        [0.5, 2.5, 4.0]
    """
    n = late.shape[0]
    edges = [math.ceil(i * n / 3) for i in range(4)]
    starts = [min(a, n - 1) for a in edges[:-1]]
    stops = [max(a + 1, b) for a, b in zip(starts, edges[1:], strict=True)]
    return tuple(late[a:b].mean(axis=0) for a, b in zip(starts, stops, strict=True))
