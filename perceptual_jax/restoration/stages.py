"""The stages of a search: which picture it looks at, for how many steps, and how hard it is pulled.

Drafts first, coarse ones before fine ones, on one cycle of the learning rate; then a finish at
full resolution, with a cycle and a heavier data term of its own.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.config import MIN_SIZE, ConfigError, RestoreConfig
from perceptual_jax.types import Generator


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of steps at one resolution. Static under `jit`."""

    resolution: int
    """Of the rendered picture."""
    steps: int
    cycle: int
    """Steps of the learning-rate cycle; a coarse stage shares that of the draft after it."""
    learning_rate: float
    """Peak of the cycle."""
    data_weight: float
    nll_weight: float
    fresh: bool
    """Starts a cycle, with a new optimiser, from the best state of the stage before."""


COARSE_ENOUGH = 4
"""Pixels of a draft for each pixel of the input: finer drafts find nothing more."""


def stages(config: RestoreConfig, resolution: int, size: int) -> tuple[Stage, ...]:
    """The stages of a search; those without steps are left out.

    `config.fidelity` multiplies the data weights, by 1/4 at 0 and by 4 at 1, and the steps of the
    finish, by 1/2 and by 2. Without any finish a picture is no more natural, only wrong where the
    draft is.

    Args:
        config: Of the search.
        resolution: Of the generator.
        size: Pixels of the longer side of the degraded image.
    """
    search, finish = config.search, config.finish
    fidelity = 16.0 ** (config.fidelity - 0.5)
    draft = min(search.draft or resolution, resolution)
    coarse = min(search.coarse, draft)
    fraction = 1.0 if COARSE_ENOUGH * size <= coarse else search.coarse_fraction
    coarse_steps = round(search.steps * fraction) if search.draft and coarse < draft else 0
    shared = {
        "cycle": search.steps,
        "learning_rate": search.learning_rate,
        "data_weight": config.data.weight * fidelity,
        "nll_weight": config.data.nll_weight * fidelity,
    }
    finish_steps = math.ceil(finish.steps * 4.0 ** (config.fidelity - 0.5))
    sequence = (
        Stage(coarse, coarse_steps, fresh=True, **shared),
        Stage(draft, search.steps - coarse_steps, fresh=coarse_steps == 0, **shared),
        Stage(
            resolution,
            finish_steps,
            cycle=finish_steps,
            learning_rate=finish.learning_rate,
            data_weight=finish.data_weight * fidelity,
            nll_weight=finish.nll_weight * fidelity,
            fresh=True,
        ),
    )
    return tuple(stage for stage in sequence if stage.steps > 0)


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
    noise = jax.eval_shape(generator.noise_maps)
    if config.noise.trainable > len(noise):
        raise ConfigError(
            f"noise.trainable must be at most {len(noise)}, the noise maps of "
            f"{config.generator}, got {config.noise.trainable}"
        )
    styles = jax.ShapeDtypeStruct((generator.num_styles, *generator.w_mean.shape), jnp.float32)
    drafts = {stage.resolution for stage in (*smallest, *largest)} - {generator.resolution}
    for resolution in sorted(drafts):
        try:
            jax.eval_shape(lambda s, n, r=resolution: generator.draft(s, n, r), styles, noise)
        except ValueError as error:
            raise ConfigError(f"the config does not fit {config.generator}: {error}") from error


Schedule = Literal["one_cycle_drop", "one_cycle", "fixed"]


def learning_rate_share(
    step: Int[Array, ""] | float, steps: int, *, schedule: Schedule
) -> Float[Array, ""]:
    """PULSE's schedules: the share of the peak learning rate at a step.

    `one_cycle` rises from 0.1 to 1 at half-time and falls back. `one_cycle_drop` does so within
    the first 90 % of the steps and ends with a fall from 0.1 to 0.001.

    Args:
        step: Steps taken so far, from 0.
        steps: Of the whole cycle.
        schedule: Which of the three.

    Source: PULSE's code.

    Example:
        >>> share = lambda s: float(learning_rate_share(s, 100, schedule="one_cycle_drop"))
        >>> [round(share(s), 4) for s in (0, 45, 90)]
        [0.1, 1.0, 0.1]
    """
    x = jnp.asarray(step, jnp.float32) / steps
    if schedule == "fixed":
        return jnp.ones_like(x)
    if schedule == "one_cycle":
        return (9 * (1 - jnp.abs(2 * x - 1)) + 1) / 10
    cycle = (9 * (1 - jnp.abs(2 * x / 0.9 - 1)) + 1) / 10
    drop = 0.1 + (x - 0.9) / 0.1 * (0.001 - 0.1)
    return jnp.where(x < 0.9, cycle, drop)
