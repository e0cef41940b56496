"""rank-vgg (ours): a no-reference score that was trained to rank distortions. It is not RankIQA.

RankIQA's weights cannot be fetched by a program, so this stands in where they are not given. The
features of a patch of 224 x 224 pixels are the means and the standard deviations over positions of
the activations y of five layers of ImageNet's VGG16, which stays as it is; a small network, which
comes with the package, scores them:

    x     = log(1 + [mean y_1, std y_1, ..., mean y_5, std y_5])
    score = w1 . relu(W0 (x - m) / s + b0) + b1

It was trained by the hinge loss of RankIQA's siamese stage on ladders of distortions
(`training.ranking`), never on opinions: 0 is the mean of undistorted training pictures, 100 that of
the strongest distortions. `weights/README.md` says what it was trained on and what it is worth.

    rank_vgg        mean and median over a grid of at most 4 x 4 patches of the picture
    rank_vgg_256    the same of the picture resized to 256 x 256 pixels

Source: after Liu, van de Weijer, Bagdanov, "RankIQA: Learning from Rankings for No-Reference Image
Quality Assessment", ICCV 2017; the paper's Section 4.4.3 for the two protocols.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics.perceptual import Parameters, layers
from perceptual_jax.evaluation.metrics.rankiqa import PATCH, RESIZED, Opinion

NAME = "rank-vgg (ours)"
"""How tables and pages call it."""

ARCHITECTURE = "rank_vgg"
SHIPPED = Path(__file__).parent / "weights" / "rank_vgg.safetensors"
"""The file that comes with the package."""

_GRID = 4


class RankHead(NamedTuple):
    """The network on top of the features, as arrays; see the top of this file."""

    mean: Float[Array | np.ndarray, " d"]
    """m, the mean of the features."""
    scale: Float[Array | np.ndarray, " d"]
    """1 / s, the inverse of their standard deviation."""
    weight0: Float[Array | np.ndarray, "d hidden"]
    bias0: Float[Array | np.ndarray, " hidden"]
    weight1: Float[Array | np.ndarray, " hidden"]
    bias1: Float[Array | np.ndarray, ""]


def rank_features(parameters: Parameters, patch: Float[Array, "h w 3"]) -> Float[Array, " d"]:
    """What the head sees of a patch: 2944 numbers of VGG16, of five layers.

    Args:
        parameters: The arrays of `lpips-vgg`.
        patch: Patch in [-1, 1] of at least 16 x 16 pixels; the head was trained on 224 x 224.
    """
    found = layers(parameters, patch, network="vgg")
    pooled = [moment(y, axis=(0, 1)) for y in found for moment in (jnp.mean, jnp.std)]
    return jnp.log1p(jnp.concatenate(pooled))


def score_features(head: RankHead, features: Float[Array, " d"]) -> Float[Array, ""]:
    """The score of a patch by its features; lower is better."""
    x = (features - jnp.asarray(head.mean)) * jnp.asarray(head.scale)
    highest = jax.lax.Precision.HIGHEST
    x = jax.nn.relu(jnp.matmul(x, jnp.asarray(head.weight0), precision=highest) + head.bias0)
    return jnp.matmul(x, jnp.asarray(head.weight1), precision=highest) + head.bias1


def rank_vgg(
    parameters: Parameters, head: RankHead, image: Float[Array, "h w 3"], *, at_once: int = 4
) -> Opinion:
    """Mean and median of the scores of patches, about 0 (best) to 100 (worst); without unit.

    The patches lie on an even grid, with as many rows and columns as cover the picture, at most
    four of each; so the result has no random part.

    Args:
        parameters: The arrays of `lpips-vgg`.
        head: The network on top, of `load_head`.
        image: Image in [-1, 1] of at least 224 x 224 pixels.
        at_once: Patches that the network sees at once; more need more memory.

    Raises:
        ValueError: If the image is smaller than a patch.

    Source: see the top of this file.
    """
    if min(image.shape[:2]) < PATCH:
        raise ValueError(
            f"rank_vgg needs images of at least {PATCH} x {PATCH} pixels, got "
            f"{image.shape[0]} x {image.shape[1]}"
        )
    rows, columns = map(_starts, image.shape[:2])
    places = np.array([(row, column) for row in rows for column in columns], np.int32)

    def score(place: Array) -> Float[Array, ""]:
        patch = jax.lax.dynamic_slice(image, (place[0], place[1], 0), (PATCH, PATCH, 3))
        return score_features(head, rank_features(parameters, patch))

    scores = jax.lax.map(score, jnp.asarray(places), batch_size=at_once)
    return Opinion(jnp.mean(scores), jnp.median(scores))


def rank_vgg_resized(
    parameters: Parameters, head: RankHead, image: Float[Array, "h w 3"], *, at_once: int = 4
) -> Opinion:
    """`rank_vgg` of the picture resized to 256 x 256, where four patches show all of it.

    Arguments are those of `rank_vgg`; images of any size are accepted.
    """
    resized = downscale(image, (RESIZED, RESIZED), filter="bicubic")
    return rank_vgg(parameters, head, jnp.clip(resized, -1, 1), at_once=at_once)


def _starts(side: int) -> list[int]:
    """The first pixels of patches along a side.

    Example:
        >>> _starts(224), _starts(256), _starts(1024)
        ([0], [0, 32], [0, 267, 533, 800])
    """
    count = min(-(-side // PATCH), _GRID)
    return [round(start) for start in np.linspace(0, side - PATCH, count)]


def save_head(path: Path, head: RankHead, about: Mapping[str, Any]) -> None:
    """Writes a head, in float16.

    Args:
        path: Path of the file.
        head: The head.
        about: Data, steps and measurements of the training, for the metadata.

    Raises:
        WriteError: If it cannot be written.
    """
    arrays = {name: np.asarray(value, np.float16) for name, value in head._asdict().items()}
    config = {"features": len(head.mean), "hidden": len(head.bias0), "patch": PATCH}
    store.save(path, arrays, {"architecture": ARCHITECTURE, "config": config, "about": {**about}})


def load_head(path: Path = SHIPPED) -> RankHead:
    """The head in a file of `save_head`; by default the one of the package.

    Raises:
        WeightsError: If the file cannot be read or does not hold such a network.
    """
    arrays, metadata = store.load(path)
    shapes = {name: value.shape for name, value in arrays.items()}
    d, hidden = (metadata["config"].get(name) for name in ("features", "hidden"))
    expected = [(d,), (d,), (d, hidden), (hidden,), (hidden,), ()]
    if metadata["architecture"] != ARCHITECTURE or shapes != dict(
        zip(RankHead._fields, expected, strict=True)
    ):
        raise WeightsError(
            f"{path} does not hold the network of {NAME}; make one with scripts/train_rank_vgg.py"
        )
    return RankHead(**{name: value.astype(np.float32) for name, value in arrays.items()})
