"""Degraded images made from clean ones, on the host, in 8 bits as files hold them.

The functions below are the single operations; `profiles` chains them. A kind is a name and a
level, such as `sr32` or `jpeg10`, for the simplest uses; `KINDS` is the table of names.
"""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter, features

from perceptual_jax.degradation.jpeg import read_header
from perceptual_jax.degradation.resampling import resample_matrix
from perceptual_jax.types import JpegHeader


class Kind(NamedTuple):
    """A degradation that is named in `KINDS`."""

    apply: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    """The function (image, level, generator) -> degraded image."""
    lowest: int
    """Smallest valid level."""
    highest: int
    """Largest valid level."""
    level: str
    """Meaning of the level, the number after the name."""


def degrade(
    image: UInt8[np.ndarray, "h w 3"], kind: str, *, seed: int = 0
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image as it would be after a degradation.

    Args:
        image: Clean image.
        kind: A name of `KINDS` and its level, such as `sr32`.
        seed: Seed of the noise; the same seed gives the same image.

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
    return jpeg(image, quality=quality, subsampling="4:2:0").image


def _blur(image: np.ndarray, sigma: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, as three box blurs."""
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _noise(image: np.ndarray, sigma: int, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise, independent in every channel."""
    return _to_levels(image + rng.normal(scale=sigma, size=image.shape))


Picture = UInt8[np.ndarray, "h w 3"]

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters, antialiased where they reduce."""


class JpegFile(NamedTuple):
    """A picture as a JPEG file holds it."""

    image: Picture
    """The decoded picture."""
    header: JpegHeader
    encoded: bytes
    """The file's content."""


def jpeg(image: Picture, *, quality: int, subsampling: str, progressive: bool = False) -> JpegFile:
    """Encodes as JPEG and decodes; the file is part of the result.

    Args:
        image: Image of any size that a JPEG can have.
        quality: libjpeg's quality, 1 to 100.
        subsampling: Subsampling of chroma: 4:4:4, 4:2:2 or 4:2:0.
        progressive: Whether the file is a progressive JPEG; the pixels are the same.

    Raises:
        ValueError: If the image is too large for the format.
        RuntimeError: If Pillow cannot read the header of its own file.
    """
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    file = _encode(image, "JPEG", **options)
    decoded = Image.open(file)
    header = read_header(decoded)
    if header is None:
        raise RuntimeError("this Pillow wrote a JPEG whose header it cannot read")
    return JpegFile(np.array(decoded), header, file.getvalue())


def jpeg2000(image: Picture, *, rate: float) -> Picture:
    """Encodes as JPEG 2000, `rate` times smaller than the pixels, and decodes."""
    options = {"quality_mode": "rates", "quality_layers": [rate], "irreversible": True}
    return _through(image, "JPEG2000", **options)


def jpeg2000_decibels(image: Picture, *, decibels: float) -> Picture:
    """Encodes as JPEG 2000 of about a given PSNR and decodes; smooth images get smaller files."""
    options = {"quality_mode": "dB", "quality_layers": [decibels], "irreversible": True}
    return _through(image, "JPEG2000", **options)


def webp(image: Picture, *, quality: int) -> Picture:
    """Encodes as lossy WebP and decodes.

    Raises:
        ValueError: If the image is too large for the format.
    """
    return _through(image, "WEBP", quality=quality)


def avif(image: Picture, *, quality: int) -> Picture:
    """Encodes as AVIF and decodes.

    Raises:
        ValueError: If this Pillow was built without AVIF, or the image is too large for it.
    """
    if not features.check("avif"):
        raise ValueError("this Pillow cannot write AVIF; install one that can or leave avif out")
    return _through(image, "AVIF", quality=quality, speed=8)


_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768}
"""Largest side in pixels that a format can store, or for AVIF that its decoder reads."""


def _through(image: Picture, format: str, **options: Any) -> Picture:
    return np.array(Image.open(_encode(image, format, **options)).convert("RGB"))


def _encode(image: Picture, format: str, **options: Any) -> io.BytesIO:
    height, width, _ = image.shape
    limit = _LONGEST_SIDE.get(format)
    # Checked here, because every codec raises a different error for it.
    if limit is not None and max(height, width) > limit:
        raise ValueError(
            f"the image is too large: {format} holds sides of up to {limit} pixels, "
            f"got {width} x {height}"
        )
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file


def resize(image: Picture, size: tuple[int, int], *, filter: str) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image resampled to (height, width) by one of `FILTERS`."""
    return np.array(Image.fromarray(image).resize((size[1], size[0]), FILTERS[filter]))


def gaussian_noise(
    image: Picture, rng: np.random.Generator, *, sigma: float, channels: str
) -> Picture:
    """White noise of `sigma` levels, the same in all channels if these are `grey`."""
    shape = (*image.shape[:2], 1 if channels == "grey" else 3)
    return _to_levels(image + rng.normal(scale=sigma, size=shape))


def poisson_noise(
    image: Picture, rng: np.random.Generator, *, scale: float, channels: str
) -> Picture:
    """Shot noise, of scale^2 times the variance of 255 photons at white."""
    photons = image.astype(np.float64)
    if channels == "grey":
        photons = photons @ np.array([[0.299], [0.587], [0.114]])
    return _to_levels(image + scale * (rng.poisson(photons) - photons))


def fade(image: Picture, *, contrast: float, saturation: float, warmth: float) -> Picture:
    """Faded colours: less contrast around a light grey, less saturation, a yellow cast.

    Args:
        image: Image of any size.
        contrast: Fraction of the contrast that remains.
        saturation: Fraction of the saturation that remains.
        warmth: Levels that red gains and blue loses.
    """
    grey = image @ np.array([[0.299], [0.587], [0.114]])
    colour = grey + saturation * (image - grey)
    return _to_levels(150 + contrast * (colour - 150) + warmth * np.array([1.0, 0.3, -1.0]))


def shift_colours(image: Picture, rng: np.random.Generator, *, amount: float) -> Picture:
    """Adds to every channel an independent uniform draw from -amount to amount, in levels."""
    return _to_levels(image + rng.uniform(-amount, amount, size=3))


def grey(image: Picture) -> Picture:
    """Luma in all channels."""
    return _to_levels(np.repeat(image @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2))


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


KINDS: dict[str, Kind] = {
    "sr": Kind(_downscale, 1, 4096, "pixels of the longer side"),
    "jpeg": Kind(_jpeg, 1, 100, "JPEG quality"),
    "blur": Kind(_blur, 1, 100, "standard deviation in pixels"),
    "noise": Kind(_noise, 1, 255, "standard deviation in levels of 255"),
}
"""Every named degradation, by the name before its level."""
