"""Full-reference metrics: the similarity of two images in [-1, 1].

Each function takes one pair and returns one number; `jax.vmap` makes the batch. A restoration can
differ from the original and still be consistent with the degraded image, so these numbers measure
fidelity, not naturalness.

They are implemented here, because dm_pix would add chex for two formulas. The values are those
of dm_pix 0.4.5 and, to 1e-6, of scikit-image 0.26 with Wang's Gaussian window, in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_WINDOW = 11
_SIGMA = 1.5


def psnr(a: Float[Array, "h w c"], b: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in decibels: 10 log10(2^2 / mean squared error).

    Args:
        a: Image in [-1, 1].
        b: Image in [-1, 1]. Equal images give infinity.

    Example:
        >>> round(float(psnr(jnp.zeros((4, 4, 3)), jnp.full((4, 4, 3), 0.2))), 4)
        20.0
    """
    return 10 * jnp.log10(4 / jnp.mean((a - b) ** 2))


@jax.jit
def ssim(a: Float[Array, "h w c"], b: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Structural similarity, at most 1, the mean over channels and over whole windows.

    Windows are Gaussian, 11 x 11 with a standard deviation of 1.5 pixels; only those within the
    image are used. K1 = 0.01 and K2 = 0.03. The index is not invariant to offsets, so it is
    computed on the images mapped to [0, 1], as published values are.

    Args:
        a: Image in [-1, 1] of at least 11 x 11 pixels.
        b: Image in [-1, 1].

    Raises:
        ValueError: If the images are smaller than a window.

    Source: Wang et al., "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 2004.

    Example:
        >>> image = jnp.linspace(-1, 1, 16 * 16 * 3).reshape(16, 16, 3)
        >>> float(ssim(image, image))
        1.0
    """
    if min(a.shape[:2]) < _WINDOW:
        raise ValueError(
            f"ssim needs images of at least {_WINDOW} x {_WINDOW} pixels, "
            f"got {a.shape[0]} x {a.shape[1]}"
        )
    a, b = (a + 1) / 2, (b + 1) / 2
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _window_means(a), _window_means(b)
    var_a = _window_means(a * a) - mean_a**2
    var_b = _window_means(b * b) - mean_b**2
    covariance = _window_means(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return jnp.mean(luminance * structure)


def _window_means(image: Float[Array, "h w c"]) -> Float[Array, "h-10 w-10 c"]:
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        size = image.shape[axis] - _WINDOW + 1
        shifted = [jax.lax.slice_in_dim(image, i, i + size, axis=axis) for i in range(_WINDOW)]
        terms = [float(weight) * part for weight, part in zip(weights, shifted, strict=True)]
        image = functools.reduce(jnp.add, terms)
    return image
