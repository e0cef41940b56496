"""Degraded images made from clean ones, on the host, in 8 bits as files hold them.

A kind is a name and a level, such as `sr32` or `jpeg10`; `KINDS` is the table of names.
"""

import io
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from perceptual_jax.degradation.consistency import resample_matrix


class Kind(NamedTuple):
    """One way to degrade."""

    apply: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    """(image, level, generator) -> degraded image."""
    lowest: int
    highest: int
    level: str
    """What the number after the name means."""


def degrade(
    image: UInt8[np.ndarray, "h w 3"], kind: str, *, seed: int = 0
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image as it would be after a degradation.

    Args:
        image: Clean image.
        kind: A name of `KINDS` and its level, such as `sr32`.
        seed: Of what is random; the same seed gives the same image.

    Raises:
        ValueError: If there is no such kind, or an image is too small for it.

    Example:
        >>> degrade(np.zeros((64, 64, 3), np.uint8), "sr16").shape
        (16, 16, 3)
    """
    entry, level = find_kind(kind)
    return entry.apply(image, level, np.random.default_rng(seed))


def find_kind(kind: str) -> tuple[Kind, int]:
    """A kind of `KINDS` and its level, from a name such as `sr32`.

    Raises:
        ValueError: If there is no such kind, or the level is out of its range.

    Example:
        >>> find_kind("jpeg10")[1]
        10
    """
    match = re.fullmatch(r"([a-z]+)(\d{1,9})", kind, re.ASCII)
    entry = KINDS.get(match[1]) if match else None
    if match is None or entry is None or not entry.lowest <= int(match[2]) <= entry.highest:
        raise ValueError(f"kind must be one of {_valid_forms()}; got {kind!r}")
    return entry, int(match[2])


def _valid_forms() -> str:
    return ", ".join(
        f"{name}N (N = {kind.level}, {kind.lowest} to {kind.highest})"
        for name, kind in KINDS.items()
    )


def _downscale(image: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """PULSE's bicubic downscale of the longer side to `pixels`."""
    height, width, _ = image.shape
    longer = max(height, width)
    if pixels > longer:
        raise ValueError(f"sr{pixels} needs an image of at least {pixels} pixels, got {longer}")
    size = [max(round(side * pixels / longer), 1) for side in (height, width)]
    rows = resample_matrix(height, size[0], filter="bicubic")
    columns = resample_matrix(width, size[1], filter="bicubic")
    return _to_levels(np.einsum("ah,bw,hwc->abc", rows, columns, image, optimize=True))


def _jpeg(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """JPEG with the usual tables and colour at half resolution."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file))


def _blur(image: np.ndarray, sigma: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, as three box blurs."""
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _noise(image: np.ndarray, sigma: int, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise, independent in every channel."""
    return _to_levels(image + rng.normal(scale=sigma, size=image.shape))


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


KINDS: dict[str, Kind] = {
    "sr": Kind(_downscale, 1, 4096, "pixels of the longer side"),
    "jpeg": Kind(_jpeg, 1, 100, "JPEG quality"),
    "blur": Kind(_blur, 1, 100, "standard deviation in pixels"),
    "noise": Kind(_noise, 1, 255, "standard deviation in levels of 255"),
}
"""Every kind by its name."""
