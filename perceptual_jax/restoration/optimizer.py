"""How a search moves: Adam on PULSE's schedules, every vector kept on its sphere."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from perceptual_jax.prior.sphere import Sphere, keep_on_sphere
from perceptual_jax.types import Latents

Schedule = Literal["one_cycle_drop", "one_cycle", "fixed"]


@dataclasses.dataclass(frozen=True)
class SphericalAdam:
    """Adam whose styles and trainable noise maps stay on spheres: a gradient transformation.

    A dataclass, not `optax.chain` itself: two that do the same are equal, and so compile once.
    """

    learning_rate: float
    """Peak of the cycle."""
    cycle: int
    """Steps of the cycle."""
    schedule: Schedule = "one_cycle_drop"
    radius: float | Literal["initial"] = "initial"
    """Norm of every style: a number, infinity for none, or what it starts with."""
    noise_maps: int = 0
    """How many noise maps move, each at its initial norm."""

    def init(self, latents: Any) -> Any:
        """The optimiser's state for these latents."""
        return self._chain().init(latents)

    def update(self, gradient: Any, state: Any, latents: Any) -> tuple[Any, Any]:
        """The updates for `optax.apply_updates`, and the next state."""
        return self._chain().update(gradient, state, latents)

    def _chain(self) -> optax.GradientTransformation:
        def rate(count: Any) -> Float[Array, ""]:
            share = learning_rate_share(count, self.cycle, schedule=self.schedule)
            return self.learning_rate * share

        points: Any = Sphere(self.radius)
        noise: Any = (Sphere(axis=(-2, -1)),) * self.noise_maps
        return optax.chain(
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(rate),
            keep_on_sphere(Latents(points, noise)),
        )


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
