"""The start of a search: at the mean of W, near it, or at draws of the prior; and noise maps."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.generator.mapping import truncate
from perceptual_jax.prior.prior import points_of
from perceptual_jax.prior.sphere import project_to_sphere
from perceptual_jax.prior.whitening import Whitening
from perceptual_jax.types import Generator, Latents, Noise


@dataclasses.dataclass(frozen=True)
class PriorStart:
    """A start drawn from the prior, or at its mean. Static under `jit`."""

    at: Literal["mean", "random"] = "mean"
    """The mean of W for every style, or an independent draw for each."""
    spread: float = 0.0
    """Fraction of the way from the mean to one random draw, for a mean start."""
    tile: bool = False
    """Whether a random start uses one draw for all styles."""
    radius: float | Literal["initial"] = "initial"
    """Norm that every point is scaled to; infinity and "initial" leave the points unchanged."""
    noise: Literal["const", "random", "none"] = "const"
    """The generator's own noise maps, one draw for each image, or zeros."""
    zero_last: bool = False
    """Whether the finest noise map is set to zero."""
    trainable: int = 0
    """Number of noise maps, from the coarsest on, that the search optimises."""

    def __call__(
        self, generator: Generator, whitening: Whitening | None, key: Key[Array, ""]
    ) -> tuple[Latents, Noise]:
        """Initial latents and all noise maps of one image; the key is consumed."""
        points_key, noise_key = jax.random.split(key)
        points = self._points(generator, whitening, points_key)
        if self.radius != "initial" and math.isfinite(self.radius):
            points = project_to_sphere(points, self.radius)
        noise = list(generator.noise_maps(noise_key, mode=self.noise))
        if self.zero_last:
            noise[-1] = jnp.zeros_like(noise[-1])
        return Latents(points, tuple(noise[: self.trainable])), tuple(noise)

    def _points(
        self, generator: Generator, whitening: Whitening | None, key: Key[Array, ""]
    ) -> Float[Array, "k d"]:
        k, (d,) = generator.num_styles, generator.w_mean.shape
        draws = 1 if self.at == "mean" or self.tile else k
        if self.at == "random" and whitening is not None:
            return jnp.broadcast_to(jax.random.normal(key, (draws, d)), (k, d))
        w = jax.vmap(generator.mapping)(jax.random.normal(key, (draws, generator.z_dim)))
        if self.at == "mean":
            w = truncate(w, generator.w_mean, psi=self.spread)
        return points_of(jnp.broadcast_to(w, (k, d)), whitening)
