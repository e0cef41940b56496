"""The learned data term: the NLL of the degraded image, given the restored one.

    evaluate = -log2 p(degraded | restored) / (3 h w)        bits/dim; dimensions are R, G and B

`prepare` computes everything that depends on the degraded image alone, once for a whole search;
`evaluate` is the rest, with a gradient into the restored image only.

Source: the paper, Section 3.2.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.degradation.canvas import canvas_matrix, canvas_mean
from perceptual_jax.degradation.resampling import resample, resize
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.logistic_mixture import Mixture, bits_per_dim, log_prob
from perceptual_jax.likelihood.pixelcnn import Context, PixelCNN
from perceptual_jax.types import Given, JpegHeader


class Observation(NamedTuple):
    """The part of the data term that depends on the degraded image alone, see `prepare`."""

    context: Context
    matrix: Float[Array, "h r"] | None = None
    """Brings a restored image to the filled part of a canvas; None: the degraded image fills it."""
    side: Int[Array, ""] | None = None
    """Pixels of a side of that part."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["network"],
    meta_fields=["min_log_scale", "every", "condition_size", "dtype"],
)
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A trained network as a data term: an immutable pytree whose leaves are its parameters."""

    network: PixelCNN
    """The network, folded for speed (`layers.fold`)."""
    min_log_scale: float | None = None
    """Lower bound of log-scales, which tempers the likelihood: with a scale of exp(-10) the
    gradient of a single pixel can be 22,000. None is the bound of the network's config."""
    every: int = 1
    """Distance of the rows that `evaluate` takes. Neighbouring rows carry nearly the same
    information, so 2 halves the cost of a search's step and changes the result little."""
    condition_size: int = 0
    """Pixels of a side to which the restored image is reduced (the paper: 256) before it is
    resampled to the degraded image's size; 0 for no intermediate size."""
    dtype: str = "float32"
    """Type of the body's activations; the head and the mixture are float32 always."""

    @property
    def config(self) -> PixelCNNConfig:
        """Sizes and switches of the network."""
        return self.network.config

    def prepare(self, given: Given, resolution: int | None = None) -> Observation:
        """Computes all that depends on the degraded image alone.

        Args:
            given: The degraded image on the grid of 8-bit levels, and the header of its JPEG.
            resolution: Pixels of a side of the restored images to come, where the degraded image
                fills a part of a canvas; else they may have any size.

        Raises:
            ValueError: If the image is smaller than 8 x 8.
        """
        degraded, side = jnp.asarray(given.image), given.side
        if min(degraded.shape[:2]) < 8:
            raise ValueError(
                f"the degraded image must be at least 8 x 8 pixels, got "
                f"{degraded.shape[0]} x {degraded.shape[1]}; use the l2 data term for it"
            )
        known = JpegHeader(*(jnp.asarray(x)[None] for x in given.header))
        context = self.network.context(degraded[None], known, dtype=jnp.dtype(self.dtype))
        context = jax.tree.map(lambda x: x[0], context)
        if side is None:
            return Observation(context)
        if resolution is None:
            raise ValueError("an image on a canvas needs the resolution of the images to come")
        size = min(self.condition_size or resolution, resolution)
        matrix = canvas_matrix(size, side, (degraded.shape[0], size), filter="area")
        return Observation(context, matrix, side)

    def evaluate(
        self, cache: Observation, image: Float[Array, "h w 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term's value and its map over the pixels.

        Args:
            cache: Result of `prepare`.
            image: Restored image in [-1, 1]; resampled to the degraded image's size.

        Returns:
            Bits/dim of the image, and of each pixel of the rows taken, whose mean it is.
        """
        if self.condition_size and self.condition_size < image.shape[0]:
            image = resize(image, (self.condition_size, self.condition_size))
        if cache.matrix is not None:
            image = resample(image, cache.matrix, cache.matrix)
        mixture, pixels = self.mixture(cache, image), cache.context.degraded[:: self.every]
        bits = bits_per_dim(log_prob(mixture, pixels, component=self.config.component))
        if cache.side is None:
            return jnp.mean(bits), bits
        return canvas_mean(bits, cache.side, every=self.every), bits

    def mixture(self, cache: Observation, restored: Float[Array, "h w 3"]) -> Mixture:
        """The distribution of every pixel of the degraded image, given those before it."""
        height, width, _ = cache.context.degraded.shape
        restored = resize(restored, (height, width))
        context = jax.lax.stop_gradient(jax.tree.map(lambda x: x[None], cache.context))
        mixture = self.network.mixture(
            context, restored[None], min_log_scale=self.min_log_scale, every=self.every
        )
        return jax.tree.map(lambda x: x[0], mixture)
