"""The optimiser of a search: Adam, each vector projected to its sphere."""

import dataclasses
import math
from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from perceptual_jax.prior.sphere import Sphere, keep_on_sphere

Schedule = Literal["one_cycle_drop", "one_cycle", "fixed", "warmup_cosine"]


@dataclasses.dataclass(frozen=True)
class SphericalAdam:
    """Adam whose styles and trainable noise maps stay on spheres; features are free.

    A gradient transformation of `Latents`; parts that are None do not move.

    This is a dataclass, not `optax.chain` itself, so that optimisers with equal settings compare
    equal and compile once.
    """

    learning_rate: float
    """Peak learning rate of the cycle, for points and noise maps."""
    cycle: int
    """Steps of the cycle."""
    schedule: Schedule = "one_cycle_drop"
    """Shape of the learning rate over the cycle, see `learning_rate_factor`."""
    radius: float | Literal["initial"] = "initial"
    """Norm of every style: a number, infinity for no constraint, or its initial norm."""
    noise_maps: int = 0
    """Number of trainable noise maps, each of which keeps its initial norm."""
    features_rate: float = 0.0
    """Peak learning rate of the features, in their standard deviations."""

    def init(self, latents: Any) -> Any:
        """The optimiser's state for the latents that move."""
        return self._chain(latents).init(latents)

    def update(self, gradient: Any, state: Any, latents: Any) -> tuple[Any, Any]:
        """The updates for `optax.apply_updates`, and the next state."""
        return self._chain(latents).update(gradient, state, latents)

    def _chain(self, latents: Any) -> optax.GradientTransformation:
        def rate(count: Any) -> Float[Array, ""]:
            factor = learning_rate_factor(count, self.cycle, schedule=self.schedule)
            return self.learning_rate * factor

        def features_at_their_rate(updates: Any, _: Any) -> Any:
            ratio = self.features_rate / self.learning_rate
            return updates._replace(features=updates.features * ratio)

        spheres: dict[str, Any] = {
            "points": Sphere(self.radius),
            "noise": (Sphere(axis=(-2, -1)),) * self.noise_maps,
            "features": Sphere(math.inf),
        }
        # A part that does not move is None in the latents, and so must its sphere be.
        spheres |= {name: None for name, x in latents._asdict().items() if x is None}
        moves_features = latents.features is not None
        return optax.chain(
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(rate),
            optax.stateless(features_at_their_rate) if moves_features else optax.identity(),
            keep_on_sphere(latents._replace(**spheres)),
        )


def learning_rate_factor(
    step: Int[Array, ""] | float, steps: int, *, schedule: Schedule
) -> Float[Array, ""]:
    """The learning rate at a step as a fraction of its peak.

    `one_cycle` rises from 0.1 to 1 at half-time and falls back. `one_cycle_drop` does so within
    the first 90 % of the steps and ends with a fall from 0.1 to 0.001. `warmup_cosine` rises to 1
    within the first fifth of the steps and falls along a cosine to 0.01.

    Args:
        step: Steps taken so far, from 0.
        steps: Steps of the whole cycle.
        schedule: Name of the schedule; `fixed` is 1 at every step.

    Source: PULSE's code; `warmup_cosine` is ours.

    Example:
        >>> factor = lambda s: float(learning_rate_factor(s, 100, schedule="one_cycle_drop"))
        >>> [round(factor(s), 4) for s in (0, 45, 90)]
        [0.1, 1.0, 0.1]
    """
    x = jnp.asarray(step, jnp.float32) / steps
    if schedule == "fixed":
        return jnp.ones_like(x)
    if schedule == "one_cycle":
        return (9 * (1 - jnp.abs(2 * x - 1)) + 1) / 10
    if schedule == "warmup_cosine":
        falling = 0.01 + 0.99 * (1 + jnp.cos(jnp.pi * (x - 0.2) / 0.8)) / 2
        return jnp.where(x < 0.2, (step + 1) / (0.2 * steps + 1), falling)
    cycle = (9 * (1 - jnp.abs(2 * x / 0.9 - 1)) + 1) / 10
    drop = 0.1 + (x - 0.9) / 0.1 * (0.001 - 0.1)
    return jnp.where(x < 0.9, cycle, drop)
