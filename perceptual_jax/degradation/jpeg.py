"""The header of a JPEG: its quantisation tables, its subsampling and the phase of its grid.

The grid of blocks need not begin at the image's first pixel: a crop of a decoded JPEG keeps the
phase of the grid, and 16 pixels hold every grid (8 for luma, 16 for chroma at half resolution).

Source: ITU-T T.81 and the JFIF specification; libjpeg's tables.
"""

import numpy as np
from jaxtyping import Array, Float
from PIL import Image, JpegImagePlugin

from perceptual_jax.types import JpegHeader

GRID = 16
"""Pixels after which any JPEG's grid repeats."""

SAMPLINGS = ((1, 1), (1, 2), (2, 2))
"""Rows and columns that one sample of chroma covers, by the header's number of subsampling."""

_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
72 92 95 98 112 100 103 99
"""
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))


def standard_tables(quality: int) -> Float[np.ndarray, "2 8 8"]:
    """The tables that libjpeg, and so nearly every program, writes at a quality.

    Args:
        quality: 1 to 100.

    Raises:
        ValueError: If the quality is out of its range.

    Example:
        >>> standard_tables(50)[:, 0, :3]
        array([[16., 11., 10.],
               [17., 18., 24.]], dtype=float32)
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma = np.array(_LUMA.split(), np.int64).reshape(8, 8)
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = _CHROMA_CORNER
    return np.clip((np.stack([luma, chroma]) * percent + 50) // 100, 1, 255).astype(np.float32)


def quality_of(tables: Float[np.ndarray | Array, "2 8 8"]) -> int:
    """The quality whose standard tables are nearest, by the mean ratio of steps.

    Example:
        >>> quality_of(standard_tables(37))
        37
    """
    steps = np.log(np.maximum(np.asarray(tables), 1))
    distances = [np.abs(np.log(standard_tables(q)) - steps).mean() for q in range(1, 101)]
    return int(np.argmin(distances)) + 1


def read_header(image: Image.Image) -> JpegHeader | None:
    """The header of a JPEG as Pillow opened it; None for another format, CMYK or stored RGB.

    Args:
        image: The image that `PIL.Image.open` returned: a converted copy has lost its tables. The
            phase is that of the picture as stored; rotating it upright moves the grid.
    """
    tables = getattr(image, "quantization", None)
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not tables:
        return None
    if image.mode not in ("RGB", "L") or _holds_rgb(image):
        return None
    subsampling = JpegImagePlugin.get_sampling(image)
    # The file says which table each component uses; Cb and Cr share one.
    luma = chroma = tables[image.layer[0][3]]
    if image.mode == "L":
        subsampling = 0
    else:
        chroma = tables[image.layer[1][3]]
    both = np.stack([np.reshape(t, (8, 8)) for t in (luma, chroma)]).astype(np.float32)
    return JpegHeader(both, np.asarray(subsampling, np.int32), np.zeros(2, np.int32))


def _holds_rgb(image: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether the file's planes are red, green and blue; decided as libjpeg does."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return len(image.layer) == 3 and image.info["adobe_transform"] == 0
    return [component[0] for component in image.layer] == list(b"RGB")
