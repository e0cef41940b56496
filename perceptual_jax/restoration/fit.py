"""How well a restored image degrades to the given one, whatever terms the search minimised."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.restoration.data_terms.blurred import BlurredL2
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.types import Fit, Given


def fit_of(
    pixels: DownscaleL2 | BlurredL2,
    likelihood: Likelihood | None,
    given: Given,
    image: Float[Array, "r r 3"],
) -> Fit:
    """Consistency, the fitted damage, and the likelihood's map over the degraded image.

    Args:
        pixels: The data term that compares the image with the given one, with or without a blur.
        likelihood: A learned likelihood, evaluated here at all pixels and without tempering; None
            leaves out the map.
        given: The degraded image.
        image: The restored image, in [-1, 1].
    """
    resolution = image.shape[0]
    if isinstance(pixels, BlurredL2):
        blur, noise = pixels.fitted(pixels.prepare(given, resolution), image)
        return Fit(-20 * jnp.log10(noise), None, blur, 255 * noise)
    mse, _ = pixels.evaluate(pixels.prepare(given, resolution), image)
    psnr = -10 * jnp.log10(mse)
    if likelihood is None:
        return Fit(psnr, None)
    whole = dataclasses.replace(likelihood, every=1, min_log_scale=None)
    return Fit(psnr, whole.evaluate(whole.prepare(given, resolution), image)[1])
