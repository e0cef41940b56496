"""RankIQA, the no-reference metric of the paper's Table 2, with its two protocols.

The network is VGG16 with one output, trained to rank distortions and then fitted to the opinions
of LIVE (`ft_live`): 0 is best, 100 worst. It scores patches of 224 x 224 pixels in 0 to 255, in the
order blue, green, red, without subtracting a mean, as the authors' evaluation passes them.

    first protocol     mean and median over 100 patches at random places of the picture
    second protocol    the same of the picture resized to 256 x 256 pixels

Table 2 has the originals of CelebA-HQ at 45.61 (mean of the first) and 13.67 (second), restorations
at 29 to 36 and 9 to 22: the metric rewards smoothness, so it should not stand alone.

Its weights are published behind links that need a browser; `checkpoints.rankiqa_files` reads them.

Source: Liu, van de Weijer, Bagdanov, "RankIQA: Learning from Rankings for No-Reference Image
Quality Assessment", ICCV 2017, and the authors' `FT_eval_all_live.py`; the paper's Section 4.4.3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics.perceptual import Parameters, max_pool, vgg16_layers

PATCH = 224
PATCHES = 100
RESIZED = 256


class Opinion(NamedTuple):
    """Scores of one picture, about 0 (best) to 100 (worst); without unit."""

    mean: Float[Array, ""]
    """Mean over patches."""
    median: Float[Array, ""]
    """Median over patches."""


def score_patch(parameters: Parameters, patch: Float[Array, "224 224 3"]) -> Float[Array, ""]:
    """The network's score of one patch; lower is better.

    Args:
        parameters: The arrays of `rankiqa_files.read_rankiqa`.
        patch: Patch in [-1, 1], RGB.
    """
    pixels = ((patch + 1) * 127.5)[..., ::-1]
    x = max_pool(vgg16_layers(parameters, pixels)[-1], 2).reshape(-1)
    for i in range(3):
        weight = jnp.asarray(parameters[f"fc{i}.weight"])
        x = jnp.matmul(x, weight, precision=jax.lax.Precision.HIGHEST)
        x += jnp.asarray(parameters[f"fc{i}.bias"])
        x = jax.nn.relu(x) if i < 2 else x
    return x[0]


def rankiqa(
    parameters: Parameters,
    image: Float[Array, "h w 3"],
    key: PRNGKeyArray,
    *,
    patches: int = PATCHES,
    at_once: int = 4,
) -> Opinion:
    """The first protocol: patches at random places of the picture at its own size.

    Args:
        parameters: The arrays of `rankiqa_files.read_rankiqa`.
        image: Image in [-1, 1] of at least 224 x 224 pixels.
        key: Consumed for the places, which are uniform over whole pixels. As in the authors' code
            the last row and column are never reached.
        patches: Number of patches, 100 in the paper.
        at_once: Patches that the network sees at once; more need more memory.

    Raises:
        ValueError: If the image is smaller than a patch.

    Source: see the top of this file.
    """
    height, width, _ = image.shape
    if min(height, width) < PATCH:
        raise ValueError(
            f"rankiqa needs images of at least {PATCH} x {PATCH} pixels, got {height} x {width}"
        )
    for_rows, for_columns = jax.random.split(key)
    rows = jax.random.randint(for_rows, (patches,), 0, max(height - PATCH, 1))
    columns = jax.random.randint(for_columns, (patches,), 0, max(width - PATCH, 1))

    def score(place: tuple[Array, Array]) -> Float[Array, ""]:
        patch = jax.lax.dynamic_slice(image, (*place, 0), (PATCH, PATCH, 3))
        return score_patch(parameters, patch)

    scores = jax.lax.map(score, (rows, columns), batch_size=at_once)
    return Opinion(jnp.mean(scores), jnp.median(scores))


def rankiqa_resized(
    parameters: Parameters,
    image: Float[Array, "h w 3"],
    key: PRNGKeyArray,
    *,
    patches: int = PATCHES,
    at_once: int = 4,
) -> Opinion:
    """The second protocol: the picture is first resized to 256 x 256, and patches show most of it.

    The paper does not name the filter; this is the bicubic one, antialiased, clipped to [-1, 1].
    Arguments are those of `rankiqa`; images of any size are accepted.
    """
    resized = downscale(image, (RESIZED, RESIZED), filter="bicubic")
    return rankiqa(parameters, jnp.clip(resized, -1, 1), key, patches=patches, at_once=at_once)
