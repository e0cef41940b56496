"""The PixelCNN's gated blocks, and what they are told: the condition, and a JPEG's header.

The condition and the header are known as a whole, so nothing need hide any of them. Only the
blocks see pixels of the degraded image, those before each one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import (
    Conv,
    Keys,
    Linear,
    Table,
    above,
    above_left,
    around,
    concat_elu,
    depth_to_space,
    gate,
    shift_down,
    shift_right,
    space_to_depth,
)
from perceptual_jax.types import JpegHeader

PHASE_CHANNELS = 16
TABLE_CHANNELS = 32
TABLE_FEATURES = 2 * 64 + 3 + 1
"""Numbers of `table_features`."""


class Side(NamedTuple):
    """What is known of the degraded image besides its pixels, as the gates read it."""

    phase: Float[Array, "n h w p"] | None
    table: Float[Array, "n 1 1 t"] | None


class PhaseTable(Table):
    """What each place of the grid tells, and what is told where the place is not known."""

    def __init__(self, period: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        super().__init__((period, period, PHASE_CHANNELS), keys)
        self.unknown = Table((PHASE_CHANNELS,), keys)

    def __call__(
        self, phase: Int[Array, "n 2"], size: tuple[int, int], dtype: jnp.dtype
    ) -> Float[Array, "n h w p"]:
        """A map of an image of a size (height, width); `phase` is -1 where it is not known."""
        places, nowhere = self.w[...].astype(dtype), self.unknown.w[...].astype(dtype)
        period = places.shape[0]
        rows, columns = (
            jax.nn.one_hot(
                (phase[:, i, None] + jnp.arange(size[i])[None]) % period, period, dtype=dtype
            )
            for i in (0, 1)
        )
        told = jnp.einsum("nip,njq,pqc->nijc", rows, columns, places)
        known = (phase[:, 0] >= 0)[:, None, None, None]
        return jnp.where(known, told, nowhere[None, None, None])


def side_layers(
    config: PixelCNNConfig, out: int, keys: Keys
) -> tuple[Linear | None, Linear | None]:
    """What makes `out` channels of a `Side`'s table and phase, None where a config has none."""
    return (
        Linear(TABLE_CHANNELS, out, keys) if config.quality == "table" else None,
        Linear(PHASE_CHANNELS, out, keys) if config.phase != "none" else None,
    )


class FirstLayers(nnx.Module):
    """The first layers of the stream `ul`: of the row above, and of the pixels to the left."""

    def __init__(self, channels: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        self.above = Conv(4, channels, keys, kernel=(1, 3), padding=above((1, 3)))
        self.left = Conv(4, channels, keys, kernel=(2, 1), padding=above_left((2, 1)))

    def __call__(self, x: Float[Array, "n h w 4"]) -> Float[Array, "n h w c"]:
        """Features of the pixels before each one."""
        return shift_down(self.above(x)) + shift_right(self.left(x))


class GatedBlock(nnx.Module):
    """Two convolutions to twice the channels [A, B], then x + A sigmoid(B).

    What conditions the block is added before the gate: tables, places, and the condition itself
    (`seen`).
    """

    def __init__(
        self,
        config: PixelCNNConfig,
        keys: Keys,
        *,
        kernel: tuple[int, int] = (1, 1),
        seen: int = 0,
    ):
        """Draws the parameters.

        Args:
            config: Config of the network.
            keys: One is taken for each layer.
            kernel: Rows and columns of both convolutions.
            seen: Channels of the condition, 0 if the block does not see it.
        """
        c = config.channels
        padding = above(kernel) if kernel[1] == 3 else above_left(kernel)
        self.first = Conv(2 * c, c, keys, kernel=kernel, padding=padding)
        self.second = Conv(2 * c, 2 * c, keys, kernel=kernel, padding=padding, scale=0.1)
        self.dropout = nnx.Dropout(config.dropout)
        self.table, self.phase = side_layers(config, 2 * c, keys)
        self.seen = Conv(seen, 2 * c, keys, scale=0.1) if seen else None

    def __call__(
        self, x: Array, bias: Array, keys: Keys | None = None, *, aux: Array | None = None
    ) -> Float[Array, "n h w c"]:
        """The whole block.

        Args:
            x: Activations.
            bias: All that conditions the block, see `bias`.
            keys: For the dropout; None keeps all activations.
            aux: What another stream adds to the first convolution.
        """
        y = self.features(x)
        return gate(x, self.pre_gate(y if aux is None else y + aux, keys) + bias)

    def features(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The first convolution."""
        return self.first(concat_elu(x))

    def pre_gate(self, y: Float[Array, "n h w c"], keys: Keys | None) -> Float[Array, "n h w c2"]:
        """The second convolution, with dropout if there are keys."""
        y = concat_elu(y)
        if keys is not None:
            y = self.dropout(y, rngs=next(keys))
        return self.second(y)

    def side_bias(self, side: Side, dtype: jnp.dtype) -> Float[Array, "_ _ _ c2"]:
        """What grid and tables add before the gate: a map, or zero if nothing is known."""
        bias = jnp.zeros((1, 1, 1, self.second.b.shape[0]), dtype)
        if self.table is not None and side.table is not None:
            bias = bias + self.table(side.table)
        if self.phase is not None and side.phase is not None:
            bias = bias + self.phase(side.phase)
        return bias

    def bias(self, side: Side, seen: Float[Array, "n h w c"]) -> Float[Array, "_ _ _ c2"]:
        """All that conditions the block: grid, tables, and the condition if it sees that."""
        bias = self.side_bias(side, seen.dtype)
        return bias if self.seen is None else bias + self.seen(seen)


class LeftBlock(GatedBlock):
    """A block of the stream `ul`, which reads `u` as well, between its convolutions."""

    def __init__(self, config: PixelCNNConfig, keys: Keys, *, seen: int = 0):
        """Draws the parameters, as in `GatedBlock`."""
        self.aux = Conv(2 * config.channels, config.channels, keys)
        super().__init__(config, keys, kernel=(2, 2), seen=seen)

    def auxiliary(self, u: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """What the stream `u` adds to the first convolution."""
        return self.aux(concat_elu(u))


class SeeingConv(Conv):
    """A 1x1 convolution of the streams, to which the condition is added."""

    def __init__(self, channels: int, seen: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        super().__init__(channels, channels, keys)
        self.seen = Conv(seen, channels, keys)


class EncoderConv(Conv):
    """The encoder's first layer, at half the resolution; it is told of tables and places."""

    def __init__(self, config: PixelCNNConfig, fan_in: int, keys: Keys):
        """Draws the parameters."""
        out = config.encoder_channels
        super().__init__(4 * fan_in, out, keys, kernel=(3, 3), padding=around((3, 3)))
        self.table, self.phase = side_layers(config, out, keys)

    def encode(self, x: Float[Array, "n h w c"], side: Side) -> Float[Array, "n h2 w2 o"]:
        """Features of the condition."""
        y = self(space_to_depth(x))
        if self.table is not None and side.table is not None:
            y = y + self.table(side.table)
        if self.phase is not None and side.phase is not None:
            y = y + self.phase(side.phase[:, ::2, ::2])
        return y


def encoder_conv(config: PixelCNNConfig, keys: Keys, *, dilation: int) -> Conv:
    """One of the encoder's layers at half the resolution."""
    c, padding = config.encoder_channels, around((3, 3), dilation=dilation)
    return Conv(c, c, keys, kernel=(3, 3), padding=padding, dilation=dilation)


class EncoderEnd(nnx.Module):
    """The encoder's last layers, which bring its features back to the full resolution."""

    def __init__(self, config: PixelCNNConfig, fan_in: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        self.up = Conv(config.encoder_channels, 4 * config.channels, keys)
        self.near = Conv(fan_in, config.channels, keys)

    def __call__(
        self, y: Float[Array, "n h2 w2 c"], x: Float[Array, "n h w i"]
    ) -> Float[Array, "n h w o"]:
        """The features, from those at half the resolution and from the condition itself."""
        up = depth_to_space(self.up(jax.nn.elu(y)), (x.shape[1], x.shape[2]))
        return jax.nn.elu(up + self.near(x))


def table_features(header: JpegHeader) -> Float[Array, "n 1 1 f"]:
    """Quantisation tables and subsampling as numbers; all of them 0 if nothing is known."""
    n = header.tables.shape[0]
    # log2 of 1..255, and 0 for all of an unknown table, which the last entry tells apart.
    steps = jnp.log2(jnp.maximum(header.tables, 1.0)).reshape(n, 128) / 4
    sampling = jax.nn.one_hot(header.subsampling, 3)
    known = (header.tables[:, 0, 0, 0] > 0).astype(jnp.float32)[:, None]
    return jnp.concatenate([steps, sampling, known], axis=-1)[:, None, None]


def condition_channels(config: PixelCNNConfig) -> int:
    """Channels of `condition_of`."""
    return 7 if config.quality == "table" else 4


def condition_of(
    config: PixelCNNConfig, restored: Float[Array, "n h w 3"], requantised: Float[Array, "n h w 3"]
) -> Float[Array, "n h w c"]:
    """The condition as the encoder sees it: itself, and as its JPEG would show it."""
    pictures = [restored, requantised] if config.quality == "table" else [restored]
    return marked(jnp.concatenate(pictures, axis=-1))


def marked(x: Array) -> Array:
    """With a channel of ones, which tells mid-grey from the zeros beyond the edge."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def anchors_of(
    config: PixelCNNConfig, degraded: Array, restored: Array, requantised: Array, every: int
) -> Array | None:
    """What the means of all pixels are counted from; None if they are free."""
    left, up = shift_right(degraded), shift_down(degraded)
    maps = (requantised, restored, left, up, shift_right(up))
    return choose_anchors(config, *(x[:, ::every] for x in maps))


def choose_anchors(
    config: PixelCNNConfig,
    requantised: Float[Array, "*n 3"],
    restored: Float[Array, "*n 3"],
    left: Float[Array, "*n 3"],
    up: Float[Array, "*n 3"],
    up_left: Float[Array, "*n 3"],
) -> Float[Array, "*n 3 k"] | None:
    """What the means are counted from, the components taking turns; None if they are free.

    Args:
        config: Of the network.
        requantised: The condition as its JPEG would show it.
        restored: The condition.
        left: Pixels of the degraded image to the left.
        up: Those above.
        up_left: Those above and to the left.
    """
    if config.mean == "plain":
        return None
    choices = [requantised, restored]
    if config.mean == "anchored":
        choices = [requantised, left, up, restored, left + up - up_left]
    turns = [choices[i % len(choices)] for i in range(config.components)]
    return jnp.stack(turns, axis=-1)
