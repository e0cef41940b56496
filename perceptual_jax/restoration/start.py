"""Where a search begins: the mean of W, near it, or at draws of the prior; and its noise maps."""

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
    """Moves a mean start this share of the way to one random draw."""
    tile: bool = False
    """With a random start, one draw for all styles."""
    radius: float | Literal["initial"] = "initial"
    """Norm that every point is brought to; infinity and "initial" leave them."""
    noise: Literal["const", "random", "none"] = "const"
    """The generator's own noise maps, one draw for each image, or zeros."""
    zero_last: bool = False
    """Sets the finest map to zero."""
    trainable: int = 0
    """How many of the coarsest maps the search moves."""

    def __call__(
        self, generator: Generator, whitening: Whitening | None, key: Key[Array, ""]
    ) -> tuple[Latents, Noise]:
        """Latents and all noise maps of one image; the key is consumed."""
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
