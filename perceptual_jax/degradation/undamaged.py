"""Was a sharp face only scaled down, or is there noise, compression or resizing in its pixels?

The power of bands of 8x8 DCTs tells: texture is uneven over a face, noise is not; lossy coders take
high frequencies from smooth blocks and from chroma, also where a later resizing hides their grid.
The features of a picture are, for luma and both chromas and five bands,

    log of the 10 %, 50 % and 90 % quantile over blocks of the band's root mean square,

its size and its effective resolution. A logistic regression on them and their products, trained on
faces with and without damage, gives the log odds (`weights/README.md` has its errors).

Source: as in Mittal et al., "No-Reference Image Quality Assessment in the Spatial Domain", 2012,
statistics of natural pictures; here they decide between two kinds of damage only.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from jaxtyping import Float, UInt8

from perceptual_jax.degradation.detail import measure_detail
from perceptual_jax.degradation.jpeg_traces import block_coefficients, ycc_levels
from perceptual_jax.io.files import write_atomically

SIZES = (128, 256)
"""Sides in pixels of the pictures that it was trained on."""

SHIPPED = Path(__file__).parent / "weights" / "undamaged.safetensors"

_BANDS = ((2, 4), (5, 6), (7, 8), (9, 10), (11, 14))
"""First and last sum of the frequencies of each band."""

_QUANTILES = (0.1, 0.5, 0.9)

_FLOOR = 0.15
"""Root mean square in levels of 255 of a band that is empty but for rounding: less is not seen."""

SURE = 1.0
"""Log odds from which a picture counts as undamaged: a wrong yes costs more than a wrong no."""


class Regression(NamedTuple):
    """The log odds b + w z + z Q z of standardised features z."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    """The inverse of the standard deviation."""
    bias: Float[np.ndarray, ""]
    linear: Float[np.ndarray, " d"]
    quadratic: Float[np.ndarray, "d d"]


def is_undamaged(pixels: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether a sharp face was only scaled down to its size.

    Args:
        pixels: A face that is not blurred (see `detail`) and shows no JPEG's grid (see
            `jpeg_traces`). If it is not square, or of other sizes than `SIZES`, nothing is known,
            and the answer is no.
    """
    height, width, _ = pixels.shape
    if height != width or not SIZES[0] <= height <= SIZES[1]:
        return False
    return log_odds(load_regression(), features(pixels)) > SURE


def log_odds(regression: Regression, features: Float[np.ndarray, " d"]) -> float:
    """Log odds that the picture of these features is undamaged."""
    z = (features - regression.mean) * regression.scale
    return float(regression.bias + z @ regression.linear + z @ regression.quadratic @ z)


def features(pixels: UInt8[np.ndarray, "h h 3"]) -> Float[np.ndarray, " d"]:
    """What the regression sees of a picture: 47 numbers.

    Args:
        pixels: A square picture of at least 32 px a side.
    """
    planes = np.moveaxis(ycc_levels(pixels), -1, 0)
    found = [np.log(np.quantile(_band_sizes(plane), _QUANTILES, axis=1)) for plane in planes]
    side, detail = pixels.shape[0], measure_detail(pixels)
    return np.array([*np.ravel(found), np.log(side / SIZES[0]), detail.size / side])


def _band_sizes(plane: Float[np.ndarray, "h h"]) -> Float[np.ndarray, "bands n"]:
    """Root mean square of each band in each 8x8 block."""
    power = block_coefficients(plane) ** 2
    sums = np.add.outer(np.arange(8), np.arange(8))
    means = [power[:, (sums >= low) & (sums <= high)].mean(axis=1) for low, high in _BANDS]
    return np.sqrt(np.stack(means) + _FLOOR**2)


@functools.cache
def load_regression(path: Path = SHIPPED) -> Regression:
    """The regression in a file; without a path the one that comes with the package."""
    arrays = safetensors.numpy.load_file(path)
    return Regression(**{name: arrays[name].astype(np.float64) for name in Regression._fields})


def save_regression(path: Path, regression: Regression) -> None:
    """Writes a regression in half precision; `load_regression` reads it."""
    arrays = {name: np.asarray(x, np.float16) for name, x in regression._asdict().items()}
    write_atomically(path, safetensors.numpy.save(arrays))
