"""The data terms of a search: how well a picture explains the degraded image.

    data   mean squared error of downscaled pictures, or the distance from a JPEG's box
    nll    bits/dim of the degraded image under a learned likelihood

The likelihood knows what a degradation does, but hardly sees the colour and the brightness of
large areas: these the degraded image's own pixels before it tell. So beside it stands the squared
error of small versions of both pictures.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.config import RestoreConfig
from perceptual_jax.degradation.consistency import DownscaleL2
from perceptual_jax.degradation.dct_box import DctBox
from perceptual_jax.degradation.jpeg import JpegHeader
from perceptual_jax.degradation.likelihood import Likelihood
from perceptual_jax.degradation.pixelcnn import Context
from perceptual_jax.degradation.resizing import resize


class Given(NamedTuple):
    """What is known of one degraded image."""

    image: Float[Array, "*n h w 3"]
    """In [-1, 1]."""
    header: JpegHeader
    """Of the JPEG that it comes from, as far as known."""


class Targets(NamedTuple):
    """What the terms compare a picture with; made once for a stage."""

    data: Any
    likelihood: Context | None


def prepare(
    given: Given, likelihood: Likelihood | None, config: RestoreConfig, resolution: int
) -> Targets:
    """The targets of pictures of a resolution.

    Args:
        given: The degraded image.
        likelihood: None searches without one.
        config: Of the search.
        resolution: Of the pictures to come.
    """
    term = pixel_term(given, likelihood, config, resolution)
    if isinstance(term, DctBox):
        return Targets(term.prepare(given.image, given.header), None)
    data = term.prepare(given.image, resolution=resolution)
    if not sees(given, likelihood, resolution):
        return Targets(data, None)
    assert likelihood is not None
    return Targets(data, likelihood.prepare(given.image, given.header))


def evaluate(
    targets: Targets,
    picture: Float[Array, "r r 3"],
    given: Given,
    likelihood: Likelihood | None,
    config: RestoreConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Both terms of a picture; `nll` is 0 where there is no likelihood."""
    term = pixel_term(given, likelihood, config, picture.shape[0])
    data, _ = term.evaluate(targets.data, picture)
    if likelihood is None or targets.likelihood is None:
        return data, jnp.zeros(())
    size = config.data.condition_size
    if size and size < picture.shape[0]:
        picture = resize(picture, (size, size))
    bits, _ = likelihood.evaluate(targets.likelihood, picture)
    return data, bits


def sees(given: Given, likelihood: Likelihood | None, resolution: int) -> bool:
    """Whether pictures of a resolution are sharp enough for the likelihood.

    A draft smaller than the degraded image lacks what it looks at.
    """
    return likelihood is not None and resolution >= max(given.image.shape[-3:-1])


def pixel_term(
    given: Given, likelihood: Likelihood | None, config: RestoreConfig, resolution: int
) -> DownscaleL2 | DctBox:
    """The term on pixels: the box where it is asked for and the picture is large enough."""
    data = config.data
    if config.degradation == "dct_box" and resolution >= max(given.image.shape[-3:-1]):
        return DctBox()
    largest = data.low_size if sees(given, likelihood, resolution) else None
    return DownscaleL2(filter=data.downscale, floor=data.floor, largest=largest)
