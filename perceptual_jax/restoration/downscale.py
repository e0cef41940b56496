"""The data term that needs no learning: the restored face, downscaled, must be the degraded one.

PULSE's data term for super-resolution is

    max( mean_{h,w,c} (D(x) - y)^2, floor ),     images in [0, 1],

with D a separable, antialiased downscale (`resampling`).

Source: Menon et al., "PULSE", CVPR 2020, and its public code.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.resampling import Filter, downscale


@dataclasses.dataclass(frozen=True)
class DownscaleL2:
    """Mean squared error between the downscaled restored image and the degraded one.

    Hashable, so it can be a static argument of `jax.jit`.

    Example:
        >>> term = DownscaleL2(filter="area")
        >>> cache = term.prepare(jnp.zeros((8, 8, 3)), resolution=32)
        >>> value, errors = term.evaluate(cache, jnp.full((32, 32, 3), 0.2))
        >>> round(float(value), 6), errors.shape
        (0.01, (8, 8))
    """

    filter: Filter = "bicubic"
    """Of the downscale, see `resample_matrix`."""
    floor: float = 0.0
    """Values below it are raised to it, so that their gradient is zero (PULSE's eps: 2e-3)."""
    largest: int | None = None
    """Pixels of a side that larger images are compared at; None compares all there are."""

    def prepare(
        self, degraded: Float[Array, "h w c"], *, resolution: int
    ) -> Float[Array, "h2 w2 c"]:
        """What `evaluate` compares with, once for each image.

        Args:
            degraded: Degraded image in [-1, 1].
            resolution: Pixels of a side of the restored images to come. A degraded image larger
                than that along an axis is reduced to it, since a draft cannot show more.
        """
        height, width, _ = degraded.shape
        most = resolution if self.largest is None else min(resolution, self.largest)
        size = (min(height, most), min(width, most))
        return downscale(degraded, size, filter=self.filter)

    def evaluate(
        self, cache: Float[Array, "h2 w2 c"], restored: Float[Array, "h w c"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term and where it comes from.

        Args:
            cache: Result of `prepare`.
            restored: Restored image in [-1, 1], not smaller than `cache`.

        Returns:
            The mean squared error of images in [0, 1], not below `floor`, and the squared error
            of each pixel, whose mean it is (before the floor).

        Raises:
            ValueError: If the restored image is smaller than the cache.
        """
        size = (cache.shape[0], cache.shape[1])
        if restored.shape[0] < size[0] or restored.shape[1] < size[1]:
            raise ValueError(
                f"the restored image must be at least {size[0]} x {size[1]} pixels, got "
                f"{restored.shape[0]} x {restored.shape[1]}; prepare the term for its resolution"
            )
        difference = (downscale(restored, size, filter=self.filter) - cache) / 2
        errors = jnp.mean(difference**2, axis=-1)
        return jnp.maximum(jnp.mean(errors), self.floor), errors


def consistency_psnr(
    restored: Float[Array, "h w c"], degraded: Float[Array, "h2 w2 c"], *, filter: Filter
) -> Float[Array, ""]:
    """PSNR between the downscaled restored image and the degraded one, in decibels.

    Args:
        restored: Restored image in [-1, 1].
        degraded: Degraded image in [-1, 1]; if it is larger than the restored one, they are
            compared at the restored one's size.
        filter: Of the downscale, see `resample_matrix`.

    Example:
        >>> grey = jnp.zeros((32, 32, 3))
        >>> float(consistency_psnr(grey, jnp.full((8, 8, 3), 0.2), filter="bicubic"))
        20.0
    """
    term = DownscaleL2(filter=filter)
    mse, _ = term.evaluate(term.prepare(degraded, resolution=restored.shape[0]), restored)
    return -10 * jnp.log10(mse)
