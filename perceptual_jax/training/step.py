"""Training of the likelihood: pairs in, one pure step, the moving average of the weights out.

    step: augment the condition -> bits/dim of the degraded crops -> clipped Adam -> average

A step's randomness is a function of the seed and the step's number, so a training that resumes
takes the same steps as an uninterrupted one. Everything here is pure; `fit` reads and writes.

Source: the paper, Section 4.1; Salimans et al., "PixelCNN++", 2017 (Adam's moments, averaging).
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Int, Key

from perceptual_jax.degradation.kernels import gaussian_blur
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import key_stream
from perceptual_jax.likelihood.logistic_mixture import bits_per_dim, log_prob
from perceptual_jax.likelihood.pixelcnn import PixelCNN, graph_of, init_network
from perceptual_jax.types import JpegHeader
from perceptual_jax.validation import Checked, Count, Positive, Range, Share

LEVEL = 2 / 255
"""Distance between neighbouring 8-bit levels in [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """Hyperparameters of the training. The defaults suit the `fast` preset."""

    steps: Count = 20_000
    """Number of steps, including those of `warmup` and `cooldown`."""
    batch_size: Annotated[int, Range(1)] = 32
    """Crops in a step."""
    crop: Annotated[int, Range(16)] = 48
    """Pixels of a side of a crop."""
    learning_rate: Positive = 2e-3
    """Peak learning rate of Adam."""
    warmup: Count = 200
    """Steps until the peak."""
    cooldown: Share = 0.3
    """Fraction of the steps, the last ones, in which the learning rate falls to zero."""
    ema: Share = 0.999
    """Decay of the exponential moving average of the weights, which is the resulting model."""
    clip: Positive = 1.0
    """Largest norm of a gradient; larger gradients are scaled to it."""
    unknown_tables: Share = 0.25
    """Fraction of crops whose quantisation tables and subsampling are withheld."""
    unknown_phase: Share = 0.05
    """Fraction of crops whose phase in the JPEG grid is withheld."""
    noisy: Share = 0.15
    """Fraction of conditions with added white noise of up to 10 levels of 255."""
    blurred: Share = 0.1
    """Fraction of conditions with a Gaussian blur of standard deviation up to 1.5 pixels."""
    context_dropout: Share = 0.1
    """Fraction of crops whose causal context is withheld from fusion and means, so that the network
    must use the condition; for late injection only."""
    seed: Count = 0
    """Seed of the initial weights, the crops and the augmentation."""


Params = dict[str, Any]
"""Parameters along their paths, `nnx.to_pure_dict` of a network's state: each step flattens them
four times, with the moments, and an `nnx.State` of `nnx.Param`s takes six times as long for it."""


class TrainState(NamedTuple):
    """A training between two steps. The network's graph is that of its config (`graph_of`)."""

    step: Int[Array, ""]
    weights: Params
    """The network's parameters."""
    average: Params
    """Moving average of the parameters."""
    optimizer: optax.OptState


class Batch(NamedTuple):
    """Training crops as the device gets them."""

    degraded: Float[Array, "n h w 3"]
    restored: Float[Array, "n h w 3"]
    header: JpegHeader


def to_batch(arrays: Mapping[str, np.ndarray | Array]) -> Batch:
    """A batch from the arrays of `pairs`, with 8-bit images scaled to [-1, 1]."""
    degraded, original = (
        jnp.asarray(arrays[name], jnp.float32) * LEVEL - 1 for name in ("degraded", "original")
    )
    header = JpegHeader(*(jnp.asarray(arrays[name]) for name in ("tables", "subsampling", "phase")))
    return Batch(degraded, original, header)


def init_state(config: PixelCNNConfig, train: TrainConfig, batch: Batch) -> TrainState:
    """The state before the first step, the weights scaled by a real batch."""
    key = jax.random.fold_in(jax.random.key(train.seed), 2**31 - 1)
    network = init_network(config, key, batch.degraded, batch.restored, batch.header)
    weights = nnx.to_pure_dict(nnx.state(network))
    # A step donates the buffers of its state, and no buffer may be donated twice.
    average = jax.tree.map(jnp.copy, weights)
    return TrainState(jnp.int32(0), weights, average, optimizer(train).init(weights))


def to_stored(state: TrainState) -> Any:
    """A state as checkpoints hold it: parameters by the name of their layer, then by their own."""

    def layers(params: Any) -> Any:
        if not isinstance(params, dict):
            return params
        stored: dict[str, Params] = {}
        for (*layer, name), value in traverse_util.flatten_dict(params).items():
            stored.setdefault(".".join(layer), {})[name] = value
        return stored

    return jax.tree.map(layers, state, is_leaf=lambda x: isinstance(x, dict))


def from_stored(stored: Any) -> TrainState:
    """The inverse of `to_stored`."""

    def params(layers: Any) -> Any:
        if not isinstance(layers, dict):
            return layers
        flat = traverse_util.flatten_dict(layers)
        return traverse_util.unflatten_dict(
            {(*layer.split("."), name): value for (layer, name), value in flat.items()}
        )

    return jax.tree.map(params, stored, is_leaf=lambda x: isinstance(x, dict))


def learning_rate(train: TrainConfig, step: Any) -> Float[Array, ""]:
    """The learning rate: a linear warm-up, a constant, and a linear fall to zero at the end.

    Before the fall it does not depend on the total number of steps, so that a training can be
    prolonged until then. This is not optax's joined schedule, whose boundaries are whole steps:
    here the two lines may meet below the peak.
    """
    step = jnp.asarray(step, jnp.float32)
    rising = (step + 1) / max(train.warmup, 1)
    falling = (train.steps - step) / max(train.cooldown * train.steps, 1)
    return train.learning_rate * jnp.clip(jnp.minimum(rising, falling), 0.0, 1.0)


def optimizer(train: TrainConfig) -> optax.GradientTransformation:
    """Clipping, then Adam with PixelCNN++'s moments."""
    return optax.chain(
        optax.clip_by_global_norm(train.clip),
        optax.adam(lambda step: learning_rate(train, step), b1=0.95, b2=0.9995),
    )


def augment(batch: Batch, train: TrainConfig, key: Key[Array, ""]) -> Batch:
    """Makes conditions resemble those of a search, and withholds some headers.

    The condition of a search is a generator's picture: off the 8-bit lattice, often softer or
    rougher than a photograph. So conditions are dequantised, and some made noisy or blurred.

    Args:
        batch: Clean originals and their degraded pictures.
        train: Fractions of crops that each augmentation applies to.
        key: PRNG key; consumed.
    """
    keys = jax.random.split(key, 7)
    n = batch.restored.shape[0]

    def draw_mask(key: Key[Array, ""], fraction: float) -> Array:
        return jax.random.bernoulli(key, fraction, (n, 1, 1, 1))

    x = batch.restored
    sigma = jax.random.uniform(keys[0], (n, 1, 1, 1), minval=0.3, maxval=1.5)
    x = jnp.where(draw_mask(keys[1], train.blurred), gaussian_blur(x, sigma), x)
    sigma = jax.random.uniform(keys[2], (n, 1, 1, 1), maxval=10 * LEVEL)
    sigma = jnp.where(draw_mask(keys[3], train.noisy), sigma, 0.0)
    noise_key, lattice_key = jax.random.split(keys[4])
    x = x + sigma * jax.random.normal(noise_key, x.shape)
    x = x + jax.random.uniform(lattice_key, x.shape, minval=-LEVEL / 2, maxval=LEVEL / 2)
    header = batch.header
    hide = draw_mask(keys[5], train.unknown_tables)
    subsampling = jnp.where(hide[:, 0, 0, 0], -1, header.subsampling)
    phase = jnp.where(draw_mask(keys[6], train.unknown_phase)[:, :, 0, 0], -1, header.phase)
    tables = jnp.where(hide, 0.0, header.tables)
    return Batch(batch.degraded, x, JpegHeader(tables, subsampling, phase))


def batch_bits(
    network: PixelCNN,
    batch: Batch,
    *,
    keys: tuple[Key[Array, ""], Key[Array, ""]] | None = None,
    context_dropout: float = 0.0,
) -> Float[Array, " n"]:
    """Bits/dim of every crop of a batch.

    Args:
        network: The network.
        batch: Crops.
        keys: PRNG keys of the dropout and the context dropout in training; consumed. None turns
            both off.
        context_dropout: Fraction of crops whose streams are withheld from a late fusion.
    """
    config = network.config
    dropout_key, context_key = keys if keys is not None else (None, None)
    dropout_keys = None if dropout_key is None else key_stream(dropout_key)
    context = network.context(batch.degraded, batch.header, dropout_keys=dropout_keys)
    if context_key is not None and config.injection == "late" and context_dropout > 0:
        shape = (batch.degraded.shape[0], 1, 1, 1)
        keep = jax.random.bernoulli(context_key, 1 - context_dropout, shape)
        joined = jnp.where(keep, context.streams["joined"], 0)
        # The anchors of the means include neighbours, which are causal context as well.
        anchors = jnp.where(keep, context.degraded, batch.restored)
        context = context._replace(streams={"joined": joined}, degraded=anchors)
    mixture = network.mixture(context, batch.restored, dropout_keys=dropout_keys)
    bits = bits_per_dim(log_prob(mixture, batch.degraded, component=config.component))
    return jnp.mean(bits, axis=(1, 2))


def train_step(
    state: TrainState, batch: Batch, config: PixelCNNConfig, train: TrainConfig
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step of the optimiser and of the moving average.

    Args:
        state: State before the step; its buffers may be donated.
        batch: Clean crops and their degraded versions; they are augmented here.
        config: Static under `jit`.
        train: Static under `jit`.

    Returns:
        The next state; `loss` in bits/dim and the `gradient`'s norm before clipping.
    """
    key = jax.random.fold_in(jax.random.key(train.seed), state.step)
    augment_key, *keys = jax.random.split(key, 3)
    batch = augment(batch, train, augment_key)

    def loss(weights: Params) -> Float[Array, ""]:
        bits = batch_bits(
            nnx.merge(graph_of(config), weights),
            batch,
            keys=(keys[0], keys[1]),
            context_dropout=train.context_dropout,
        )
        return jnp.mean(bits)

    value, gradient = jax.value_and_grad(loss)(state.weights)
    updates, moments = optimizer(train).update(gradient, state.optimizer, state.weights)
    weights: Any = optax.apply_updates(state.weights, updates)
    # A smaller decay in the first steps keeps the random initial weights out of the average.
    decay = jnp.minimum(train.ema, (state.step + 1) / (state.step + 10))
    average: Any = optax.incremental_update(weights, state.average, 1 - decay)
    next_state = TrainState(state.step + 1, weights, average, moments)
    return next_state, {"loss": value, "gradient": optax.tree.norm(gradient)}
