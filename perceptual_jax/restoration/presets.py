"""The searches of the configs; `stages` and `default_prior` are their parts.

    total = data_weight * (l2 | low_l2 | dct_box | blur | faded) + nll_weight * nll
          + cross_weight * cross + mmd_weight * mmd2 + features.weight * features

    l2        squared error of downscaled pictures (PULSE's term)
    low_l2    the same of small versions, beside a likelihood
    dct_box   distance from a JPEG's box
    blur      squared error under the blur that explains the degraded image best
    faded     the same under the best map of colours, too
    nll       bits/dim of the degraded image under a learned likelihood
    cross     PULSE's geodesic cross loss between the styles
    mmd2      squared maximum mean discrepancy between the styles and the prior (Eq. 7)
    features  prior of the features' offset, see `prior.features`

The likelihood models the degradation, but is nearly independent of the colour and the brightness
of large areas, which the causal context of the degraded image already predicts. So the squared
error of small versions of both pictures is added to it. A draft smaller than the degraded image
lacks the detail that box and likelihood depend on: its data term is the plain squared error.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key

from perceptual_jax.config import MIN_SIZE, PriorConfig, RestoreConfig
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.features import mean_square
from perceptual_jax.prior.geodesic import cross_loss
from perceptual_jax.prior.mmd import mmd2_to_bank
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.batch import run_batch
from perceptual_jax.restoration.data_terms.blurred import BlurredL2
from perceptual_jax.restoration.data_terms.dct_box import DctBox
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.restoration.default_prior import default_prior, feature_spaces
from perceptual_jax.restoration.fit import fit_of
from perceptual_jax.restoration.objective import Stage
from perceptual_jax.restoration.projections.feasible import Projection
from perceptual_jax.restoration.projections.wiener import WienerProjection
from perceptual_jax.restoration.search import Search
from perceptual_jax.restoration.stages import feature_block, stages
from perceptual_jax.restoration.start import PriorStart
from perceptual_jax.types import (
    DataTerm,
    Generator,
    Given,
    JpegHeader,
    Noise,
    Restoration,
    unknown_header,
)
from perceptual_jax.validation import ConfigError

BYTES_PER_PIXEL = 1700
"""Memory in bytes of a search at full resolution for each pixel of one image in float32, forward
and backward. At 1024 px StyleGAN2 was measured to need 1.7 GB of temporary memory, MobileStyleGAN
1.0 GB."""


def build_search(
    config: RestoreConfig,
    generator: Generator,
    size: int,
    *,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
) -> Search:
    """The search of a config, for degraded images of one size.

    Args:
        config: Config of the search. Its `degradation` tells `dct_box` from the other data terms;
            `auto` is the likelihood if there is one, else l2.
        generator: Any generator, see `types.Generator`.
        size: Pixels of the longer side of the degraded images, or of their canvas.
        prior: From `default_prior`, to make it once for many searches; made here if None.
        likelihood: A learned data term, see `likelihood.models.load_model`; None if there is none.
    """
    prior = default_prior(generator, config) if prior is None else prior
    data, radius = config.data, _radius(config.prior, prior)
    if likelihood is not None:
        likelihood = dataclasses.replace(
            likelihood,
            min_log_scale=data.min_log_scale,
            every=data.nll_rows if likelihood.config.injection == "late" else 1,
            condition_size=data.condition_size,
        )
    block = feature_block(config, generator.resolution, size)
    space = prior.features.get(block)
    if block and space is None:  # The prior was made for another config, or by `make_prior`.
        space = feature_spaces(generator, (block,))[block]
    plan = stages(config, generator.resolution, size, learned=likelihood is not None, radius=radius)
    terms: dict[str, DataTerm] = {
        "l2": DownscaleL2(data.downscale, data.floor),
        "low_l2": DownscaleL2(data.downscale, data.floor, data.low_size),
        "dct_box": DctBox(data.box_width),
        "blur": BlurredL2(data.downscale),
        "faded": BlurredL2(data.downscale, colours=True),
    }
    if likelihood is not None:
        terms["nll"] = likelihood
    used = {name for stage in plan for name, _ in stage.weights}
    compared = DownscaleL2(data.downscale)
    if config.degradation in ("blur", "faded"):
        compared = terms[config.degradation]
    # A generator below the input's resolution lacks the detail that the likelihood is a map of.
    measured = likelihood if generator.resolution >= size else None
    return Search(
        generator=generator,
        whitening=prior.whitening,
        data_terms={name: term for name, term in terms.items() if name in used},
        prior_terms={
            "cross": Partial(cross_loss),
            "mmd2": Partial(mmd2_to_bank, bank=prior.bank),
        },
        measure=Partial(fit_of, compared, measured),
        start=PriorStart(
            at=config.prior.start,
            spread=config.prior.spread,
            tile=config.prior.tile,
            radius=radius,
            noise=config.noise.mode,
            zero_last=config.noise.zero_last,
            trainable=config.noise.trainable,
        ),
        stages=plan,
        features=space,
        feature_terms={"features": Partial(mean_square)} if block else {},
        project=_projection(config),
    )


def abstract_search(
    config: RestoreConfig, generator: Generator, size: int, *, likelihood: Likelihood | None = None
) -> tuple[list[jax.ShapeDtypeStruct], Any]:
    """The search of a config in shapes alone, which nothing computes; for `lowering.lower`.

    Args:
        config: As in `build_search`; its spheres must not depend on values of the prior.
        generator: A generator, or its shapes.
        size: As in `build_search`.
        likelihood: A learned data term, or its shapes.

    Returns:
        The shapes of its arrays, in the order of `jax.tree.leaves`, and its tree.
    """
    trees = []

    def build(generator: Generator, likelihood: Likelihood | None) -> list[Array]:
        leaves, tree = jax.tree.flatten(
            build_search(config, generator, size, likelihood=likelihood)
        )
        trees.append(tree)
        return leaves

    leaves = jax.eval_shape(build, generator, likelihood)
    return leaves, trees[0]


def _projection(config: RestoreConfig) -> Projection | WienerProjection | None:
    """The projection that ends the search: none at fidelity 0, all of it from 0.5 on."""
    strength = min(1.0, 2 * config.fidelity)
    if not config.finish.project or not strength:
        return None
    if config.degradation in ("blur", "faded"):
        return WienerProjection(config.data.downscale, strength, config.degradation == "faded")
    quantised = config.degradation not in ("auto", "l2")  # A JPEG's box, or a learned likelihood.
    return Projection(quantised, config.data.downscale, strength)


def restore_batch(
    generator: Generator,
    degraded: Float[np.ndarray | Array, "n h w 3"],
    config: RestoreConfig,
    *,
    keys: Key[Array, " n"],
    headers: JpegHeader | None = None,
    likelihood: Likelihood | None = None,
    prior: Prior | None = None,
    batch_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Restoration:
    """Restores a batch of images of one size by a config's search.

    Args:
        generator: Any generator, see `types.Generator`.
        degraded: Aligned face crops in FFHQ framing, in [-1, 1].
        config: Config of the search.
        keys: One PRNG key for each image; consumed.
        headers: Headers of the JPEGs that the images come from, with a leading axis n; None if
            unknown.
        likelihood: A learned data term, see `likelihood.models.load_model`.
        prior: From `default_prior`, to make it once for many batches; made here if None.
        batch_size: Images searched at once, rounded up to whole devices; by memory if None.
        progress: Called after each piece of the search with the fraction of the work that is done.

    Returns:
        The restorations, with a leading axis n on every array, on the host; see `run_batch` for
        what they depend on.

    Raises:
        ValueError: If there are no images, or not one key for each.
    """
    n = len(degraded)
    unknown = JpegHeader(*(np.broadcast_to(x, (n, *x.shape)) for x in unknown_header()))
    given = Given(jnp.asarray(degraded), unknown if headers is None else headers)
    return run_batch(
        build_search(config, generator, given.size, prior=prior, likelihood=likelihood),
        given,
        keys,
        batch_size=batch_size or default_batch_size(generator, config),
        on_progress=None if progress is None else lambda p: progress(p.share),
    )


def default_batch_size(generator: Generator, config: RestoreConfig) -> int:
    """Number of images that fit into half of the memory of all local devices, at most 64 on each.

    On CPU, 4.
    """
    resolution = generator.resolution if config.finish.steps or not config.search.draft else 512
    per_image = BYTES_PER_PIXEL * resolution**2 * (0.5 if config.dtype == "bfloat16" else 1.0)
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    if device.platform == "cpu" or "bytes_limit" not in statistics:
        return 4
    fitting = int(statistics["bytes_limit"] / 2 / per_image)
    return max(1, min(fitting, 64)) * len(jax.local_devices())


def check_fit(config: RestoreConfig, generator: Generator) -> None:
    """Refuses a config that this generator cannot follow, before any work.

    Raises:
        ConfigError: If it cannot.
    """
    smallest, largest = (
        stages(config, generator.resolution, size) for size in (MIN_SIZE, config.data.max_size)
    )
    if not largest:
        raise ConfigError("search.steps and finish.steps are both 0; at least one must be more")
    features = config.features
    if features.steps % features.correct_every:
        raise ConfigError(
            f"features.steps must be a multiple of features.correct_every, "
            f"{features.correct_every}, got {features.steps}"
        )
    noise = jax.eval_shape(generator.noise_maps)
    if config.noise.trainable > len(noise):
        raise ConfigError(
            f"noise.trainable must be at most {len(noise)}, the noise maps of "
            f"{config.generator}, got {config.noise.trainable}"
        )
    styles = jax.ShapeDtypeStruct((generator.num_styles, *generator.w_mean.shape), jnp.float32)
    block = feature_block(config, generator.resolution, config.data.max_size)

    def drawn(styles: Array, noise: Noise, stage: Stage) -> Array:
        offset = ()
        if block and "features" in stage.moves:
            offset = (generator.features(styles, noise, block),)
        return generator.draft(styles, noise, stage.resolution, *offset)

    for stage in dict.fromkeys((*smallest, *largest)):
        try:
            jax.eval_shape(lambda s, n, stage=stage: drawn(s, n, stage), styles, noise)
        except ValueError as error:
            raise ConfigError(f"the config does not fit {config.generator}: {error}") from error


def _radius(config: PriorConfig, prior: Prior) -> float | Literal["initial"]:
    """Radius of the sphere of each style: a number, infinity for none, or "initial"."""
    if config.sphere == "initial":
        return "initial"
    if config.sphere == "expected":
        return float(prior.expected_norm)
    return math.inf if config.sphere == "none" else config.sphere
