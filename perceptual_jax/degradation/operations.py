"""The operations that a profile can name, and the ranges of their parameters."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.degradation import corruptions, kernels
from perceptual_jax.io.images import MAX_PIXELS
from perceptual_jax.types import JpegHeader, unknown_header

Picture = UInt8[np.ndarray, "_ _ 3"]


class Run(NamedTuple):
    """An image on its way through a profile."""

    image: Picture
    header: JpegHeader
    """Header of the last JPEG, if no operation came after it; else unknown."""
    encoded: bytes | None
    """File of that JPEG; None if there is none."""
    size: tuple[int, int]
    """Height and width of the clean image."""
    rng: np.random.Generator


@dataclasses.dataclass(frozen=True)
class Parameter:
    """The valid values of a parameter: the numbers of a range, or one of several words."""

    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    words: tuple[str, ...] = ()
    default: Any = None
    """Value where a profile does not give one; None if it must."""

    def problem(self, value: Any) -> str | None:
        """What a profile's value should be, for an error message; None if it is valid."""
        if self.words:
            values = value if isinstance(value, list) else [value]
            fits = bool(values) and all(word in self.words for word in values)
            return None if fits else f"one or several of {', '.join(self.words)}"
        kinds = (int,) if self.whole else (int, float)
        values = value if isinstance(value, list) else [value, value]
        fits = (
            len(values) == 2
            and all(type(x) in kinds for x in values)
            and self.low <= values[0] <= values[1] <= self.high
        )
        noun = "whole number" if self.whole else "number"
        span = f"from {self.low:g} to {self.high:g}"
        return None if fits else f"a {noun} {span}, or [lowest, highest] of such"

    def draw(self, value: Any, rng: np.random.Generator) -> Any:
        """A random value of the range or the list that a profile gives."""
        if not isinstance(value, list):
            return value
        if self.words:
            return value[rng.integers(len(value))]
        if self.whole:
            return int(rng.integers(value[0], value[1] + 1))
        return float(rng.uniform(value[0], value[1]))


class Operation(NamedTuple):
    """A function of a run and of its parameters."""

    apply: Callable[..., Run]
    parameters: Mapping[str, Parameter]


def _changed(run: Run, image: Picture) -> Run:
    return run._replace(image=image, header=unknown_header(), encoded=None)


def _pure(function: Callable[..., Picture]) -> Callable[..., Run]:
    return lambda run, **parameters: _changed(run, function(run.image, **parameters))


def _random(function: Callable[..., Picture]) -> Callable[..., Run]:
    return lambda run, **parameters: _changed(run, function(run.image, run.rng, **parameters))


def _jpeg(run: Run, *, quality: int, subsampling: str) -> Run:
    file = corruptions.jpeg(run.image, quality=quality, subsampling=subsampling)
    return run._replace(**file._asdict())


def _blur(run: Run, *, sigma: float, ratio: float, angle: float, shape: float) -> Run:
    kernel = kernels.gaussian(sigma, sigma * ratio, angle, shape=shape)
    return _changed(run, kernels.convolve(run.image, kernel))


def _plateau(run: Run, *, sigma: float, ratio: float, angle: float, shape: float) -> Run:
    kernel = kernels.plateau(sigma, sigma * ratio, angle, shape=shape)
    return _changed(run, kernels.convolve(run.image, kernel))


def _motion(run: Run, *, length: float, angle: float) -> Run:
    return _changed(run, kernels.convolve(run.image, kernels.motion(length, angle)))


def _sinc(run: Run, *, cutoff: float) -> Run:
    return _changed(run, kernels.convolve(run.image, kernels.sinc(cutoff)))


def _resized(run: Run, size: tuple[float, float], filter: str) -> Run:
    height, width = (round(side) for side in size)
    if min(height, width) < 4:
        raise ValueError(
            f"the image is too small: it would become {width} x {height} pixels, "
            "at least 4 x 4 are needed"
        )
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"the image is too large: it would become {width} x {height} pixels, "
            f"at most {MAX_PIXELS:,} in all are allowed"
        )
    if (height, width) == run.image.shape[:2]:
        return run
    return _changed(run, corruptions.resize(run.image, (height, width), filter=filter))


def _resize(run: Run, *, scale: float, filter: str) -> Run:
    height, width, _ = run.image.shape
    return _resized(run, (height * scale, width * scale), filter)


def _resize_shorter(run: Run, *, side: int, filter: str) -> Run:
    height, width, _ = run.image.shape
    scale = side / min(height, width)
    return _resized(run, (height * scale, width * scale), filter)


def _resize_back(run: Run, *, filter: str) -> Run:
    return _resized(run, run.size, filter)


_QUALITY = Parameter(1, 100, whole=True)
_FILTER = Parameter(words=tuple(corruptions.FILTERS), default="bicubic")
_ANGLE = Parameter(-180, 180, default=0.0)
_RATIO = Parameter(0.01, 1, default=1.0)
_SIGMA = Parameter(0.05, 50)
_CHANNELS = Parameter(words=("colour", "grey"), default="colour")

OPERATIONS: dict[str, Operation] = {
    "jpeg": Operation(
        _jpeg,
        {
            "quality": _QUALITY,
            "subsampling": Parameter(words=("4:4:4", "4:2:2", "4:2:0"), default="4:2:0"),
        },
    ),
    "jpeg2000": Operation(_pure(corruptions.jpeg2000), {"rate": Parameter(1, 1000)}),
    "jpeg2000_decibels": Operation(
        _pure(corruptions.jpeg2000_decibels), {"decibels": Parameter(10, 60)}
    ),
    "webp": Operation(_pure(corruptions.webp), {"quality": _QUALITY}),
    "avif": Operation(_pure(corruptions.avif), {"quality": _QUALITY}),
    "blur": Operation(
        _blur,
        {
            "sigma": _SIGMA,
            "ratio": _RATIO,
            "angle": _ANGLE,
            "shape": Parameter(0.1, 10, default=1.0),
        },
    ),
    "plateau_blur": Operation(
        _plateau,
        {"sigma": _SIGMA, "ratio": _RATIO, "angle": _ANGLE, "shape": Parameter(0.1, 10)},
    ),
    "motion_blur": Operation(_motion, {"length": Parameter(1, 100), "angle": _ANGLE}),
    "sinc": Operation(_sinc, {"cutoff": Parameter(0.1, float(np.pi))}),
    "gaussian_noise": Operation(
        _random(corruptions.gaussian_noise), {"sigma": Parameter(0, 255), "channels": _CHANNELS}
    ),
    "poisson_noise": Operation(
        _random(corruptions.poisson_noise), {"scale": Parameter(0, 20), "channels": _CHANNELS}
    ),
    "resize": Operation(_resize, {"scale": Parameter(0.01, 16), "filter": _FILTER}),
    "resize_shorter": Operation(
        _resize_shorter, {"side": Parameter(4, 4096, whole=True), "filter": _FILTER}
    ),
    "resize_back": Operation(_resize_back, {"filter": _FILTER}),
    "fade": Operation(
        _pure(corruptions.fade),
        {
            "contrast": Parameter(0.1, 1, default=1.0),
            "saturation": Parameter(0, 1, default=1.0),
            "warmth": Parameter(-80, 80, default=0.0),
        },
    ),
    "shift_colours": Operation(_random(corruptions.shift_colours), {"amount": Parameter(0, 128)}),
    "grey": Operation(_pure(corruptions.grey), {}),
}
"""Every operation by its name in a profile."""
