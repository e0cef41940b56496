"""Distances of two sets of pictures by their features: of the kind of KID and of FID.

KID and FID are published on the features of Inception; here they are computed on any features, such
as `perceptual.pooled`, and are named for them: `kid_alex` is no KID. Only numbers on the same
features, of about as many pictures at the same size, can be compared.

Source: Binkowski et al., "Demystifying MMD GANs", ICLR 2018; Heusel et al., "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_HIGHEST = jax.lax.Precision.HIGHEST


@jax.jit
def kernel_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, as KID has it.

    No unit; about 0 for samples of one distribution (the estimate is unbiased, hence it can be
    negative), lower is closer. Features are first divided by the root mean square of `y`, so that
    networks whose activations are large do not overflow the cube.

    Args:
        x: Features of one set, one picture in each row.
        y: Features of the reference set.

    Raises:
        ValueError: If a set has fewer than two pictures.

    Source: Binkowski et al. 2018, Eq. 4.
    """
    _require_two(x, y)
    scale = jnp.sqrt(jnp.mean(y**2))
    x, y = x / scale, y / scale

    def kernel(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return (jnp.matmul(a, b.T, precision=_HIGHEST) / a.shape[1] + 1) ** 3

    def off_diagonal(k: Float[Array, "n n"]) -> Float[Array, ""]:
        n = k.shape[0]
        return (jnp.sum(k) - jnp.trace(k)) / (n * (n - 1))

    return off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * jnp.mean(kernel(x, y))


@jax.jit
def frechet_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
    """Squared Frechet distance of two Gaussians with the sets' moments, as FID has it.

        |m_x - m_y|^2 + tr(C_x) + tr(C_y) - 2 tr (C_x C_y)^(1/2)

    In squared units of the features; 0 for equal sets, lower is closer. It is biased upwards for
    sets smaller than the number of features, so only sets of one size can be compared.

    The last trace is the sum of singular values of X Y^T, X and Y the centred sets over the roots
    of n - 1 and m - 1: an n x m matrix in place of the root of a d x d one, which is singular.

    Args:
        x: Features of one set, one picture in each row.
        y: Features of the reference set.

    Raises:
        ValueError: If a set has fewer than two pictures.

    Source: Heusel et al. 2017, Eq. 6; Dowson and Landau 1982.
    """
    _require_two(x, y)
    mean_x, mean_y = (jnp.mean(z, axis=0, keepdims=True) for z in (x, y))
    x = (x - mean_x) / jnp.sqrt(x.shape[0] - 1)
    y = (y - mean_y) / jnp.sqrt(y.shape[0] - 1)
    root = jnp.linalg.svd(jnp.matmul(x, y.T, precision=_HIGHEST), compute_uv=False)
    moments = jnp.sum((mean_x - mean_y) ** 2) + jnp.sum(x**2) + jnp.sum(y**2)
    return jnp.maximum(moments - 2 * jnp.sum(root), 0)


def _require_two(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> None:
    if min(x.shape[0], y.shape[0]) < 2:
        raise ValueError(f"sets need at least 2 pictures, got {x.shape[0]} and {y.shape[0]}")
