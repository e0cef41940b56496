"""Ranking: does the likelihood prefer the true original to pictures that are nearly it?

    accuracy(decoy) = share of images with bits(degraded | original) < bits(degraded | decoy)

Fewer bits do not make a better guide for a search (the paper, Section 4.3), so checkpoints are
chosen by this and not by their bits.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.degradation.layers import Scope, Weights
from perceptual_jax.degradation.logistic_mixture import bits_per_dim, log_prob
from perceptual_jax.degradation.pixelcnn import make_context, mixture_parameters
from perceptual_jax.degradation.pixelcnn_config import PixelCNNConfig
from perceptual_jax.degradation.training import Batch, gaussian_blur

PAIRED = "paired"


def decoys(originals: Float[Array, "n h w 3"]) -> dict[str, Float[Array, "n h w 3"]]:
    """Conditions to tell from the true one: by name, the true one first.

    `another` is the next image of the batch; `shift1` and `shift2` move the picture to the right
    by 1 and 2 pixels; `blur` is a Gaussian blur of standard deviation 1 pixel.
    """
    n = originals.shape[0]

    def shifted(pixels: int) -> Array:
        edge = jnp.repeat(originals[:, :, :1], pixels, axis=2)
        return jnp.concatenate([edge, originals[:, :, :-pixels]], axis=2)

    return {
        PAIRED: originals,
        "another": jnp.roll(originals, 1, axis=0),
        "shift1": shifted(1),
        "shift2": shifted(2),
        "blur": gaussian_blur(originals, jnp.ones((n, 1, 1, 1))),
    }


def bits_of_conditions(
    weights: Weights,
    config: PixelCNNConfig,
    batch: Batch,
    conditions: Mapping[str, Float[Array, "n h w 3"]],
) -> dict[str, Float[Array, " n"]]:
    """Bits/dim of every degraded image under each condition; the streams are shared."""
    scope = Scope(weights)
    context = make_context(scope, config, batch.degraded, batch.header)

    def bits(condition: Array) -> Array:
        mixture = mixture_parameters(scope, config, context, condition)
        values = bits_per_dim(log_prob(mixture, batch.degraded, component=config.component))
        return jnp.mean(values, axis=(1, 2))

    stacked = jax.lax.map(bits, jnp.stack(list(conditions.values())))
    return dict(zip(conditions, stacked, strict=True))


def ranking_accuracy(bits: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Share of images whose paired bits are fewer than those of each decoy; a tie is a miss.

    Example:
        >>> ranking_accuracy({"paired": np.array([1.0, 2.0]), "blur": np.array([1.5, 1.5])})
        {'blur': 0.5}
    """
    paired = np.asarray(bits[PAIRED])
    return {
        name: float(np.mean(paired < np.asarray(other)))
        for name, other in bits.items()
        if name != PAIRED
    }
