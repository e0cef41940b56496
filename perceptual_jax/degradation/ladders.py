"""Ladders of distortions: one picture at five levels of damage, whose order of quality is known.

Nobody has to rate them: more blur is worse than less. A quality network is trained to rank the
rungs of such ladders, and its ranking of other ladders is measured.

Source: Liu, van de Weijer, Bagdanov, "RankIQA", ICCV 2017, Section 3.1; kinds and five levels as
they have them for TID2013, the levels are ours.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.degradation import kernels
from perceptual_jax.degradation.corruptions import (
    gaussian_noise,
    jpeg,
    jpeg2000,
    resize,
    webp,
)

LEVELS = 5
"""Distorted rungs of each ladder."""

Picture = UInt8[np.ndarray, "h w 3"]


class Distortion(NamedTuple):
    """A kind of damage and its levels."""

    apply: Callable[[Picture, float, np.random.Generator], Picture]
    """The function (picture, level, generator) -> distorted picture."""
    levels: tuple[float, float, float, float, float]
    """From the faintest to the strongest."""
    unit: str
    """Meaning of a level."""


def ladder(
    image: Picture, distortion: Distortion, *, seed: int = 0
) -> UInt8[np.ndarray, "rungs h w 3"]:
    """The picture itself, and distorted at each level: six rungs, from the best to the worst.

    Args:
        image: Picture with little damage of its own, of at least 32 x 32 pixels.
        distortion: One of `TRAINED` or `UNSEEN`.
        seed: Seed of the noise, another for each rung.

    Example:
        >>> ladder(np.zeros((48, 32, 3), np.uint8), TRAINED["jpeg"]).shape
        (6, 48, 32, 3)
    """
    rngs = np.random.default_rng(seed).spawn(LEVELS)
    rungs = zip(distortion.levels, rngs, strict=True)
    return np.stack([image, *(distortion.apply(image, level, rng) for level, rng in rungs)])


def _blur(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    return kernels.convolve(image, kernels.gaussian(sigma, sigma, 0.0))


def _noise(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    return gaussian_noise(image, rng, sigma=sigma, channels="colour")


def _downscaled(image: Picture, factor: float, rng: np.random.Generator) -> Picture:
    height, width, _ = image.shape
    small = (max(round(height / factor), 1), max(round(width / factor), 1))
    return resize(resize(image, small, filter="area"), (height, width), filter="bicubic")


def _motion(image: Picture, length: float, rng: np.random.Generator) -> Picture:
    return kernels.convolve(image, kernels.motion(length, 30.0))


def _impulses(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    hit = rng.uniform(size=(*image.shape[:2], 1)) < share
    return np.where(hit, rng.choice(np.array([0, 255], np.uint8), size=hit.shape), image)


TRAINED: Mapping[str, Distortion] = {
    "blur": Distortion(_blur, (0.6, 1.2, 2.0, 3.5, 6.0), "standard deviation in pixels"),
    "noise": Distortion(_noise, (4.0, 9.0, 18.0, 35.0, 65.0), "standard deviation in levels"),
    "jpeg": Distortion(
        lambda x, quality, rng: jpeg(x, quality=int(quality), subsampling="4:2:0").image,
        (60.0, 30.0, 15.0, 8.0, 3.0),
        "quality",
    ),
    "jpeg2000": Distortion(
        lambda x, rate, rng: jpeg2000(x, rate=rate), (15.0, 35.0, 70.0, 130.0, 240.0), "compression"
    ),
    "downscale": Distortion(_downscaled, (1.5, 2.0, 3.0, 5.0, 8.0), "factor, then enlarged"),
}
"""The distortions that a quality network is trained on, by name."""

UNSEEN: Mapping[str, Distortion] = {
    "webp": Distortion(
        lambda x, quality, rng: webp(x, quality=int(quality)),
        (60.0, 30.0, 15.0, 5.0, 0.0),
        "quality",
    ),
    "motion": Distortion(_motion, (2.0, 4.0, 8.0, 14.0, 24.0), "length in pixels"),
    "impulses": Distortion(_impulses, (0.003, 0.01, 0.03, 0.08, 0.2), "share of pixels"),
}
"""Distortions that it is not trained on, to measure how far its ranking carries over."""
