"""Whitened W: coordinates in which the mapping's output is close to a standard Gaussian.

The last leaky ReLU of a mapping network has a kink at zero. Inverted (slope 1 / 0.2 = 5), the
result is nearly Gaussian, and is standardised with mean and covariance of many mapped samples:

    z = R^-1 (v - mean)    with    v = w for w >= 0,  5 w for w < 0,
    w = leaky_relu_0.2(R z + mean).

`diagonal`: R = diag(std), PULSE's space. `full`: R is the symmetric square root of the covariance
(Wulff and Torralba use the full covariance). Any R with R R^T = covariance makes z white, and norms
of z, hence the spheres of a search, are the same for all of them; Adam's steps are not. Among
them the symmetric root keeps z nearest to v, treats the coordinates alike where a Cholesky factor
depends on their order, and is usable where the covariance is singular.

Source: Menon et al., "PULSE", CVPR 2020 (its `gaussian_fit.pt`); Wulff and Torralba, "Improving
Inversion and Generation Diversity in StyleGAN using a Gaussianized Latent Space", 2020; Kessy et
al., "Optimal Whitening and Decorrelation", 2018, for the choice of root.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Covariance = Literal["diagonal", "full"]

SLOPE = 0.2
"""Negative slope of the last leaky ReLU of StyleGAN's mapping networks."""

MIN_VARIANCE = 1e-6
"""Smallest variance of a direction, relative to the largest, so that float32 resolves both maps.
Some 13 of the 512 directions of an FFHQ mapping network are flatter (measured)."""


class Whitening(NamedTuple):
    """A pair of inverse maps between W and whitened W. `fit_whitening` makes one."""

    mean: Float[Array, " d"]
    """Mean of the samples v, before the last leaky ReLU."""
    root: Float[Array, "..."]
    """Root R: standard deviations [d], or the symmetric square root of the covariance [d d]."""
    inverse_root: Float[Array, "..."]
    """Inverse of R, in the same form."""

    def whiten(self, w: Float[Array, "*k d"]) -> Float[Array, "*k d"]:
        """Maps vectors of W to whitened W.

        Example:
            >>> whitening = Whitening(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.5]))
            >>> whitening.whiten(jnp.array([[5.0], [-1.0]])).tolist()
            [[2.0], [-3.0]]
        """
        v = jax.nn.leaky_relu(w, 1 / SLOPE)
        return _times(v - jnp.broadcast_to(self.mean, v.shape), self.inverse_root)

    def unwhiten(self, z: Float[Array, "*k d"]) -> Float[Array, "*k d"]:
        """Maps vectors of whitened W to W: the inverse of `whiten`.

        Example:
            >>> whitening = Whitening(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.5]))
            >>> whitening.unwhiten(jnp.array([[2.0], [-3.0]])).tolist()
            [[5.0], [-1.0]]
        """
        v = _times(z, self.root) + jnp.broadcast_to(self.mean, z.shape)
        return jax.nn.leaky_relu(v, SLOPE)


def fit_whitening(
    samples: Float[Array, "n d"], *, covariance: Covariance = "diagonal"
) -> Whitening:
    """Whitening in which `samples` have mean 0 and variance 1 (`full`: and no correlation).

    Args:
        samples: Mapped prior samples w, one in each row. `full` needs several times d of them.
        covariance: `diagonal` (PULSE) or `full`.

    Raises:
        ValueError: If there are fewer than two samples, or `covariance` is neither.

    Example:
        >>> whitening = fit_whitening(jnp.array([[1.0], [3.0]]))
        >>> whitening.mean.tolist(), whitening.root.tolist()
        ([2.0], [1.0])
    """
    _check(samples.shape[0], covariance)
    return _whitening(_moments(samples, covariance))


def fit_whitening_from_mapping(
    mapping: Callable[[Float[Array, " d"]], Float[Array, " d"]],
    key: Key[Array, ""],
    *,
    z_dim: int,
    samples: int = 100_000,
    chunk: int = 1000,
    covariance: Covariance = "diagonal",
) -> Whitening:
    """Fits a whitening to new samples of a mapping network, one chunk in memory at a time.

    Args:
        mapping: The mapping network z -> w without truncation, for one latent.
        key: Consumed.
        z_dim: Dimension of Z.
        samples: Number of latents, rounded up to whole chunks. PULSE used 10^6.
        chunk: Number of latents that are mapped at once.
        covariance: As in `fit_whitening`.

    Raises:
        ValueError: If there are fewer than two samples, or `covariance` is unknown.

    Source: PULSE, for the procedure; Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances", 1979, for the merging of chunks.
    """
    _check(samples, covariance)

    def chunk_moments(key: Key[Array, ""]) -> _Moments:
        z = jax.random.normal(key, (chunk, z_dim))
        return _moments(jax.vmap(mapping)(z), covariance)

    keys = jax.random.split(key, -(-samples // chunk))
    total, _ = jax.lax.scan(
        lambda total, key: (_merge(total, chunk_moments(key)), None),
        chunk_moments(keys[0]),
        keys[1:],
    )
    return _whitening(total)


class _Moments(NamedTuple):
    """Number, mean, and summed squares or outer products of the deviations from the mean."""

    size: Float[Array, ""]
    mean: Float[Array, " d"]
    scatter: Float[Array, "..."]


def _moments(w: Float[Array, "n d"], covariance: Covariance) -> _Moments:
    v = jax.nn.leaky_relu(w, 1 / SLOPE)
    mean = jnp.mean(v, axis=0)
    deviation = v - mean[None]
    if covariance == "diagonal":
        scatter = jnp.sum(jnp.square(deviation), axis=0)
    else:
        scatter = _matmul(deviation.T, deviation)
    return _Moments(jnp.asarray(v.shape[0], v.dtype), mean, scatter)


def _merge(a: _Moments, b: _Moments) -> _Moments:
    size = a.size + b.size
    delta = b.mean - a.mean
    between = jnp.square(delta) if a.scatter.ndim == 1 else jnp.outer(delta, delta)
    return _Moments(
        size,
        a.mean + delta * (b.size / size),
        a.scatter + b.scatter + between * (a.size * b.size / size),
    )


def _whitening(moments: _Moments) -> Whitening:
    covariance = moments.scatter / moments.size
    if covariance.ndim == 1:
        std = jnp.sqrt(_floored(covariance))
        return Whitening(moments.mean, std, 1 / std)
    variances, axes = jnp.linalg.eigh(covariance)
    std = jnp.sqrt(_floored(variances))[None]
    return Whitening(moments.mean, _matmul(axes * std, axes.T), _matmul(axes / std, axes.T))


def _floored(variances: Float[Array, " d"]) -> Float[Array, " d"]:
    return jnp.maximum(variances, MIN_VARIANCE * jnp.max(variances))


def _times(x: Float[Array, "*k d"], root: Float[Array, "..."]) -> Float[Array, "*k d"]:
    # A matrix root is symmetric, so it may stand on either side.
    return x * jnp.broadcast_to(root, x.shape) if root.ndim == 1 else _matmul(x, root)


def _matmul(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    # The default precision of accelerators (bfloat16, TF32) would break the inverse.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _check(samples: int, covariance: str) -> None:
    if samples < 2:
        raise ValueError(f"a whitening needs at least 2 samples, got {samples}")
    if covariance not in get_args(Covariance):
        options = ", ".join(get_args(Covariance))
        raise ValueError(f"covariance must be one of {options}, got {covariance!r}")
