"""The PixelCNN's gated blocks and their conditioning: the condition, and a JPEG's header.

Condition and header are fully known, so their features need no causal masking. Only the blocks
read the degraded image, and of it only the pixels before each one.

Layers named `seen` take the features of the condition; the name is that of their parameters in
files.
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
"""Number of features of `table_features`."""


class JpegFeatures(NamedTuple):
    """Features of a JPEG's header that condition the gates."""

    phase: Float[Array, "n h w p"] | None
    """Features of each pixel's position in the grid; None if the config has none."""
    table: Float[Array, "n 1 1 t"] | None
    """Features of tables and subsampling; None if the config has none."""


class PhaseTable(Table):
    """Embeddings of the positions in the grid, and one for an unknown position."""

    def __init__(self, period: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        super().__init__((period, period, PHASE_CHANNELS), keys)
        self.unknown = Table((PHASE_CHANNELS,), keys)

    def __call__(
        self, phase: Int[Array, "n 2"], size: tuple[int, int], dtype: jnp.dtype
    ) -> Float[Array, "n h w p"]:
        """A map over an image of a size (height, width); `phase` is -1 where it is not known."""
        embeddings, unknown = self.w[...].astype(dtype), self.unknown.w[...].astype(dtype)
        period = embeddings.shape[0]
        rows, columns = (
            jax.nn.one_hot(
                (phase[:, i, None] + jnp.arange(size[i])[None]) % period, period, dtype=dtype
            )
            for i in (0, 1)
        )
        features = jnp.einsum("nip,njq,pqc->nijc", rows, columns, embeddings)
        is_known = (phase[:, 0] >= 0)[:, None, None, None]
        return jnp.where(is_known, features, unknown[None, None, None])


def jpeg_layers(
    config: PixelCNNConfig, out: int, keys: Keys
) -> tuple[Linear | None, Linear | None]:
    """Layers from the table and the phase of `JpegFeatures` to `out` channels, or None for each."""
    return (
        Linear(TABLE_CHANNELS, out, keys) if config.quality == "table" else None,
        Linear(PHASE_CHANNELS, out, keys) if config.phase != "none" else None,
    )


class FirstLayers(nnx.Module):
    """The first layers of the stream `ul`: one reads the row above, one the pixels to the left."""

    def __init__(self, channels: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        self.above = Conv(4, channels, keys, kernel=(1, 3), padding=above((1, 3)))
        self.left = Conv(4, channels, keys, kernel=(2, 1), padding=above_left((2, 1)))

    def __call__(self, x: Float[Array, "n h w 4"]) -> Float[Array, "n h w c"]:
        """Features of the pixels before each one."""
        return shift_down(self.above(x)) + shift_right(self.left(x))


class GatedBlock(nnx.Module):
    """Two convolutions to twice the channels [A, B], then x + A sigmoid(B).

    The conditioning is a bias before the gate: of tables, of positions in the grid, and of the
    condition.
    """

    def __init__(
        self,
        config: PixelCNNConfig,
        keys: Keys,
        *,
        kernel: tuple[int, int] = (1, 1),
        fan_in: int = 0,
    ):
        """Draws the parameters.

        Args:
            config: Config of the network.
            keys: PRNG keys; one is taken for each parameter drawn at random.
            kernel: Rows and columns of both convolutions.
            fan_in: Channels of the condition's features, 0 for a block without the condition.
        """
        c = config.channels
        padding = above(kernel) if kernel[1] == 3 else above_left(kernel)
        self.first = Conv(2 * c, c, keys, kernel=kernel, padding=padding)
        self.second = Conv(2 * c, 2 * c, keys, kernel=kernel, padding=padding, scale=0.1)
        self.dropout = nnx.Dropout(config.dropout)
        self.table, self.phase = jpeg_layers(config, 2 * c, keys)
        self.seen = Conv(fan_in, 2 * c, keys, scale=0.1) if fan_in else None

    def __call__(
        self, x: Array, bias: Array, keys: Keys | None = None, *, aux: Array | None = None
    ) -> Float[Array, "n h w c"]:
        """Applies the whole block.

        Args:
            x: Activations.
            bias: Conditioning bias, see `bias`.
            keys: PRNG keys of the dropout; None turns it off.
            aux: Activations of another stream, added to the first convolution.
        """
        y = self.features(x)
        return gate(x, self.pre_gate(y if aux is None else y + aux, keys) + bias)

    def features(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The first convolution."""
        return self.first(concat_elu(x))

    def pre_gate(self, y: Float[Array, "n h w c"], keys: Keys | None) -> Float[Array, "n h w c2"]:
        """The second convolution, with dropout before it if there are keys."""
        y = concat_elu(y)
        if keys is not None:
            y = self.dropout(y, rngs=next(keys))
        return self.second(y)

    def jpeg_bias(self, jpeg: JpegFeatures, dtype: jnp.dtype) -> Float[Array, "_ _ _ c2"]:
        """Bias of grid and tables before the gate: a map, or zero without such features."""
        bias = jnp.zeros((1, 1, 1, self.second.b.shape[0]), dtype)
        if self.table is not None and jpeg.table is not None:
            bias = bias + self.table(jpeg.table)
        if self.phase is not None and jpeg.phase is not None:
            bias = bias + self.phase(jpeg.phase)
        return bias

    def bias(
        self, jpeg: JpegFeatures, condition: Float[Array, "n h w c"]
    ) -> Float[Array, "_ _ _ c2"]:
        """Conditioning bias before the gate, of grid, tables and the condition's features."""
        bias = self.jpeg_bias(jpeg, condition.dtype)
        return bias if self.seen is None else bias + self.seen(condition)


class LeftBlock(GatedBlock):
    """A block of the stream `ul`; between its convolutions it also reads the stream `u`."""

    def __init__(self, config: PixelCNNConfig, keys: Keys, *, fan_in: int = 0):
        """Draws the parameters, as in `GatedBlock`."""
        self.aux = Conv(2 * config.channels, config.channels, keys)
        super().__init__(config, keys, kernel=(2, 2), fan_in=fan_in)

    def auxiliary(self, u: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Activations of the stream `u` that are added to the first convolution."""
        return self.aux(concat_elu(u))


class ConditionedConv(Conv):
    """A 1x1 convolution of the streams, and one of the condition's features that is added to it."""

    def __init__(self, channels: int, fan_in: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        super().__init__(channels, channels, keys)
        self.seen = Conv(fan_in, channels, keys)


class EncoderConv(Conv):
    """The encoder's first layer, at half the resolution, conditioned on tables and grid."""

    def __init__(self, config: PixelCNNConfig, fan_in: int, keys: Keys):
        """Draws the parameters."""
        out = config.encoder_channels
        super().__init__(4 * fan_in, out, keys, kernel=(3, 3), padding=around((3, 3)))
        self.table, self.phase = jpeg_layers(config, out, keys)

    def encode(self, x: Float[Array, "n h w c"], jpeg: JpegFeatures) -> Float[Array, "n h2 w2 o"]:
        """Features of the condition."""
        y = self(space_to_depth(x))
        if self.table is not None and jpeg.table is not None:
            y = y + self.table(jpeg.table)
        if self.phase is not None and jpeg.phase is not None:
            y = y + self.phase(jpeg.phase[:, ::2, ::2])
        return y


def encoder_conv(config: PixelCNNConfig, keys: Keys, *, dilation: int) -> Conv:
    """One of the encoder's layers at half the resolution."""
    c, padding = config.encoder_channels, around((3, 3), dilation=dilation)
    return Conv(c, c, keys, kernel=(3, 3), padding=padding, dilation=dilation)


class EncoderEnd(nnx.Module):
    """The encoder's last layers, which upsample its features to the full resolution."""

    def __init__(self, config: PixelCNNConfig, fan_in: int, keys: Keys):
        """Draws the parameters; two keys are taken."""
        self.up = Conv(config.encoder_channels, 4 * config.channels, keys)
        self.near = Conv(fan_in, config.channels, keys)

    def __call__(
        self, y: Float[Array, "n h2 w2 c"], x: Float[Array, "n h w i"]
    ) -> Float[Array, "n h w o"]:
        """Features `y` at half the resolution and the condition `x`, combined at the full one."""
        up = depth_to_space(self.up(jax.nn.elu(y)), (x.shape[1], x.shape[2]))
        return jax.nn.elu(up + self.near(x))


def table_features(header: JpegHeader) -> Float[Array, "n 1 1 f"]:
    """Quantisation tables and subsampling as features; all of them 0 if they are unknown."""
    n = header.tables.shape[0]
    # log2 of 1..255; an unknown table is 0 everywhere, which the last feature marks.
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
    """Input of the encoder: the condition, and the condition requantised as in its JPEG."""
    pictures = [restored, requantised] if config.quality == "table" else [restored]
    return marked(jnp.concatenate(pictures, axis=-1))


def marked(x: Array) -> Array:
    """Images with a channel of ones appended, which tells mid-grey from the zero padding."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def anchors_of(
    config: PixelCNNConfig, degraded: Array, restored: Array, requantised: Array, every: int
) -> Array | None:
    """Anchors of the means of all pixels in every `every`-th row; None if the means are free."""
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
    """Anchors that are added to the means, alternating over the components; None for free means.

    Args:
        config: Config of the network.
        requantised: The condition requantised as in its JPEG.
        restored: The condition.
        left: The degraded image's pixels to the left.
        up: The degraded image's pixels above.
        up_left: The degraded image's pixels above and to the left.
    """
    if config.mean == "plain":
        return None
    choices = [requantised, restored]
    if config.mean == "anchored":
        choices = [requantised, left, up, restored, left + up - up_left]
    anchors = [choices[i % len(choices)] for i in range(config.components)]
    return jnp.stack(anchors, axis=-1)
