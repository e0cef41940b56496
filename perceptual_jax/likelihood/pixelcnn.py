"""The conditional PixelCNN++: the distribution of each pixel, given those before it.

    p(degraded | restored) = prod over pixels p(x_ij | pixels before it, restored)

Two streams read the degraded image causally: `u` sees the rows above, `ul` the rows above and the
pixels to the left. The condition (the restored image) is fully known and needs no causal masking:
`encoder="local"` is made of centred convolutions. `injection` is where the condition enters:

    both        into every gate of both streams (the paper)
    rightward   into the gates of `ul` only: `u` depends on the degraded image alone
    late        into gated 1x1 blocks after the streams: both depend on the degraded image alone

All that depends on the degraded image alone is a `Context`, computed once for a whole search.

A JPEG's header, where there is one, conditions the gates as well: the position of each pixel in the
16-px grid (`phase`), the quantisation tables (`quality`); and the encoder then also sees the
condition requantised as in that JPEG.

Source: the paper, Section 3.2; Salimans et al., "PixelCNN++", 2017; van den Oord et al.,
"Conditional image generation with PixelCNN decoders", 2016 (conditions inside the gate).
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from perceptual_jax.degradation.jpeg_codec import requantise
from perceptual_jax.generator.arrays import named_params, with_params
from perceptual_jax.likelihood.conditioning import (
    TABLE_CHANNELS,
    TABLE_FEATURES,
    ConditionedConv,
    EncoderConv,
    EncoderEnd,
    FirstLayers,
    GatedBlock,
    JpegFeatures,
    LeftBlock,
    PhaseTable,
    anchors_of,
    condition_channels,
    condition_of,
    encoder_conv,
    marked,
    table_features,
)
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import (
    Conv,
    Keys,
    Linear,
    above,
    fold,
    gate,
    initialized,
    key_stream,
    shift_down,
)
from perceptual_jax.likelihood.logistic_mixture import Mixture, mixture_from
from perceptual_jax.types import JpegHeader


class Context(NamedTuple):
    """All that depends on the degraded image alone; arrays have a leading axis n."""

    degraded: Float[Array, "n h w 3"]
    header: JpegHeader
    jpeg: JpegFeatures
    """Features of the header."""
    streams: dict[str, Any]
    """Activations of the streams that do not depend on the condition."""

    @property
    def dtype(self) -> jnp.dtype:
        """Type of the activations."""
        return jax.tree.leaves(self.streams)[0].dtype


class PixelCNN(nnx.Module):
    """The network, immutable by convention. Paths of its parameters are their names in files."""

    def __init__(self, config: PixelCNNConfig, key: Key[Array, ""]):
        """Draws random parameters; `init_network` also scales them by a batch.

        Args:
            config: Config of the network.
            key: PRNG key; consumed.
        """
        keys, c, injection = key_stream(key), config.channels, config.injection
        pictures = condition_channels(config)
        fan_in = pictures if config.encoder == "none" else c
        self.config = config
        self.phase = None if config.phase == "none" else PhaseTable(config.phase, keys)
        quality = config.quality == "table"
        self.table = Linear(TABLE_FEATURES, TABLE_CHANNELS, keys) if quality else None
        self.u0 = Conv(4, c, keys, kernel=(2, 3), padding=above((2, 3)))
        self.ul0 = FirstLayers(c, keys)
        for i in range(1, config.blocks + 1):
            into_u, into_ul = injection == "both", injection != "late"
            u = GatedBlock(config, keys, kernel=(2, 3), fan_in=into_u * fan_in)
            ul = LeftBlock(config, keys, fan_in=into_ul * fan_in)
            setattr(self, f"u{i}", u)
            setattr(self, f"ul{i}", ul)
        if config.encoder == "local":
            self.encoder0 = EncoderConv(config, pictures, keys)
            self.encoder1 = encoder_conv(config, keys, dilation=1)
            self.encoder2 = encoder_conv(config, keys, dilation=2)
            self.encoder = EncoderEnd(config, pictures, keys)
        if injection == "late":
            self.join = ConditionedConv(c, fan_in, keys)
            for i in range(1, config.fusion_blocks + 1):
                setattr(self, f"fuse{i}", GatedBlock(config, keys))
        scale = 1.0 if config.mean == "plain" else 0.1
        self.head = Conv(c, 10 * config.components, keys, scale=scale)

    @property
    def stream_blocks(self) -> list[tuple[GatedBlock, LeftBlock]]:
        """The blocks of the streams `u` and `ul`, in pairs."""
        numbers = range(1, self.config.blocks + 1)
        return [(getattr(self, f"u{i}"), getattr(self, f"ul{i}")) for i in numbers]

    @property
    def fusion_blocks(self) -> list[GatedBlock]:
        """The blocks after the streams; none unless the injection is late."""
        late = self.config.injection == "late"
        numbers = range(1, self.config.fusion_blocks + 1) if late else ()
        return [getattr(self, f"fuse{i}") for i in numbers]

    def jpeg_features(
        self, header: JpegHeader, size: tuple[int, int], dtype: jnp.dtype
    ) -> JpegFeatures:
        """Features of the header that condition the gates, for a size (height, width)."""
        phase = table = None
        if self.phase is not None:
            phase = self.phase(jnp.asarray(header.phase), size, dtype)
        if self.table is not None:
            # All images of a batch may have one table, so weight norm cannot be initialised from
            # the outputs of this layer.
            table = jax.nn.elu(self.table(table_features(header).astype(dtype)))
        return JpegFeatures(phase, table)

    def encode(
        self,
        jpeg: JpegFeatures,
        restored: Float[Array, "n h w 3"],
        requantised: Float[Array, "n h w 3"],
        dtype: jnp.dtype,
    ) -> Float[Array, "n h w c"]:
        """Features of the condition, which the layers `seen` take."""
        x = condition_of(self.config, restored, requantised).astype(dtype)
        if self.config.encoder == "none":
            return x
        y = self.encoder0.encode(x, jpeg)
        for layer in (self.encoder1, self.encoder2):
            y = y + layer(jax.nn.elu(y))
        return self.encoder(y, x)

    def context(
        self,
        degraded: Float[Array, "n h w 3"],
        header: JpegHeader,
        *,
        dtype: jnp.dtype | type = jnp.float32,
        dropout_keys: Keys | None = None,
    ) -> Context:
        """The part of the network that does not depend on the condition.

        Args:
            degraded: Degraded images in [-1, 1].
            header: Headers of their JPEGs, with a leading axis n.
            dtype: Type of the activations.
            dropout_keys: PRNG keys of the dropout; None turns it off.
        """
        dtype, keys = jnp.dtype(dtype), dropout_keys
        jpeg = self.jpeg_features(header, (degraded.shape[1], degraded.shape[2]), dtype)
        x = marked(degraded).astype(dtype)
        # Only the first layers must exclude the pixel itself: later ones read their outputs.
        u, ul = shift_down(self.u0(x)), self.ul0(x)
        blocks = self.stream_blocks
        streams: dict[str, Any]
        if self.config.injection == "both":
            # In the first block of each stream only the gate depends on the condition.
            first_u, first_ul = blocks[0]
            pre_gate = first_u.pre_gate(first_u.features(u), keys)
            streams = {"u": u, "ul": ul, "pre_gate": pre_gate, "first": first_ul.features(ul)}
        elif self.config.injection == "rightward":
            aux = []
            for u_block, ul_block in blocks:
                u = u_block(u, u_block.jpeg_bias(jpeg, dtype), keys)
                aux.append(ul_block.auxiliary(u))
            first = blocks[0][1]
            pre_gate = first.pre_gate(first.features(ul) + aux[0], keys)
            streams = {"ul": ul, "aux": aux[1:], "pre_gate": pre_gate}
        else:
            for u_block, ul_block in blocks:
                u = u_block(u, u_block.jpeg_bias(jpeg, dtype), keys)
                bias, aux = ul_block.jpeg_bias(jpeg, dtype), ul_block.auxiliary(u)
                ul = ul_block(ul, bias, keys, aux=aux)
            streams = {"joined": self.join(jax.nn.elu(ul))}
        return Context(degraded, header, jpeg, streams)

    def mixture(
        self,
        context: Context,
        restored: Float[Array, "n h w 3"],
        *,
        min_log_scale: float | Float[Array, ""] | None = None,
        every: int = 1,
        dropout_keys: Keys | None = None,
    ) -> Mixture:
        """The distribution of every pixel of the degraded image, given those before it.

        Args:
            context: Result of `context`; its type of activations is used here too.
            restored: The condition in [-1, 1], at the degraded image's size.
            min_log_scale: Lower bound of log-scales in place of the config's (tempering).
            every: Distance of the rows that are computed, for late injection only; it divides the
                cost of the layers after the streams.
            dropout_keys: PRNG keys of the dropout; None turns it off.

        Returns:
            Mixtures [n h w ...], in float32 whatever the type of the body.

        Raises:
            ValueError: If rows are to be left out and the injection is not late.
        """
        config, keys = self.config, dropout_keys
        if every > 1 and config.injection != "late":
            raise ValueError(f"only a late injection can leave out rows, got {config.injection}")
        jpeg, streams, dtype = context.jpeg, context.streams, context.dtype
        requantised = restored
        if config.quality == "table":
            requantised = jax.vmap(requantise)(restored, context.header)
        condition = self.encode(jpeg, restored, requantised, dtype)[:, ::every]
        if config.injection == "both":
            (first_u, first_ul), *rest = self.stream_blocks
            u = gate(streams["u"], streams["pre_gate"] + first_u.bias(jpeg, condition))
            pre_gate = first_ul.pre_gate(streams["first"] + first_ul.auxiliary(u), keys)
            ul = gate(streams["ul"], pre_gate + first_ul.bias(jpeg, condition))
            for u_block, ul_block in rest:
                u = u_block(u, u_block.bias(jpeg, condition), keys)
                ul = ul_block(ul, ul_block.bias(jpeg, condition), keys, aux=ul_block.auxiliary(u))
        elif config.injection == "rightward":
            (_, first), *rest = self.stream_blocks
            ul = gate(streams["ul"], streams["pre_gate"] + first.bias(jpeg, condition))
            for (_, block), aux in zip(rest, streams["aux"], strict=True):
                ul = block(ul, block.bias(jpeg, condition), keys, aux=aux)
        else:
            ul = streams["joined"][:, ::every] + self.join.seen(condition)
            if jpeg.phase is not None:
                jpeg = jpeg._replace(phase=jpeg.phase[:, ::every])
            for block in self.fusion_blocks:
                ul = block(ul, block.jpeg_bias(jpeg, dtype), keys)
        floor = config.min_log_scale if min_log_scale is None else min_log_scale
        anchors = anchors_of(config, context.degraded, restored, requantised, every)
        return mixture_from(self.raw(ul), anchors=anchors, min_log_scale=floor)

    def raw(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w p"]:
        """The mixture's raw parameters: logits k, means 3k, log-scales 3k, coefficients 3k."""
        k = self.config.components
        # The head is not computed in bfloat16, whose spacing near 1 is half a level or more.
        raw = self.head(jax.nn.elu(x).astype(jnp.promote_types(x.dtype, jnp.float32)))
        if self.config.mean != "plain":
            # Anchors have errors of a few levels of 255, the initial scale of the components.
            start = jnp.repeat(
                jnp.array([0.0, 0.0, -4.0, 0.0]),
                jnp.array([k, 3 * k, 3 * k, 3 * k]),
                total_repeat_length=10 * k,
            )
            raw = raw + start[None, None, None]
        return raw


def init_network(
    config: PixelCNNConfig,
    key: Key[Array, ""],
    degraded: Float[Array, "n h w 3"],
    restored: Float[Array, "n h w 3"],
    header: JpegHeader,
) -> PixelCNN:
    """A random network, scaled by the activations on one real batch (16 images or more).

    Args:
        config: Config of the network; static under `jit`. This function is meant to be jitted.
        key: PRNG key; consumed.
        degraded: Degraded images in [-1, 1].
        restored: Their originals in [-1, 1].
        header: Headers of their JPEGs, with a leading axis n.
    """

    def run(network: PixelCNN) -> Mixture:
        return network.mixture(network.context(degraded, header), restored)

    return initialized(PixelCNN(config, key), run)


@functools.cache
def graph_of(config: PixelCNNConfig) -> nnx.GraphDef[PixelCNN]:
    """The graph of the unfolded network, which `nnx.merge` combines with its parameters."""
    return nnx.split(_abstract(config))[0]


def folded_network(config: PixelCNNConfig, arrays: Mapping[str, Array]) -> PixelCNN:
    """The folded network with these parameters by name; `weight_shapes` lists them."""
    return with_params(jax.eval_shape(fold, _abstract(config)), arrays)


def weight_shapes(config: PixelCNNConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters of the folded network."""
    folded = jax.eval_shape(fold, _abstract(config))
    return {name: x.shape for name, x in named_params(folded).items()}


def _abstract(config: PixelCNNConfig) -> PixelCNN:
    """The network with shapes in place of parameters."""
    return jax.eval_shape(lambda: PixelCNN(config, jax.random.key(0)))
