"""Colours of a restored face beside those of its photograph: tone curve, low frequencies, grain.

    monochrome photograph    the face's luma, through the photograph's own curve from luma to colour
    any                      face + G(photograph - face), where G keeps the low frequencies alone
    on request               noise of the photograph's level, since a generator's faces have none

All levels are from 0 to 255; luma and chroma are those of BT.601, as in JPEG.
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from perceptual_jax.degradation.resampling import resample_matrix

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BLUE, _RED = 1.772, 1.402

BINS = 16
MONOCHROME = 3.0
"""Standard deviation of the chroma around the tone curve below which a photograph is monochrome:
grey and sepia prints have 0 to 2.6, photographs in colour more than 4."""
_SEEN = 512
"""Side in pixels at which a photograph's colours are looked at: its grain is averaged out."""

_FACE = 64
"""The same for a face."""

SIGMA = 1 / 16
"""Width of the Gaussian of the low frequencies, as a fraction of the face's side."""
_LOW = 256
"""Side in pixels at which low frequencies are computed."""

Curve = Float32[np.ndarray, "256 2"]
"""Blue and red chroma for each level of luma."""


def luma(
    image: Float[np.ndarray, "*shape 3"] | UInt8[np.ndarray, "*shape 3"],
) -> Float32[np.ndarray, "*shape"]:
    """The luma of a picture."""
    return image.astype(np.float32) @ LUMA


def tone_curve(photograph: UInt8[np.ndarray, "h w 3"]) -> Curve | None:
    """The curve from luma to chroma of a monochrome photograph; None for one in colour.

    The chroma's mean in each of 16 bins of luma is the curve. The photograph is monochrome if the
    standard deviation around it is below `MONOCHROME`.

    Example:
        >>> grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        >>> float(np.abs(tone_curve(grey)).max()) < 1e-3
        True
    """
    image = Image.fromarray(photograph)
    image.thumbnail((_SEEN, _SEEN), Image.Resampling.BOX)
    pixels = np.asarray(image, np.float32).reshape(-1, 3)
    level = luma(pixels)
    chroma = np.stack([(pixels[:, i] - level) for i in (2, 0)], axis=1) / (_BLUE, _RED)
    bins = np.minimum(level * BINS / 256, BINS - 1).astype(int)
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0
    centres = np.bincount(bins, level, BINS)[used] / counts[used]
    means = [np.bincount(bins, chroma[:, i], BINS)[used] / counts[used] for i in (0, 1)]
    fitted = np.stack([np.interp(level, centres, mean) for mean in means], axis=1)
    if np.sqrt(np.mean((chroma - fitted) ** 2)) >= MONOCHROME:
        return None
    levels = np.arange(256)
    curve = np.stack([np.interp(levels, centres, mean) for mean in means], axis=1)
    return curve.astype(np.float32)


def follows(crop: UInt8[np.ndarray, "n n 3"], curve: Curve) -> bool:
    """Whether the face in a crop has the chroma of a tone curve.

    A small face with rosy cheeks hardly counts in a faded photograph, but it is not monochrome.

    Args:
        crop: A face in FFHQ's framing, of which the middle is looked at.
        curve: The curve of the whole photograph.
    """
    size = min(_FACE, len(crop))
    pixels = resized(crop.astype(np.float32), size)[
        size // 4 : -(size // 5), size * 3 // 10 : -(size * 3 // 10)
    ]
    level = luma(pixels)
    chroma = np.stack([pixels[..., i] - level for i in (2, 0)], axis=-1) / (_BLUE, _RED)
    fitted = np.stack([np.interp(level, np.arange(256), curve[:, i]) for i in (0, 1)], axis=-1)
    return bool(np.sqrt(np.mean((chroma - fitted) ** 2)) < MONOCHROME)


def toned(image: Float[np.ndarray, "h w 3"], curve: Curve) -> Float32[np.ndarray, "h w 3"]:
    """A picture in the tones of a monochrome photograph: its luma with the curve's chroma."""
    level = luma(image)
    blue, red = (np.interp(level, np.arange(256), curve[:, i]) for i in (0, 1))
    red, blue = _RED * red, _BLUE * blue
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]  # so that the luma stays
    shown = level[:, :, None] + np.stack([red, green, blue], axis=-1)
    return np.clip(shown, 0, 255).astype(np.float32)


def with_low_frequencies(
    face: Float[np.ndarray, "n n 3"], crop: Float[np.ndarray, "m m 3"]
) -> Float32[np.ndarray, "n n 3"]:
    """The face with the low frequencies of the photograph: face + G(crop - face).

    Args:
        face: The restored face.
        crop: The photograph in the same frame, of any size.
    """
    difference = resized(crop, _LOW) - resized(face, _LOW)
    sigma = SIGMA * _LOW
    low = gaussian_filter(difference, (sigma, sigma, 0), mode="reflect")
    # Straight lines between the means of blocks would show as facets; a cubic has none.
    up = resample_matrix(_LOW, len(face), filter="bicubic").astype(np.float32)
    low = np.einsum("ah,bw,hwc->abc", up, up, low.astype(np.float32), optimize=True)
    return face.astype(np.float32) + low


def resized(image: Float[np.ndarray, "n n 3"], size: int) -> Float32[np.ndarray, "m m 3"]:
    """A square picture at another size: areas averaged where it shrinks, else bicubic."""
    if len(image) == size:
        return image.astype(np.float32)
    how = "area" if size < len(image) else "bicubic"
    matrix = resample_matrix(len(image), size, filter=how).astype(np.float32)
    return np.einsum(
        "ah,bw,hwc->abc", matrix, matrix, image.astype(np.float32), optimize=True
    ).astype(np.float32)


def noise_level(image: Float[np.ndarray, "h w 3"]) -> float:
    """The standard deviation of white noise in a picture's luma, in levels.

    The median of the finest diagonal differences, which few edges reach, over that of a normal
    distribution.

    Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994.
    """
    level = luma(image)
    height, width = (2 * (n // 2) for n in level.shape)
    if not height or not width:
        return 0.0
    a, b = level[:height:2, :width:2], level[:height:2, 1:width:2]
    c, d = level[1:height:2, :width:2], level[1:height:2, 1:width:2]
    return float(np.median(np.abs(a - b - c + d) / 2) / 0.6745)


def grain(
    face: Float[np.ndarray, "n n 3"],
    crop: Float[np.ndarray, "m m 3"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "n n 3"]:
    """Noise that the photograph has and the face lacks, in luma, to be added to the face.

    It is drawn on the pixels of the photograph, so that its grains have their size.

    Args:
        face: The restored face.
        crop: The photograph in the same frame, at its own resolution.
        rng: Draws the noise.
    """
    lacking = noise_level(crop) ** 2 - noise_level(resized(face, len(crop))) ** 2
    drawn = rng.normal(0, np.sqrt(max(lacking, 0.0)), crop.shape[:2]).astype(np.float32)
    return resized(np.repeat(drawn[:, :, None], 3, axis=2), len(face))
