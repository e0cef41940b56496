"""The data terms of a search: how well a picture explains the degraded image.

    data   mean squared error of downscaled pictures, or the distance from a JPEG's box
    nll    bits/dim of the degraded image under a learned likelihood

The likelihood knows what a degradation does, but hardly sees the colour and the brightness of
large areas: these the degraded image's own pixels before it tell. So beside it stands the squared
error of small versions of both pictures.

A degraded image may fill a part of its array only, so that images of many sizes share one compiled
search (`resampling`): then pictures are reduced to the size of that part, and only there do terms
count.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from perceptual_jax.config import DataConfig, RestoreConfig
from perceptual_jax.degradation.jpeg import JpegHeader
from perceptual_jax.degradation.resampling import canvas_matrix, canvas_mean, resample, resize
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.pixelcnn import Context
from perceptual_jax.restoration.dct_box import DctBox
from perceptual_jax.restoration.downscale import DownscaleL2
from perceptual_jax.types import Fit


class Given(NamedTuple):
    """What is known of one degraded image."""

    image: Float[Array, "*n h w 3"]
    """In [-1, 1]."""
    header: JpegHeader
    """Of the JPEG that it comes from, as far as known."""
    side: Int[Array, "*n"] | None = None
    """Pixels of a side of the part, up and left, that is the image; the rest repeats its edge.
    None: all of it, and it need not be square."""


class Targets(NamedTuple):
    """What the terms compare a picture with; made once for a stage."""

    data: Any
    likelihood: Context | None
    to_data: Float[Array, "h r"] | None = None
    """Brings a picture to the part of the degraded image that is filled, for `data`."""
    to_likelihood: Float[Array, "h r"] | None = None
    """The same for the likelihood."""


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
    image, side, shape = given.image, given.side, (given.image.shape[0], resolution)
    term = pixel_term(given, likelihood, config, resolution)
    if isinstance(term, DctBox):
        to_data = None if side is None else canvas_matrix(resolution, side, shape, filter="area")
        return Targets(term.prepare(image, given.header), None, to_data)
    to_data = to_likelihood = None
    if side is None:
        data = term.prepare(image, resolution=resolution)
    elif (most := min(resolution, term.largest or resolution)) < shape[0]:
        # All images of such a canvas are larger than that, so they are all compared at one size.
        to_most = canvas_matrix(side, most, (most, shape[0]), filter=term.filter)
        data = resample(image, to_most, to_most)
    else:
        data = image
        to_data = canvas_matrix(resolution, side, shape, filter=term.filter)
    if not sees(given, likelihood, resolution):
        return Targets(data, None, to_data)
    assert likelihood is not None
    if side is not None:
        seen = config.data.condition_size or resolution
        shape = (shape[0], min(seen, resolution))
        to_likelihood = canvas_matrix(shape[1], side, shape, filter="area")
    return Targets(data, likelihood.prepare(image, given.header), to_data, to_likelihood)


def evaluate(
    targets: Targets,
    picture: Float[Array, "r r 3"],
    given: Given,
    likelihood: Likelihood | None,
    config: RestoreConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Both terms of a picture; `nll` is 0 where there is no likelihood."""
    term = pixel_term(given, likelihood, config, picture.shape[0])
    if targets.to_data is None:
        data, _ = term.evaluate(targets.data, picture)
    else:
        _, errors = term.evaluate(targets.data, resample(picture, targets.to_data, targets.to_data))
        data = canvas_mean(errors, _side(given))
        data = data if isinstance(term, DctBox) else jnp.maximum(data, term.floor)
    if likelihood is None or targets.likelihood is None:
        return data, jnp.zeros(())
    bits, where = bits_map(targets, picture, likelihood, config)
    if targets.to_likelihood is not None:
        bits = canvas_mean(where, _side(given), every=likelihood.every)
    return data, bits


def bits_map(
    targets: Targets, picture: Float[Array, "r r 3"], likelihood: Likelihood, config: RestoreConfig
) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
    """Bits/dim of the whole array of the degraded image, and of each of its pixels."""
    assert targets.likelihood is not None
    size = config.data.condition_size
    if size and size < picture.shape[0]:
        picture = resize(picture, (size, size))
    if targets.to_likelihood is not None:
        picture = resample(picture, targets.to_likelihood, targets.to_likelihood)
    return likelihood.evaluate(targets.likelihood, picture)


def fit_of(
    given: Given,
    picture: Float[Array, "r r 3"],
    likelihood: Likelihood | None,
    config: RestoreConfig,
) -> Fit:
    """How well a picture degrades to the given image, whatever the search was led by.

    The likelihood is taken of all pixels here, and as the network has it.
    """
    plain = RestoreConfig(data=DataConfig(downscale=config.data.downscale), degradation="l2")
    mse, _ = evaluate(prepare(given, None, plain, picture.shape[0]), picture, given, None, plain)
    psnr = -10 * jnp.log10(mse)
    if likelihood is None or not sees(given, likelihood, picture.shape[0]):
        return Fit(psnr, None)
    whole = dataclasses.replace(likelihood, every=1, min_log_scale=None)
    targets = prepare(given, whole, config, picture.shape[0])
    return Fit(psnr, bits_map(targets, picture, whole, config)[1])


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


def _side(given: Given) -> Int[Array, ""]:
    assert given.side is not None
    return given.side
