"""Full-reference metrics: the similarity of two images in [-1, 1].

Each function takes one pair and returns one number; `jax.vmap` makes the batch. A restoration can
differ from the original and still be consistent with the degraded image, so these numbers measure
fidelity, not naturalness.

They are implemented here, because dm_pix would add chex for three formulas. The values are those
of dm_pix 0.4.5 and, to 1e-6, of scikit-image 0.26 with Wang's Gaussian window, in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_WINDOW = 11
_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


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
    _require_size("ssim", a, _WINDOW)
    luminance, structure = _similarities((a + 1) / 2, (b + 1) / 2)
    return jnp.mean(luminance * structure)


@jax.jit
def ms_ssim(a: Float[Array, "h w c"], b: Float[Array, "h w c"]) -> Float[Array, ""]:
    """Multi-scale structural similarity, in [0, 1], the mean over channels; higher is more similar.

    The contrast and structure of five scales, each half the size of the one before (means of
    2 x 2 pixels; an odd last row or column is left out), and the luminance of the last:

        prod_{j<5} max(structure_j, 0)^{w_j}  max(mean(luminance structure)_5, 0)^{w_5}

    Args:
        a: Image in [-1, 1] of at least 176 x 176 pixels.
        b: Image in [-1, 1].

    Raises:
        ValueError: If the images are too small for five scales.

    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality
    assessment", Asilomar 2003; negative similarities are 0, as in TensorFlow's `ssim_multiscale`.

    Example:
        >>> image = jnp.linspace(-1, 1, 176 * 176 * 3).reshape(176, 176, 3)
        >>> round(float(ms_ssim(image, image)), 5)
        1.0
    """
    _require_size("ms_ssim", a, _WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1))
    a, b = (a + 1) / 2, (b + 1) / 2
    product = jnp.ones(a.shape[2], a.dtype)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        luminance, structure = _similarities(a, b)
        last = scale == len(_SCALE_WEIGHTS) - 1
        value = jnp.mean(luminance * structure if last else structure, axis=(0, 1))
        product *= jnp.maximum(value, 0) ** weight
    return jnp.mean(product)


def _require_size(name: str, image: Float[Array, "h w c"], size: int) -> None:
    if min(image.shape[:2]) < size:
        raise ValueError(
            f"{name} needs images of at least {size} x {size} pixels, "
            f"got {image.shape[0]} x {image.shape[1]}"
        )


def _similarities(
    a: Float[Array, "h w c"], b: Float[Array, "h w c"]
) -> tuple[Float[Array, "h-10 w-10 c"], Float[Array, "h-10 w-10 c"]]:
    """Luminance, and contrast times structure, of each window of images in [0, 1]."""
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _window_means(a), _window_means(b)
    var_a = _window_means(a * a) - mean_a**2
    var_b = _window_means(b * b) - mean_b**2
    covariance = _window_means(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (var_a + var_b + c2)


def _halved(image: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    height, width, channels = (n // 2 * 2 if i < 2 else n for i, n in enumerate(image.shape))
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, channels)
    return jnp.mean(blocks, axis=(1, 3))


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
