"""The stages of a config's search: what is rendered, weighed and moved, and for how long.

Drafts come first, coarse ones before fine ones, on one cycle of the learning rate: styles on their
sphere find a natural face. Then features move too, on drafts that are corrected every few steps,
and make it the person in question. The finish is at full resolution. Both have cycles and heavier
data terms of their own.
"""

import math
from typing import Literal

from perceptual_jax.config import RestoreConfig
from perceptual_jax.restoration.objective import Part, Stage
from perceptual_jax.restoration.optimizer import SphericalAdam

COARSE_ENOUGH = 4
"""Ratio of a draft's side to the input's from which finer drafts do not improve the result."""

FINE_ENOUGH = {"dct_box": 64, "blur": 256}
"""Side in pixels above which an input shows enough for features at 32 px, by data term. Measured:
under unknown damage, finer features copy noise; a known JPEG explains its own."""


def feature_block(config: RestoreConfig, resolution: int, size: int) -> int:
    """Pixels of a side of the features that the search moves; 0 if it moves none.

    Features much finer than the degraded image's detail would hold its noise and its blocks.

    Args:
        config: Config of the search.
        resolution: Pixels of a side of the generator's pictures.
        size: Pixels of the longer side of the degraded images.
    """
    wanted = config.features.resolution
    if wanted != "auto":
        return wanted
    finest = 32 if size > FINE_ENOUGH.get(config.degradation, math.inf) else 16
    # Powers of two: half of the input's side rounded down, and a quarter of the picture's.
    return max(min(finest, 2 ** ((size // 2).bit_length() - 1), resolution // 4), 4)


def stages(
    config: RestoreConfig,
    resolution: int,
    size: int,
    *,
    learned: bool = False,
    radius: float | Literal["initial"] = "initial",
) -> tuple[Stage, ...]:
    """The stages of a config's search; those without steps are left out.

    `config.fidelity` multiplies the data weights, by 1/4 at 0 and by 4 at 1, and the steps of the
    finish, by 1/2 and by 2. Without any finish a picture is no more natural, and keeps the errors
    of the draft.

    Args:
        config: Config of the search.
        resolution: Pixels of a side of the generator's pictures.
        size: Pixels of the longer side of the degraded images.
        learned: Whether there is a likelihood.
        radius: Radius of the sphere of each style; infinity for no constraint, "initial" for the
            norm of its start.
    """
    search, finish, features = config.search, config.finish, config.features
    block = feature_block(config, resolution, size)
    fidelity = 16.0 ** (config.fidelity - 0.5)
    draft = min(search.draft or resolution, resolution)
    coarse = min(search.coarse, draft)
    fraction = 1.0 if COARSE_ENOUGH * size <= coarse else search.coarse_fraction
    coarse_steps = round(search.steps * fraction) if search.draft and coarse < draft else 0
    finish_steps = math.ceil(finish.steps * 4.0 ** (config.fidelity - 0.5))

    maps = config.noise.trainable

    def free_adam(cycle: int) -> SphericalAdam:
        return SphericalAdam(
            finish.learning_rate,
            cycle,
            finish.schedule,
            radius if finish.sphere else math.inf,
            maps,
            features.learning_rate if block else 0.0,
        )

    def weights(shown: int, data: float, nll: float) -> tuple[tuple[str, float], ...]:
        sharp = shown >= size
        pixels = "l2"
        if config.degradation in ("blur", "faded"):
            pixels = config.degradation
        elif sharp and config.degradation == "dct_box":
            pixels = "dct_box"
        elif sharp and learned:
            pixels = "low_l2"
        chosen = {
            pixels: data * fidelity,
            "cross": config.prior.cross_weight,
            "mmd2": config.prior.mmd_weight,
        }
        if pixels == "low_l2":
            chosen["nll"] = nll * fidelity
        return tuple(chosen.items())

    on_drafts = SphericalAdam(search.learning_rate, search.steps, search.schedule, radius, maps)
    data, nll = config.data.weight, config.data.nll_weight
    moves: tuple[Part, ...] = ("points", "noise", "features") if block else ("points", "noise")
    feature_weights = (("features", features.weight),) if block else ()
    shown = coarse if search.draft and 2 * size <= coarse else draft
    sequence = (
        Stage(coarse, coarse_steps, weights(coarse, data, nll), on_drafts),
        Stage(
            draft,
            search.steps - coarse_steps,
            weights(draft, data, nll),
            on_drafts,
            restarts_optimizer=coarse_steps == 0,
        ),
        Stage(
            shown,
            features.steps if block else 0,
            weights(shown, finish.data_weight, finish.nll_weight) + feature_weights,
            free_adam(features.steps),
            moves=moves,
            correct_every=features.correct_every if shown < resolution else 0,
        ),
        Stage(
            resolution,
            finish_steps,
            weights(resolution, finish.data_weight, finish.nll_weight) + feature_weights,
            free_adam(finish_steps),
            moves=moves,
        ),
    )
    return tuple(stage for stage in sequence if stage.steps > 0)
