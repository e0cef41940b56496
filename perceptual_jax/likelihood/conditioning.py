"""What the PixelCNN's gates are told: the condition, and what a JPEG's header says.

Both are known as a whole, so nothing need hide any of them; no pixel of the degraded image is
looked at here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import Scope, around, depth_to_space, space_to_depth
from perceptual_jax.types import JpegHeader

PHASE_CHANNELS = 16
TABLE_CHANNELS = 32


class Side(NamedTuple):
    """What is known of the degraded image besides its pixels, as the gates read it."""

    phase: Float[Array, "n h w p"] | None
    table: Float[Array, "n 1 1 t"] | None


def make_side(
    scope: Scope, config: PixelCNNConfig, header: JpegHeader, size: tuple[int, int]
) -> Side:
    """What the gates are told of images of a size (height, width)."""
    phase = table = None
    if config.phase != "none":
        places = scope.table("phase", (config.phase, config.phase, PHASE_CHANNELS))
        nowhere = scope.table("phase.unknown", (PHASE_CHANNELS,))
        rows, columns = (
            jax.nn.one_hot(
                (header.phase[:, i, None] + jnp.arange(size[i])[None]) % config.phase,
                config.phase,
                dtype=places.dtype,
            )
            for i in (0, 1)
        )
        phase = jnp.einsum("nip,njq,pqc->nijc", rows, columns, places)
        known = (header.phase[:, 0] >= 0)[:, None, None, None]
        phase = jnp.where(known, phase, nowhere[None, None, None])
    if config.quality == "table":
        n = header.tables.shape[0]
        # log2 of 1..255, and 0 for all of an unknown table, which the last entry tells apart.
        steps = jnp.log2(jnp.maximum(header.tables, 1.0)).reshape(n, 128) / 4
        sampling = jax.nn.one_hot(header.subsampling, 3)
        known = (header.tables[:, 0, 0, 0] > 0).astype(jnp.float32)[:, None]
        told = jnp.concatenate([steps, sampling, known], axis=-1)[:, None, None]
        # All images of a batch may have one table, so no layer here can be scaled by its outputs.
        table = jax.nn.elu(scope.linear("table", told, TABLE_CHANNELS))
    return Side(phase, table)


def encode(
    scope: Scope, config: PixelCNNConfig, side: Side, restored: Array, requantised: Array
) -> Array:
    """Features of the condition [n h w c], as the gates read them."""
    pictures = [restored, requantised] if config.quality == "table" else [restored]
    x = marked(jnp.concatenate(pictures, axis=-1))
    if config.encoder == "none":
        return x
    c, (_, height, width, _) = config.encoder_channels, restored.shape
    y = scope.conv("encoder0", space_to_depth(x), c, (3, 3), around((3, 3)))
    if side.table is not None:
        y = y + scope.linear("encoder0.table", side.table, c)
    if side.phase is not None:
        y = y + scope.linear("encoder0.phase", side.phase[:, ::2, ::2], c)
    for i, dilation in enumerate((1, 2), start=1):
        padding = around((3, 3), dilation=dilation)
        step = scope.conv(f"encoder{i}", jax.nn.elu(y), c, (3, 3), padding, dilation=dilation)
        y = y + step
    y = scope.nin("encoder.up", jax.nn.elu(y), 4 * config.channels)
    near = scope.nin("encoder.near", x, config.channels)
    return jax.nn.elu(depth_to_space(y, (height, width)) + near)


def marked(x: Array) -> Array:
    """With a channel of ones, which tells mid-grey from the zeros beyond the edge."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
