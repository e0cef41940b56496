"""The learned data term: how many bits the degraded image costs, given the restored one.

    evaluate = -log2 p(degraded | restored) / (3 h w)        bits for each dimension (R, G or B)

`prepare` computes everything that depends on the degraded image alone, once for a whole search;
`evaluate` is the rest, with a gradient into the restored image only.

Source: the paper, Section 3.2.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.jpeg import JpegHeader, unknown_header
from perceptual_jax.degradation.resampling import resize
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import Scope, Weights
from perceptual_jax.likelihood.logistic_mixture import Mixture, bits_per_dim, log_prob
from perceptual_jax.likelihood.pixelcnn import Context, make_context, mixture_parameters


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights"],
    meta_fields=["config", "min_log_scale", "every", "dtype"],
)
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A trained network as a data term: an immutable pytree, static but for its weights."""

    weights: Weights
    """Of the network, best folded (`layers.fold`)."""
    config: PixelCNNConfig
    """Of the network."""
    min_log_scale: float | None = None
    """Raises the smallest log-scale: with a scale of exp(-10) a single pixel can have a slope of
    22,000, and a search is better led by a tempered likelihood. None leaves the network's."""
    every: int = 1
    """`evaluate` takes the first of so many rows each. Neighbouring rows tell nearly the same of
    the restored image, so 2 halves the cost of a search's step and changes it little."""
    dtype: str = "float32"
    """Of the body; the head and the mixture are float32 always."""

    def prepare(self, degraded: Float[Array, "h w 3"], header: JpegHeader | None = None) -> Context:
        """What depends on the degraded image alone.

        Args:
            degraded: Degraded image, in [-1, 1], on the grid of 8-bit levels.
            header: What is known of the JPEG that it comes from; None for nothing.

        Raises:
            ValueError: If the image is smaller than 8 x 8.
        """
        if min(degraded.shape[:2]) < 8:
            raise ValueError(
                f"the degraded image must be at least 8 x 8 pixels, got "
                f"{degraded.shape[0]} x {degraded.shape[1]}; use the l2 data term for it"
            )
        known = unknown_header() if header is None else header
        known = JpegHeader(*(jnp.asarray(x)[None] for x in known))
        context = make_context(self._scope(), self.config, degraded[None], known)
        return jax.tree.map(lambda x: x[0], context)

    def evaluate(
        self, cache: Context, restored: Float[Array, "h w 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """The term and where it comes from.

        Args:
            cache: Result of `prepare`.
            restored: Restored image in [-1, 1]; brought to the degraded image's size.

        Returns:
            Bits for each dimension, and for each pixel of the rows taken, whose mean it is.
        """
        mixture, pixels = self.mixture(cache, restored), cache.degraded[:: self.every]
        bits = bits_per_dim(log_prob(mixture, pixels, component=self.config.component))
        return jnp.mean(bits), bits

    def mixture(self, cache: Context, restored: Float[Array, "h w 3"]) -> Mixture:
        """The distribution of every pixel of the degraded image, given those before it."""
        height, width, _ = cache.degraded.shape
        restored = resize(restored, (height, width))
        context = jax.lax.stop_gradient(jax.tree.map(lambda x: x[None], cache))
        mixture = mixture_parameters(
            self._scope(),
            self.config,
            context,
            restored[None],
            min_log_scale=self.min_log_scale,
            every=self.every,
        )
        return jax.tree.map(lambda x: x[0], mixture)

    def _scope(self) -> Scope:
        return Scope(self.weights, dtype=jnp.dtype(self.dtype))
