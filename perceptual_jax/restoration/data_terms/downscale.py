"""The data term that needs no learning: the restored face, downscaled, must be the degraded one.

PULSE's data term for super-resolution is

    max( mean_{h,w,c} (D(x) - y)^2, floor ),     images in [0, 1],

with D a separable, antialiased downscale (`resampling`).

Source: Menon et al., "PULSE", CVPR 2020, and its public code.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.canvas import canvas_matrix, canvas_mean
from perceptual_jax.degradation.resampling import Filter, downscale, resample
from perceptual_jax.types import Given


class L2Target(NamedTuple):
    """The target of `DownscaleL2` for one degraded image."""

    image: Float[Array, "h2 w2 c"]
    matrix: Float[Array, "h2 r"] | None = None
    """Brings a restored image to the filled part of a canvas; None downscales to all of `image`."""
    side: Int[Array, ""] | None = None
    """Pixels of a side of that part."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class DownscaleL2:
    """Mean squared error between the downscaled restored image and the degraded one.

    Holds no arrays: static under `jax.jit`.

    Example:
        >>> term = DownscaleL2(filter="area")
        >>> cache = term.prepare(Given(jnp.zeros((8, 8, 3))), 32)
        >>> value, errors = term.evaluate(cache, jnp.full((32, 32, 3), 0.2))
        >>> round(float(value), 6), errors.shape
        (0.01, (8, 8))
    """

    filter: Filter = "bicubic"
    """Filter of the downscale, see `resample_matrix`."""
    floor: float = 0.0
    """Values below it are raised to it, so that their gradient is zero (PULSE's eps: 2e-3)."""
    largest: int | None = None
    """Pixels of a side to which larger images are reduced before the comparison; None compares
    at the degraded image's own size."""

    def prepare(self, given: Given, resolution: int) -> L2Target:
        """The target that `evaluate` compares with; computed once for each image.

        Args:
            given: The degraded image.
            resolution: Pixels of a side of the restored images to come. A degraded image larger
                than that along an axis is reduced to it, since a draft cannot show more.
        """
        image, side = jnp.asarray(given.image), given.side
        height, width, _ = image.shape
        limit = resolution if self.largest is None else min(resolution, self.largest)
        if side is None:
            return L2Target(
                downscale(image, (min(height, limit), min(width, limit)), filter=self.filter)
            )
        if limit < height:
            # All images of such a canvas are larger than that: they are compared at one size.
            matrix = canvas_matrix(side, limit, (limit, height), filter=self.filter)
            return L2Target(resample(image, matrix, matrix))
        matrix = canvas_matrix(resolution, side, (height, resolution), filter=self.filter)
        return L2Target(image, matrix, side)

    def evaluate(
        self, cache: L2Target, image: Float[Array, "h w c"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term's value and its map over the pixels.

        Args:
            cache: Result of `prepare`.
            image: Restored image in [-1, 1], not smaller than that of `cache`.

        Returns:
            The mean squared error of images in [0, 1], not below `floor`, and the squared error
            of each pixel, whose mean it is (before the floor).

        Raises:
            ValueError: If the restored image is smaller than the cache's.
        """
        height, width, _ = cache.image.shape
        if cache.matrix is None or cache.side is None:
            if image.shape[0] < height or image.shape[1] < width:
                raise ValueError(
                    f"the restored image must be at least {height} x {width} pixels, got "
                    f"{image.shape[0]} x {image.shape[1]}; prepare the term for its resolution"
                )
            errors = _squared_errors(
                downscale(image, (height, width), filter=self.filter), cache.image
            )
            return jnp.maximum(jnp.mean(errors), self.floor), errors
        errors = _squared_errors(resample(image, cache.matrix, cache.matrix), cache.image)
        return jnp.maximum(canvas_mean(errors, cache.side), self.floor), errors


def _squared_errors(a: Float[Array, "h w c"], b: Float[Array, "h w c"]) -> Float[Array, "h w"]:
    """Squared errors of images in [0, 1], which are passed in [-1, 1]; the mean over channels."""
    return jnp.mean(((a - b) / 2) ** 2, axis=-1)


def consistency_psnr(
    restored: Float[Array, "h w c"], degraded: Float[Array, "h2 w2 c"], *, filter: Filter
) -> Float[Array, ""]:
    """PSNR between the downscaled restored image and the degraded one, in decibels.

    Args:
        restored: Restored image in [-1, 1].
        degraded: Degraded image in [-1, 1]; if it is larger than the restored one, they are
            compared at the restored one's size.
        filter: Filter of the downscale, see `resample_matrix`.

    Example:
        >>> grey = jnp.zeros((32, 32, 3))
        >>> light = jnp.full((8, 8, 3), 0.2)
        >>> round(float(consistency_psnr(grey, light, filter="bicubic")), 4)
        20.0
    """
    term = DownscaleL2(filter=filter)
    mse, _ = term.evaluate(term.prepare(Given(degraded), restored.shape[0]), restored)
    return -10 * jnp.log10(mse)
