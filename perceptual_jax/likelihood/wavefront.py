"""A sampler that computes every activation once, a slanted front of pixels at a time.

With B blocks, a pixel depends on the row above up to 2 B + 1 columns to its right. So at time t
pixel (i, t - k i) can be drawn in every row i at once, with k = 2 B + 2: a picture takes
w + k (h - 1) steps instead of h w, on about w / k rows each.

Activations are held in ring buffers: for each layer [rows, last k + 4 columns, channels], where
a row's slot is its index modulo the rows of the front. The upper stream runs ahead of the pixels
by `lag` columns, one less with every convolution, since each needs its right neighbour.

Source: the dependency cone of the network, worked out here; wavefront parallel processing is
standard in video codecs.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.jpeg_codec import requantise
from perceptual_jax.likelihood.conditioning import (
    GatedBlock,
    JpegFeatures,
    LeftBlock,
    choose_anchors,
)
from perceptual_jax.likelihood.layers import Conv, concat_elu, gate
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.logistic_mixture import Noise, mixture_from, sample
from perceptual_jax.likelihood.pixelcnn import PixelCNN
from perceptual_jax.types import JpegHeader

Rings = dict[str, Float[Array, "r d c"]]


class _Maps(NamedTuple):
    """Maps that do not depend on the sample, [h w c]."""

    condition: Float[Array, "h w c"]
    """Features of the condition."""
    jpeg: JpegFeatures
    """Features of the header."""
    restored: Float[Array, "h w 3"]
    requantised: Float[Array, "h w 3"]
    noise: Noise


class _Front:
    """The pixels of one step, one in each row, and access to the rings."""

    def __init__(self, t: Array, rings: Rings, k: int, ahead: int, size: tuple[int, int]):
        self.rings = dict(rings)
        self.k = k
        rows, self.depth, _ = next(iter(rings.values())).shape
        newest = (t + ahead + self.depth) // k
        slot = jnp.arange(rows)
        # The row of each slot: the newest of the rows that share it.
        self.i = newest - (newest - slot) % rows
        self.j = t - k * self.i
        self.column = (t + ahead) % self.depth
        self.size = size

    def inside(self, lag: int = 0) -> Array:
        """Whether column j + lag of each row is in the picture, [r 1]."""
        height, width = self.size
        j = self.j + lag
        valid = (self.i >= 0) & (self.i < height) & (j >= 0) & (j < width)
        return valid[:, None]

    def at(self, map_: Array, lag: int = 0) -> Array:
        """Values of a map at column j + lag of each row, [r c]; arbitrary outside the picture."""
        height, width = self.size
        i, j = jnp.clip(self.i, 0, height - 1), jnp.clip(self.j + lag, 0, width - 1)
        return map_[i, j]

    def push(self, name: str, values: Array, lag: int) -> None:
        """Adds a column to a ring: zeros outside the picture, as convolutions pad."""
        values = jnp.where(self.inside(lag), values, 0)
        ring = self.rings[name]
        self.rings[name] = jax.lax.dynamic_update_slice(ring, values[:, None], (0, self.column, 0))

    def read(self, name: str, delay: int, *, above: bool = False) -> Array:
        """The values pushed `delay` steps ago, for these rows or for the rows above them."""
        ring = self.rings[name]
        values = jax.lax.dynamic_index_in_dim(ring, (self.column - delay) % self.depth, 1, False)
        return jnp.roll(values, 1, axis=0) if above else values

    def taps(self, name: str, upper: tuple[int, ...], own: tuple[int, ...]) -> Array:
        """Inputs of a two-row convolution as one vector: columns from left to right, by delay."""
        values = [self.read(name, delay, above=True) for delay in upper]
        return jnp.concatenate([*values, *(self.read(name, delay) for delay in own)], axis=-1)


@jax.jit
def wavefront(
    model: Likelihood,
    restored: Float[Array, "h w 3"],
    header: JpegHeader,
    noise: Noise,
    temperature: Float[Array, ""],
) -> Float[Array, "h w 3"]:
    """The sample that belongs to this noise, see `sampling.sample_degraded`."""
    config, (height, width, _) = model.config, restored.shape
    ahead = 2 * config.blocks
    k = ahead + 2
    depth = k + 4
    rows = math.ceil((width + ahead + 2 * depth) / k) + 2
    maps = _maps(model, restored, header, noise)
    c, dtype = config.channels, restored.dtype
    names = [
        f"{s}{b}.{p}"
        for s in ("u", "ul")
        for b in range(1, config.blocks + 1)
        for p in ("first", "second")
    ]
    rings = {name: jnp.zeros((rows, depth, 2 * c), dtype) for name in names}
    rings |= {"x": jnp.zeros((rows, depth, 4), dtype)}
    step = functools.partial(_step, model, maps, k=k, ahead=ahead, temperature=temperature)
    times = jnp.arange(-ahead, width + k * (height - 1))
    _, drawn = jax.lax.scan(step, rings, times)
    # Pixel (i, j) was drawn at time j + k i, in the slot of its row.
    i, j = jnp.arange(height)[:, None], jnp.arange(width)[None]
    return drawn[j + k * i + ahead, i % rows + 0 * j]


def _maps(model: Likelihood, restored: Array, header: JpegHeader, noise: Noise) -> _Maps:
    network, dtype = model.network, restored.dtype
    batched = JpegHeader(*(jnp.asarray(x)[None] for x in header))
    requantised = restored
    if model.config.quality == "table":
        requantised = requantise(restored, header)
    height, width, _ = restored.shape
    jpeg = network.jpeg_features(batched, (height, width), dtype)
    condition = network.encode(jpeg, restored[None], requantised[None], dtype)[0]
    jpeg = JpegFeatures(*(None if x is None else x[0] for x in jpeg))
    return _Maps(condition, jpeg, restored, requantised, noise)


def _step(
    model: Likelihood,
    maps: _Maps,
    rings: Rings,
    t: Array,
    *,
    k: int,
    ahead: int,
    temperature: Array,
) -> tuple[Rings, Array]:
    config = model.config
    height, width, _ = maps.restored.shape
    front = _Front(t, rings, k, ahead, (height, width))
    net = _Step(model.network, maps, front)
    ul = net.streams()
    if config.injection == "late":
        ul = net.fuse(ul)
    raw = model.network.raw(ul[None, None])[0, 0]
    mixture = mixture_from(raw, anchors=net.anchors(), min_log_scale=config.min_log_scale)
    own = Noise(front.at(maps.noise.gumbel), front.at(maps.noise.uniform))
    x = sample(mixture, own, temperature=temperature, component=config.component)
    front.push("x", jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=-1), 0)
    return front.rings, x


class _Step(NamedTuple):
    """The network, evaluated at one front."""

    network: PixelCNN
    maps: _Maps
    front: _Front

    def dense(self, layer: Conv, x: Array) -> Array:
        """A convolution as a matrix product with its taps, for a kernel of any size."""
        w = layer.kernel
        return x @ w.reshape(-1, w.shape[-1]) + layer.b[...][None]

    def bias(self, block: GatedBlock, lag: int) -> Array:
        """Conditioning bias of a gate at column j + lag."""
        jpeg, out = self.maps.jpeg, jnp.zeros((1, 1), self.maps.restored.dtype)
        if block.table is not None and jpeg.table is not None:
            out = out + block.table(jpeg.table[0, 0][None])
        if block.phase is not None and jpeg.phase is not None:
            out = out + block.phase(self.front.at(jpeg.phase, lag))
        if block.seen is not None:
            out = out + self.dense(block.seen, self.front.at(self.maps.condition, lag))
        return out

    def streams(self) -> Array:
        """Evaluates both streams; returns the output of `ul` at column j."""
        front, k = self.front, self.front.k
        lag = 2 * self.network.config.blocks
        u, ul = self._first_layers()
        for b, (u_block, ul_block) in enumerate(self.network.stream_blocks, start=1):
            name = f"u{b}"
            front.push(f"{name}.first", concat_elu(u), lag)
            x = self.dense(u_block.first, front.taps(f"{name}.first", *_wide(k)))
            front.push(f"{name}.second", concat_elu(x), lag - 1)
            x = self.dense(u_block.second, front.taps(f"{name}.second", *_wide(k)))
            lag -= 2
            x = x + self.bias(u_block, lag)
            u = gate(_undo_concat_elu(front.read(f"{name}.first", 2)), x)
            # `ul` reads this stream at column j, which it passed `lag` steps ago.
            following = f"u{b + 1}.first"
            if lag:
                front.push(following, concat_elu(u), lag)
            aux = front.read(following, lag) if lag else concat_elu(u)
            ul = self._ul_block(f"ul{b}", ul_block, ul, self.dense(ul_block.aux, aux))
        return ul

    def _ul_block(self, name: str, block: LeftBlock, ul: Array, aux: Array) -> Array:
        front, k = self.front, self.front.k
        front.push(f"{name}.first", concat_elu(ul), 0)
        x = self.dense(block.first, front.taps(f"{name}.first", *_narrow(k))) + aux
        front.push(f"{name}.second", concat_elu(x), 0)
        x = self.dense(block.second, front.taps(f"{name}.second", *_narrow(k)))
        return gate(ul, x + self.bias(block, 0))

    def _x(self, delays: tuple[int, ...], rows: int = 1) -> Array:
        """Pixels of the row `rows` above, by the delay since they were drawn."""
        values = [self.front.read("x", delay, above=True) for delay in delays]
        if rows == 2:
            values = [jnp.roll(value, 1, axis=0) for value in values]
        return jnp.concatenate(values, axis=-1)

    def _first_layers(self) -> tuple[Array, Array]:
        """Outputs of u0 at column j + 2 B and of ul0 at column j, with zeros where these shift."""
        front, k = self.front, self.front.k
        taps = [self._x((k + 3, k + 2, k + 1), rows=2), self._x((3, 2, 1))]
        u = self.dense(self.network.u0, jnp.concatenate(taps, axis=-1))
        row = self.dense(self.network.ul0.above, self._x((k + 1, k, k - 1)))
        taps = [front.read("x", k + 1, above=True), front.read("x", 1)]
        column = self.dense(self.network.ul0.left, jnp.concatenate(taps, axis=-1))
        below, right = (front.i > 0)[:, None], (front.j > 0)[:, None]
        return jnp.where(below, u, 0), jnp.where(below, row, 0) + jnp.where(right, column, 0)

    def fuse(self, ul: Array) -> Array:
        """Late fusion at column j."""
        condition = self.front.at(self.maps.condition)
        join = self.network.join
        x = self.dense(join, jax.nn.elu(ul)) + self.dense(join.seen, condition)
        for block in self.network.fusion_blocks:
            y = self.dense(block.first, concat_elu(x))
            y = self.dense(block.second, concat_elu(y))
            x = gate(x, y + self.bias(block, 0))
        return x

    def anchors(self) -> Array | None:
        """Anchors of the means at column j; None for free means."""
        front, k = self.front, self.front.k
        left = front.read("x", 1)[:, :3]
        up, up_left = (front.read("x", delay, above=True)[:, :3] for delay in (k, k + 1))
        restored, requantised = front.at(self.maps.restored), front.at(self.maps.requantised)
        return choose_anchors(self.network.config, requantised, restored, left, up, up_left)


def _wide(k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Delays of the taps of a 2x3 convolution: row above and own row, left to right."""
    return (k + 2, k + 1, k), (2, 1, 0)


def _narrow(k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Delays of the taps of a 2x2 convolution."""
    return (k + 1, k), (1, 0)


def _undo_concat_elu(x: Array) -> Array:
    """The inverse of `concat_elu`, whose positive parts are those of x and of -x."""
    a, b = jnp.split(jnp.maximum(x, 0), 2, axis=-1)
    return a - b
