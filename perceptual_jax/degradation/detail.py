"""The effective resolution of a picture: the size at which its detail fills the pixels.

Most degraded faces are enlarged small pictures, 512 px that hold 60 px of detail. A search that
compares them pixel by pixel copies their blur; compared at the size of their detail, they constrain
what they know and leave the rest to the prior.

The radial power spectrum of luma is set beside that of sharp aligned faces,

    P(k) = contrast * natural(k) * MTF(k)^2 + noise,        k cycles per side,

and the detail ends where the modulation transfer function falls to 1/2 (MTF50, the usual measure of
sharpness), or where coloured noise, of which `noise` is only the white part, rises far above any
face. Two pixels are needed for each cycle, so the effective resolution is 2 k.

Source: ISO 12233 for MTF50; van der Schaaf and van Hateren, "Modelling the power spectra of natural
images", 1996, for the power law.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

NATURAL_LOG_POWER = 17.93
"""Log of the power at one cycle per side of a sharp face of 256 px, in squared levels of 255.

It and the slope are a fit to 60 faces; at other sizes it is scaled by the area."""

NATURAL_SLOPE = -3.13
"""Slope of log power over log frequency."""

_FIT_SIZE = 256
_LOWEST = 8
"""Lowest frequency at which detail may end, in cycles per side: below, faces differ too much."""

_EXCESS = 2.0
"""Log of the ratio to a face's power above which there is noise: five deviations between faces."""


class Detail(NamedTuple):
    """What `measure_detail` finds."""

    size: int
    """Effective resolution in pixels of a side, at most that of the picture."""
    noise: float
    """Standard deviation of the white noise in luma, in levels of 255; at least that of rounding.
    Fine texture of sharp pictures counts as noise."""
    contrast: float = 0.0
    """Log of the power of large structures beside that of a face of the usual contrast, whose mean
    is about -0.4 and whose deviation 0.4."""


def measure_detail(pixels: UInt8[np.ndarray, "h h 3"]) -> Detail:
    """Estimates effective resolution and noise of an aligned face.

    Args:
        pixels: A square picture of a face in FFHQ framing.

    Returns:
        The estimate; a picture of less than 32 px, or without contrast, counts as sharp.
    """
    side = pixels.shape[0]
    rounding = 1 / 12
    if side < 2 * _LOWEST + 16:
        return Detail(side, rounding**0.5)
    luma = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    power = radial_power(luma)
    noise = max(float(np.median(power[int(0.85 * len(power)) :])), rounding)
    frequencies = np.arange(1, len(power) + 1)
    natural = np.exp(
        NATURAL_LOG_POWER + 2 * np.log(side / _FIT_SIZE) + NATURAL_SLOPE * np.log(frequencies)
    )
    contrast = float(np.mean(np.log(np.maximum(power[2:8], rounding) / natural[2:8])))
    signal = _smooth(np.maximum(power - noise, 0) / natural)
    total = _smooth(power / natural)
    # A picture of more contrast than most faces is not blurred because of it.
    blurred = signal < np.exp(min(contrast, 0.0)) / 4
    noisy = total > np.exp(contrast + _EXCESS)
    ends = np.flatnonzero((blurred | noisy) & (frequencies >= _LOWEST))
    size = side if contrast < -8 or not len(ends) else 2 * int(frequencies[ends[0]])
    return Detail(min(size, side), noise**0.5, contrast)


def radial_power(plane: Float[np.ndarray, "h h"]) -> Float[np.ndarray, " f"]:
    """Mean power over rings of frequency, from 1 cycle per side to just below half the side.

    The plane is windowed, since its borders do not match. White noise of variance v has power v.
    """
    side = plane.shape[0]
    window = np.hanning(side + 2)[1:-1]
    weights = np.outer(window, window)
    centred = (plane - np.average(plane, weights=weights)) * weights
    power = np.abs(np.fft.fft2(centred)) ** 2 / np.sum(weights**2)
    cycles = np.fft.fftfreq(side) * side
    rings = np.rint(np.hypot(cycles[:, None], cycles[None, :])).astype(int).ravel()
    means = np.bincount(rings, power.ravel()) / np.bincount(rings)
    return means[1 : side // 2]


def _smooth(values: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """Means over a third of an octave about each frequency, counted from 1."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    frequencies = np.arange(1, len(values) + 1)
    low = np.maximum(np.floor(frequencies * 0.87).astype(int), 1) - 1
    high = np.minimum(np.ceil(frequencies * 1.15).astype(int), len(values))
    return (sums[high] - sums[low]) / (high - low)
