"""The conditional PixelCNN++: how probable each pixel of a degraded image is, given the others.

    p(degraded | restored) = prod over pixels p(x_ij | pixels before it, restored)

Two streams read the degraded image causally: `u` sees the rows above, `ul` the rows above and the
pixels to the left. The condition (the restored image) is known as a whole, so nothing need hide
any of it: `encoder="local"` looks at it from all sides. Where the condition enters:

    both        into every gate of both streams (the paper)
    rightward   into the gates of `ul` only: `u` depends on the degraded image alone
    late        into gated 1x1 blocks after the streams: both depend on the degraded image alone

What depends on the degraded image alone is a `Context`, computed once for a whole search.

A JPEG's header, where there is one, conditions the gates as well: the place of each pixel in the
16-px grid (`phase`), the quantisation tables (`quality`); and the encoder then also sees the
condition as that JPEG would show it.

Source: the paper, Section 3.2; Salimans et al., "PixelCNN++", 2017; van den Oord et al.,
"Conditional image generation with PixelCNN decoders", 2016 (conditions inside the gate).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.degradation.jpeg_codec import requantise
from perceptual_jax.likelihood.conditioning import Side, encode, make_side, marked
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import (
    Scope,
    above,
    above_left,
    concat_elu,
    fold,
    gate,
    shift_down,
    shift_right,
)
from perceptual_jax.likelihood.logistic_mixture import Mixture, mixture_from
from perceptual_jax.types import JpegHeader, unknown_header


class Context(NamedTuple):
    """All that depends on the degraded image alone; arrays have a leading axis n."""

    degraded: Float[Array, "n h w 3"]
    header: JpegHeader
    side: Side
    streams: dict[str, Any]
    """Activations, as far as they do not depend on the condition."""


def init_weights(
    config: PixelCNNConfig,
    key: Key[Array, ""],
    degraded: Float[Array, "n h w 3"],
    restored: Float[Array, "n h w 3"],
    header: JpegHeader,
) -> dict[str, dict[str, Array]]:
    """Random weights, scaled by the activations on one real batch (16 images or more).

    Args:
        config: Static under `jit`; do jit this.
        key: Consumed.
        degraded: Degraded images in [-1, 1].
        restored: Their originals.
        header: With a leading axis n.
    """
    scope = Scope(init_key=key)
    context = make_context(scope, config, degraded, header)
    mixture_parameters(scope, config, context, restored)
    return scope.weights


def make_context(
    scope: Scope, config: PixelCNNConfig, degraded: Float[Array, "n h w 3"], header: JpegHeader
) -> Context:
    """The part of the network that does not depend on the condition."""
    _, height, width, _ = degraded.shape
    side = make_side(scope, config, header, (height, width))
    u, ul = _first_layers(scope, config, degraded)
    streams: dict[str, Any]
    if config.injection == "both":
        # Of the first block of each stream the condition changes the gate only.
        opened = _open(scope, "u1", u, (2, 3))
        streams = {"u": u, "ul": ul, "opened": opened, "first": _first_conv(scope, "ul1", ul)}
    elif config.injection == "rightward":
        aux = []
        for i in range(1, config.blocks + 1):
            u = gate(u, _open(scope, f"u{i}", u, (2, 3)) + _told(scope, f"u{i}", side, u))
            aux.append(scope.nin(f"ul{i}.aux", concat_elu(u), config.channels))
        streams = {"ul": ul, "aux": aux[1:], "opened": _open(scope, "ul1", ul, (2, 2), aux[0])}
    else:
        for i in range(1, config.blocks + 1):
            u = gate(u, _open(scope, f"u{i}", u, (2, 3)) + _told(scope, f"u{i}", side, u))
            aux_i = scope.nin(f"ul{i}.aux", concat_elu(u), config.channels)
            opened = _open(scope, f"ul{i}", ul, (2, 2), aux_i)
            ul = gate(ul, opened + _told(scope, f"ul{i}", side, ul))
        streams = {"joined": scope.nin("join", jax.nn.elu(ul), config.channels)}
    return Context(degraded, header, side, streams)


def mixture_parameters(
    scope: Scope,
    config: PixelCNNConfig,
    context: Context,
    restored: Float[Array, "n h w 3"],
    *,
    min_log_scale: float | Float[Array, ""] | None = None,
    every: int = 1,
) -> Mixture:
    """The distribution of every pixel of the degraded image, given those before it.

    Args:
        scope: Weights.
        config: Of the network.
        context: From `make_context`.
        restored: The condition, at the degraded image's size.
        min_log_scale: Takes the place of the config's (tempering).
        every: Only the first of so many rows each, where the injection is late: what comes after
            the streams costs as much less.

    Returns:
        Mixtures [n h w ...], in float32 whatever the type of the body.

    Raises:
        ValueError: If rows are to be left out and the injection is not late.
    """
    if every > 1 and config.injection != "late":
        raise ValueError(f"only a late injection can leave out rows, got {config.injection}")
    side, streams, channels = context.side, context.streams, config.channels
    requantised = restored
    if config.quality == "table":
        requantised = jax.vmap(requantise)(restored, context.header)
    seen = encode(scope, config, side, restored, requantised)[:, ::every]

    def conditioned(name: str, x: Array) -> Array:
        seen_by = scope.nin(f"{name}.seen", seen, 2 * channels, scale=0.1)
        return _told(scope, name, side, x) + seen_by

    if config.injection == "both":
        u, ul = streams["u"], streams["ul"]
        for i in range(1, config.blocks + 1):
            opened = streams["opened"] if i == 1 else _open(scope, f"u{i}", u, (2, 3))
            u = gate(u, opened + conditioned(f"u{i}", u))
            aux = scope.nin(f"ul{i}.aux", concat_elu(u), channels)
            first = streams["first"] if i == 1 else _first_conv(scope, f"ul{i}", ul)
            ul = gate(ul, _second_conv(scope, f"ul{i}", first + aux) + conditioned(f"ul{i}", ul))
    elif config.injection == "rightward":
        ul = gate(streams["ul"], streams["opened"] + conditioned("ul1", streams["ul"]))
        for i, aux in enumerate(streams["aux"], start=2):
            opened = _open(scope, f"ul{i}", ul, (2, 2), aux)
            ul = gate(ul, opened + conditioned(f"ul{i}", ul))
    else:
        ul = streams["joined"][:, ::every] + scope.nin("join.seen", seen, channels)
        if side.phase is not None:
            side = side._replace(phase=side.phase[:, ::every])
        for i in range(1, config.fusion_blocks + 1):
            x = scope.nin(f"fuse{i}.first", concat_elu(ul), channels)
            x = scope.nin(f"fuse{i}.second", scope.drop(concat_elu(x)), 2 * channels, scale=0.1)
            ul = gate(ul, x + _told(scope, f"fuse{i}", side, ul))
    raw = head(scope, config, ul)
    floor = config.min_log_scale if min_log_scale is None else min_log_scale
    anchors = _anchors(config, context.degraded, restored, requantised, every)
    return mixture_from(raw, anchors=anchors, min_log_scale=floor)


def _first_layers(scope: Scope, config: PixelCNNConfig, x: Array) -> tuple[Array, Array]:
    """The only layers that must not see their own pixel: all later ones may."""
    x = marked(x)
    c = config.channels
    u = shift_down(scope.conv("u0", x, c, (2, 3), above((2, 3))))
    row = shift_down(scope.conv("ul0.above", x, c, (1, 3), above((1, 3))))
    column = shift_right(scope.conv("ul0.left", x, c, (2, 1), above_left((2, 1))))
    return u, row + column


def _open(
    scope: Scope, name: str, x: Array, kernel: tuple[int, int], aux: Array | None = None
) -> Array:
    """A gated block up to its gate, without what conditions it."""
    first = _first_conv(scope, name, x, kernel)
    return _second_conv(scope, name, first if aux is None else first + aux, kernel)


def _first_conv(scope: Scope, name: str, x: Array, kernel: tuple[int, int] = (2, 2)) -> Array:
    padding = above(kernel) if kernel[1] == 3 else above_left(kernel)
    return scope.conv(f"{name}.first", concat_elu(x), x.shape[-1], kernel, padding)


def _second_conv(scope: Scope, name: str, x: Array, kernel: tuple[int, int] = (2, 2)) -> Array:
    padding = above(kernel) if kernel[1] == 3 else above_left(kernel)
    x_in = scope.drop(concat_elu(x))
    return scope.conv(f"{name}.second", x_in, 2 * x.shape[-1], kernel, padding, scale=0.1)


def _told(scope: Scope, name: str, side: Side, x: Array) -> Array:
    """What a gate is told of grid and tables: a map, or zero if nothing is known of either."""
    out = 2 * x.shape[-1]
    told = jnp.zeros((1, 1, 1, out), x.dtype)
    if side.table is not None:
        told = told + scope.linear(f"{name}.table", side.table, out)
    if side.phase is not None:
        told = told + scope.linear(f"{name}.phase", side.phase, out)
    return told


def head(scope: Scope, config: PixelCNNConfig, x: Array) -> Array:
    """The mixture's raw parameters: logits k, means 3k, log-scales 3k, coefficients 3k."""
    k = config.components
    # Never in bfloat16: near 1, its spacing is half of one of the 256 levels and more.
    scope.dtype, body = jnp.promote_types(scope.dtype, jnp.float32), scope.dtype
    anchored = config.mean != "plain"
    raw = scope.nin("head", jax.nn.elu(x), 10 * k, scale=0.1 if anchored else 1.0)
    scope.dtype = body
    if anchored:  # An anchor is off by a few levels of 255, so scales begin there.
        start = jnp.repeat(
            jnp.array([0.0, 0.0, -4.0, 0.0]),
            jnp.array([k, 3 * k, 3 * k, 3 * k]),
            total_repeat_length=10 * k,
        )
        raw = raw + start[None, None, None]
    return raw


def _anchors(
    config: PixelCNNConfig, degraded: Array, restored: Array, requantised: Array, every: int
) -> Array | None:
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


def weight_shapes(config: PixelCNNConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of the folded weights, by `layer.array`."""

    def make(key: Key[Array, ""], image: Array, header: JpegHeader) -> dict[str, Any]:
        return fold(init_weights(config, key, image, image, header))

    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    header = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), unknown_header())
    shapes = jax.eval_shape(make, jax.eval_shape(lambda: jax.random.key(0)), image, header)
    return {f"{layer}.{name}": x.shape for layer, ws in shapes.items() for name, x in ws.items()}


def count_parameters(weights: Mapping[str, Mapping[str, Any]]) -> int:
    """Numbers in all arrays, a norm for each output of a layer among them while it is trained."""
    return sum(x.size for x in jax.tree.leaves(weights))
