"""The features of a generator under its prior: units and priors of a search that moves them.

A search may add an offset to the features after one block,

    x  =  features(styles) + scale * A,        A [r r c], 0 at the start,

where `scale` is the standard deviation of each channel over prior samples. So A has no unit. Priors
of it, as functions of A and of x / scale:

    mean_square     mean(A^2): independent Gaussians
    mahalanobis     the same under the covariance of natural columns, a low-rank Gaussian
    feature_mmd2    the paper's idea carried over: how far the columns of x, region by region, are
                    from those of prior samples (`feature_mmd`)

Source: Kang et al., "GAN Inversion for Out-of-Range Images with Geometric Transformations", 2021
(F/W+ and its Gaussian); Tipping and Bishop, "Probabilistic Principal Component Analysis", 1999.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from perceptual_jax.types import Generator, Latents

PSI = 0.7
"""Truncation of the samples: faithful styles are nearer to the mean than prior samples are."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["scale"], meta_fields=["resolution"]
)
@dataclasses.dataclass(frozen=True)
class FeatureSpace:
    """The space of a search's feature offsets: an immutable pytree."""

    resolution: int
    """Pixels of a side of the features; static."""
    scale: Float[Array, " c"]
    """Standard deviation of each channel over pictures and positions."""

    def zeros(self) -> Float[Array, "r r c"]:
        """No offset."""
        return jnp.zeros((self.resolution, self.resolution, *self.scale.shape))

    def offset_of(self, latents: Latents) -> Float[Array, "r r c"]:
        """The offset of the latents in the network's units.

        Raises:
            ValueError: If the latents have no features.
        """
        if latents.features is None:
            raise ValueError("the latents have no features; start them from `zeros`")
        return self.scale[None, None] * latents.features

    def standardized(self, features: Float[Array, "r r c"]) -> Float[Array, "r r c"]:
        """Features in standard deviations of their channels; those of a dead channel are 0."""
        dead = self.scale <= 0
        inverse = jnp.where(dead, 0.0, 1.0 / jnp.where(dead, 1.0, self.scale))
        return features * inverse[None, None]


def fit_feature_spaces(
    generator: Generator, resolutions: tuple[int, ...], *, key: Key[Array, ""], samples: int = 64
) -> dict[int, FeatureSpace]:
    """The spaces of several blocks, whose unit is each channel's standard deviation.

    Args:
        generator: The generator.
        resolutions: Pixels of a side of each block's features; static.
        key: Consumed.
        samples: Number of prior samples; static.
    """

    def moments(z: Float[Array, " d"]) -> dict[int, Float[Array, "2 c"]]:
        blocks = {r: _natural_features(generator, z, r) for r in resolutions}
        return {
            r: jnp.stack([jnp.mean(x, axis=(0, 1)), jnp.mean(jnp.square(x), axis=(0, 1))])
            for r, x in blocks.items()
        }

    spaces = {}
    latents = jax.random.normal(key, (samples, generator.z_dim))
    for r, pairs in jax.lax.map(moments, latents).items():
        mean, square = jnp.mean(pairs, axis=0)
        spaces[r] = FeatureSpace(r, jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0.0)))
    return spaces


def sample_features(
    generator: Generator, resolution: int, *, key: Key[Array, ""], samples: int
) -> Float[Array, "n r r c"]:
    """The features of truncated prior samples, with the generator's own noise.

    Args:
        generator: The generator.
        resolution: Pixels of a side of the features.
        key: Consumed.
        samples: Number n of pictures.
    """
    latents = jax.random.normal(key, (samples, generator.z_dim))
    return jax.lax.map(lambda z: _natural_features(generator, z, resolution), latents)


def _natural_features(
    generator: Generator, z: Float[Array, " d"], resolution: int
) -> Float[Array, "r r c"]:
    w = generator.w_mean + PSI * (generator.mapping(z) - generator.w_mean)
    styles = jnp.broadcast_to(w, (generator.num_styles, *w.shape))
    return generator.features(styles, generator.noise_maps(), resolution).astype(jnp.float32)


def mean_square(offset: Float[Array, "r r c"], features: Float[Array, "r r c"]) -> Float[Array, ""]:
    """Mean of A^2: the negative log-density of independent standard Gaussians, per coordinate.

    Args:
        offset: A, in standard deviations.
        features: Not used.

    Example:
        >>> a = jnp.full((2, 2, 3), 0.5)
        >>> float(mean_square(a, a))
        0.25
    """
    return jnp.mean(jnp.square(offset))


class LowRankGaussian(NamedTuple):
    """A Gaussian of columns whose covariance is U diag(variances - rest) U^T + rest * I."""

    basis: Float[Array, "c k"]
    """Orthonormal principal directions U."""
    variances: Float[Array, " k"]
    """Variances along them."""
    rest: Float[Array, ""]
    """Variance along every other direction."""


def fit_low_rank_gaussian(
    columns: Float[Array, "n c"], *, rank: int, shrinkage: float = 0.1
) -> LowRankGaussian:
    """The maximum-likelihood low-rank Gaussian of columns about their mean.

    Args:
        columns: Samples, in standard deviations of their channels.
        rank: Number k of principal directions, below c.
        shrinkage: Weight in [0, 1] of the identity in the covariance, so that directions in which
            samples hardly differ do not become infinitely expensive.

    Source: Tipping and Bishop 1999, Equation 7 and 8.
    """
    covariance = jnp.cov(columns, rowvar=False, ddof=0)
    covariance = (1 - shrinkage) * covariance + shrinkage * jnp.eye(len(covariance))
    variances, basis = jnp.linalg.eigh(covariance)
    return LowRankGaussian(
        basis[:, ::-1][:, :rank], variances[::-1][:rank], jnp.mean(variances[::-1][rank:])
    )


def mahalanobis(
    offset: Float[Array, "r r c"],
    features: Float[Array, "r r c"],
    *,
    gaussian: LowRankGaussian,
) -> Float[Array, ""]:
    """Mean over columns of the squared Mahalanobis length of A, per channel.

    Equal to `mean_square` for a Gaussian of unit covariance.

    Args:
        offset: A, in standard deviations.
        features: Not used.
        gaussian: Distribution of natural columns.
    """
    along = offset @ gaussian.basis
    length = jnp.sum(jnp.square(offset), axis=-1) / gaussian.rest
    saved = jnp.square(along) @ (1 / gaussian.rest - 1 / gaussian.variances)
    return jnp.mean(length - saved) / offset.shape[-1]
