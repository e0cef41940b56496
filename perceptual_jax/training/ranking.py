"""Training of `rank-vgg (ours)`: a network that ranks ladders of distortions, from their features.

A ladder has six rungs, from the undistorted picture to the strongest distortion. With scores s,
lower is better, and a margin of 1, the hinge losses are

    within a ladder         max(0, 1 + s_i - s_j)      for rungs i < j
    between two pictures    max(0, 1 + s_i - s'_j)     for rungs i + 3 <= j, of any distortions

The first is RankIQA's siamese loss, over all pairs of a batch at once, as the authors have it. The
second is ours: the first leaves open how the scores of different pictures compare, and scores
are averaged over pictures. Three rungs apart, the order is not in doubt.

Source: Liu, van de Weijer, Bagdanov, "RankIQA", ICCV 2017, Eq. 4 to 6.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy import stats

from perceptual_jax.evaluation.metrics.rank_vgg import RankHead, score_features

APART = 3
"""Rungs by which ladders of different pictures must differ to be compared."""

_LEAST_SPREAD = 0.02
"""Least standard deviation that a feature is divided by: some channels hardly ever answer."""


def hinge_loss(scores: Float[Array, "pictures ladders rungs"]) -> Float[Array, ""]:
    """The mean hinge loss over all pairs within ladders and between neighbouring pictures.

    Args:
        scores: Scores, from the undistorted picture to the strongest distortion; lower is better.

    Example:
        >>> ladders = jnp.broadcast_to(jnp.arange(6.0), (2, 1, 6))
        >>> float(hinge_loss(ladders)), float(hinge_loss(-ladders)) > 4
        (0.0, True)
    """
    better, worse = np.triu_indices(scores.shape[-1], k=1)
    within = jax.nn.relu(1 + scores[..., better] - scores[..., worse])
    others = jnp.roll(scores, (1, 1), axis=(0, 1))
    better, worse = np.triu_indices(scores.shape[-1], k=APART)
    between = jax.nn.relu(1 + scores[..., better] - others[..., worse])
    return jnp.mean(within) + jnp.mean(between)


def fit_head(
    features: Float[np.ndarray, "pictures ladders rungs d"],
    *,
    hidden: int = 64,
    steps: int = 1500,
    batch: int = 32,
    rate: float = 1e-3,
    decay: float = 0.02,
    noise: float = 0.2,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> RankHead:
    """Trains a head on the features of ladders, by AdamW with a cosine decay of the rate.

    Args:
        features: Features of `rank_vgg.rank_features` for each rung of each picture's ladders.
        hidden: Width of the head.
        steps: Number of steps.
        batch: Pictures in a step.
        rate: Largest learning rate.
        decay: Weight decay.
        noise: Standard deviation of the noise on the features, in units of theirs; it keeps the
            head from learning single pictures by heart.
        seed: Seed of the initial weights, the batches and the noise on the features.
        report: Called with the step and the loss, ten times in all.

    Returns:
        The head; its scores are scaled so that undistorted pictures have a mean of 0 and the
        strongest distortions one of 100.
    """
    flat = features.reshape(-1, features.shape[-1])
    mean = flat.mean(axis=0)
    scale = 1 / np.maximum(flat.std(axis=0), _LEAST_SPREAD)
    for_weights, key = jax.random.split(jax.random.key(seed))
    width = features.shape[-1]
    keys = jax.random.split(for_weights)
    trained: dict[str, Array] = {
        "weight0": jax.random.normal(keys[0], (width, hidden)) * (2 / width) ** 0.5,
        "bias0": jnp.zeros(hidden),
        "weight1": jax.random.normal(keys[1], (hidden,)) * hidden**-0.5,
    }
    optimizer = optax.adamw(
        optax.warmup_cosine_decay_schedule(0.0, rate, max(steps // 20, 1), steps),
        weight_decay=decay,
    )

    def scores_of(trained: dict[str, Array], x: Float[Array, "p l r d"]) -> Float[Array, "p l r"]:
        unit = jnp.float32(0)
        head = RankHead(jnp.zeros(width), jnp.ones(width), bias1=unit, **trained)
        score = lambda one: score_features(head, one)  # noqa: E731
        return jax.vmap(jax.vmap(jax.vmap(score)))(x)

    @jax.jit
    def step(trained: dict[str, Array], state: optax.OptState, x: Array, key: Array) -> tuple:
        x += noise * jax.random.normal(key, x.shape)
        loss = lambda trained: hinge_loss(scores_of(trained, x))  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(trained)
        updates, state = optimizer.update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state, value

    standardised = (features - mean) * scale
    state, rng = optimizer.init(trained), np.random.default_rng(seed)
    for i, one in enumerate(jax.random.split(key, steps), 1):
        rows = rng.choice(len(features), min(batch, len(features)), replace=False)
        ladders = rng.permuted(np.tile(np.arange(features.shape[1]), (len(rows), 1)), axis=1)
        x = standardised[rows[:, None], ladders]
        trained, state, value = step(trained, state, jnp.asarray(x, jnp.float32), one)
        if report is not None and (i % max(steps // 10, 1) == 0 or i == steps):
            report(i, float(value))
    scores = np.asarray(jax.jit(scores_of)(trained, jnp.asarray(standardised, jnp.float32)))
    low, high = scores[..., 0].mean(), scores[..., -1].mean()
    trained["weight1"] *= 100 / (high - low)
    bias = jnp.asarray(-100 * low / (high - low))
    return RankHead(jnp.asarray(mean), jnp.asarray(scale), bias1=bias, **trained)


class Ranking(NamedTuple):
    """How well scores rank the ladders of one distortion."""

    spearman: float
    """Mean over pictures of Spearman's rank correlation of score and rung within the ladder."""
    worst: float
    """The least of these."""
    pairwise: float
    """Share of pairs of rungs within a ladder that are in the right order."""
    between: float
    """Share of pairs of rungs of two pictures that are, for rungs at least `APART` apart."""


def measure_ranking(scores: Float[np.ndarray, "pictures rungs"]) -> Ranking:
    """Measures scores of ladders, from the undistorted picture to the strongest distortion.

    Example:
        >>> round(measure_ranking(np.array([[0.0, 1, 2, 3, 4, 5], [0, 2, 1, 3, 4, 5]])).pairwise, 3)
        0.967
    """
    rungs = np.arange(scores.shape[1])
    correlations = [np.corrcoef(rungs, stats.rankdata(row))[0, 1] for row in scores]
    better, worse = np.triu_indices(scores.shape[1], k=1)
    pairwise = np.mean(scores[:, better] < scores[:, worse])
    better, worse = np.triu_indices(scores.shape[1], k=APART)
    differs = ~np.eye(len(scores), dtype=bool)
    right = scores[:, None, better] < scores[None, :, worse]
    between = float(right[differs].mean()) if len(scores) > 1 else float("nan")
    return Ranking(
        float(np.mean(correlations)), float(np.min(correlations)), float(pairwise), between
    )
