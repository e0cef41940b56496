"""PULSE's cross loss: the styles of one image should have the same direction.

A generator is trained with one style vector for all its layers; in a search in W+ they can
diverge. The loss is the mean squared angle between them, for every ordered pair i, j:

    theta_ij = 2 atan2(|w_i - w_j|, |w_i + w_j|)
    loss     = 512 / 8 * mean_ij theta_ij^2

theta is the angle between w_i and w_j if their norms are equal, as on a sphere. Otherwise it is
nearer to a right angle, cos theta = 2 |w_i| |w_j| / (|w_i|^2 + |w_j|^2) * cos angle, so that
unequal norms also increase the loss of nearly parallel styles. Without arccos no clipping is
needed.

Source: Menon et al., "PULSE", CVPR 2020 (the term GEOCROSS of its code).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

PULSE_SCALE = 512 / 8
"""Factor of PULSE's code, which has 18 styles of 512 dimensions."""


def cross_loss(styles: Float[Array, "k d"]) -> Float[Array, ""]:
    """Mean squared angle between the styles, times 64.

    The factor is PULSE's at k = 18 and d = 512. It is kept for every k and d, since angles and
    their mean depend on neither: a weight has the same meaning for every generator, and for a
    search that optimises only some of the styles.

    Args:
        styles: Vectors of W, after the mapping's last leaky ReLU (not whitened ones).

    Returns:
        The loss, in squared radians times 64, below 64 pi^2. For equal styles PULSE's epsilon
        leaves 6.4e-8 / |w|^2, and a gradient that is as small.

    Source: PULSE, as above; the default weight is 0.05.

    Example:
        >>> float(cross_loss(jnp.ones((18, 512)))) < 1e-8
        True
        >>> value = cross_loss(jnp.eye(2))  # two of the four pairs are at a right angle
        >>> round(float(value / (64 * (jnp.pi / 2) ** 2 / 2)), 4)
        1.0
    """
    return PULSE_SCALE * jnp.mean(jnp.square(pairwise_angles(styles)))


def pairwise_angles(styles: Float[Array, "k d"]) -> Float[Array, "k k"]:
    """theta_ij = 2 atan2(|w_i - w_j|, |w_i + w_j|), in radians, in [0, pi].

    Example:
        >>> angles = pairwise_angles(jnp.array([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]]))
        >>> [round(float(angle), 3) for angle in angles[0]]
        [0.0, 1.571, 3.142]
    """
    first, second = styles[:, None, :], styles[None, :, :]
    return 2 * jnp.atan2(_norm(first - second), _norm(first + second))


def _norm(x: Float[Array, "k k d"]) -> Float[Array, "k k"]:
    # PULSE's 1e-9 keeps the slope of the root finite where two styles are equal or opposite.
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=-1) + 1e-9)
