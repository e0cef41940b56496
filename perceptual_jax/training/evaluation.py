"""Evaluations during a training, which select the model that is saved.

Ranking measures whether the likelihood prefers the true original to decoys, pictures close to it:

    accuracy(decoy) = fraction of images with bits(degraded | original) < bits(degraded | decoy)

with bits in bits/dim. A lower NLL does not make a better objective for a search (the paper, Section
4.3), so models are selected by ranking and not by NLL. Samples show the degraded pictures that a
model finds probable.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from perceptual_jax.degradation.kernels import gaussian_blur
from perceptual_jax.io.images import to_uint8
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import fold
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.logistic_mixture import bits_per_dim, log_prob
from perceptual_jax.likelihood.models import save_model
from perceptual_jax.likelihood.pixelcnn import PixelCNN, graph_of
from perceptual_jax.likelihood.sampling import sample_degraded
from perceptual_jax.training.step import Batch, TrainState, to_batch
from perceptual_jax.types import JpegHeader

PAIRED = "paired"
"""Name of the true original among the conditions."""


def decoys(originals: Float[Array, "n h w 3"]) -> dict[str, Float[Array, "n h w 3"]]:
    """The true condition and its decoys, by name, the true one first.

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
    network: PixelCNN,
    batch: Batch,
    conditions: Mapping[str, Float[Array, "n h w 3"]],
) -> dict[str, Float[Array, " n"]]:
    """Bits/dim of every degraded image under each condition; the context is shared."""
    context = network.context(batch.degraded, batch.header)

    def bits(condition: Array) -> Array:
        mixture = network.mixture(context, condition)
        component = network.config.component
        values = bits_per_dim(log_prob(mixture, batch.degraded, component=component))
        return jnp.mean(values, axis=(1, 2))

    stacked = jax.lax.map(bits, jnp.stack(list(conditions.values())))
    return dict(zip(conditions, stacked, strict=True))


def ranking_accuracy(bits: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Fraction of images with fewer bits/dim under the original than under each decoy.

    A tie counts as an error.

    Args:
        bits: Bits/dim of the images under every condition, by its name.

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


Record = dict[str, Any]
Row = list[UInt8[np.ndarray, "_ _ 3"]]

EVALUATION_CROP = 128
"""Largest side in pixels of the crops that are evaluated, so that evaluations take seconds."""

SAMPLES, SAMPLE_CROP = 4, 64
"""Number of pictures that samples are drawn for, and pixels of a side of each sample."""


def evaluation_batch(pairs: Sequence[dict[str, np.ndarray]]) -> Batch:
    """The central crop of every pair; every second one has an unknown header except its phase."""
    crops = []
    for i, pair in enumerate(pairs):
        height, width, _ = pair["degraded"].shape
        side = min(EVALUATION_CROP, *(min(p["degraded"].shape[:2]) for p in pairs)) // 16 * 16
        top, left = ((height - side) // 32 * 16, (width - side) // 32 * 16)
        window = np.s_[top : top + side, left : left + side]
        offset = np.array([top, left], np.int32)
        phase = np.where(pair["phase"] >= 0, (pair["phase"] + offset) % 16, -1)
        crops.append(
            {
                "degraded": pair["degraded"][window],
                "original": pair["original"][window],
                "tables": pair["tables"] * (i % 2),
                "subsampling": pair["subsampling"] if i % 2 else np.int32(-1),
                "phase": phase.astype(np.int32),
            }
        )
    return to_batch({name: np.stack([crop[name] for crop in crops]) for name in crops[0]})


def evaluate(
    out: Path,
    state: TrainState,
    config: PixelCNNConfig,
    evaluation: Batch,
    records: Sequence[Record],
    settings: Record,
) -> Record:
    """Ranks the moving average, saves it, and saves it as the best model if it is.

    Args:
        out: Folder of the training.
        state: State of the training.
        config: Config of the network.
        evaluation: Crops that are not trained on.
        records: Records so far, with those of earlier evaluations.
        settings: Settings of the training, stored in the model's file.

    Returns:
        The record of this evaluation.
    """
    network = averaged(state, config)
    bits = _bits_of_decoys(network, evaluation)
    bits = {name: np.asarray(values) for name, values in bits.items()}
    accuracy = ranking_accuracy(bits)
    record = {
        "step": int(state.step),
        "bits": float(bits[PAIRED].mean()),
        "ranking": float(np.mean(list(accuracy.values()))),
        "accuracy": accuracy,
        "margin": {k: float((v - bits[PAIRED]).mean()) for k, v in bits.items() if k != PAIRED},
    }
    model = Likelihood(network)
    about = settings | {"steps": record["step"], "evaluation": record}
    save_model(out / "last.safetensors", model, about)
    if best_of([*records, record]) is record:
        save_model(out / "model.safetensors", model, about)
    return record


def averaged(state: TrainState, config: PixelCNNConfig) -> PixelCNN:
    """The network of the moving average, folded."""
    return fold(nnx.merge(graph_of(config), state.average))


def sample_rows(state: TrainState, config: PixelCNNConfig, evaluation: Batch) -> list[Row]:
    """Degraded crops beside samples of the moving average with the same originals.

    Args:
        state: State of the training.
        config: Config of the network.
        evaluation: Crops, of the first few of which the upper left parts are shown.

    Returns:
        The original, the degraded crop and the sample of each.
    """
    model = Likelihood(averaged(state, config))
    rows = []
    for i in range(min(SAMPLES, len(evaluation.degraded))):
        original, degraded = (
            np.asarray(images[i, :SAMPLE_CROP, :SAMPLE_CROP])
            for images in (evaluation.restored, evaluation.degraded)
        )
        header = JpegHeader(*(x[i] for x in evaluation.header))
        sample = sample_degraded(model, original, jax.random.key(i), header=header)
        rows.append([to_uint8(image) for image in (original, degraded, sample)])
    return rows


@jax.jit
def _bits_of_decoys(network: PixelCNN, batch: Batch) -> dict[str, jax.Array]:
    return bits_of_conditions(network, batch, decoys(batch.restored))


def best_of(records: Sequence[Record]) -> Record:
    """The evaluation with the best ranking; among equals, the one with the largest mean margin."""
    evaluations = [record for record in records if "ranking" in record]
    return max(evaluations, key=lambda r: (r["ranking"], np.mean(list(r["margin"].values()))))


def line_of(record: Record) -> str:
    """An evaluation as one line for the user."""
    accuracy = ", ".join(f"{name} {value:.0%}" for name, value in record["accuracy"].items())
    return f"step {record['step']}: {record['bits']:.3f} bits/dim; ranking {accuracy}"
