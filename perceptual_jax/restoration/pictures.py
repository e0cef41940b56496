"""An input on its way into a search: read, checked, reduced, and given its key."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8

from perceptual_jax.config import MIN_SIZE
from perceptual_jax.degradation.resampling import resample_matrix
from perceptual_jax.io.images import ImageError, read_image
from perceptual_jax.io.inputs import Input
from perceptual_jax.restoration.degradations import Look, look_at


class Picture(NamedTuple):
    """An input that was read."""

    input: Input
    sha256: str
    """Of the file."""
    size: tuple[int, int]
    """Width and height in the file, in pixels."""
    pixels: UInt8[np.ndarray, "h w 3"]
    """What is restored: reduced if the file's picture is too large."""
    content: int
    """Of the pixels, see `content_of`."""
    look: Look
    """What the file's header says of how it degraded."""


def input_sha256(source: Input) -> str | None:
    """SHA-256 of an input's bytes; None if they cannot be read."""
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError:
        return None


def read_picture(source: Input, *, max_size: int, degradation: str = "auto") -> Picture:
    """Reads an input; a picture above `max_size` pixels is reduced to it by averaging areas.

    Raises:
        ImageError: If it cannot be read, is not square, or is smaller than 4 pixels.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(f"cannot read {source.path}: {reason}") from error
    pixels = read_image(source.path, data=data)
    height, width, _ = pixels.shape
    if height != width:
        raise ImageError(
            f"expected a square aligned face crop, got {width}x{height}; crop it first"
        )
    if width < MIN_SIZE:
        raise ImageError(f"expected at least {MIN_SIZE}x{MIN_SIZE} pixels, got {width}x{height}")
    if width > max_size:
        mean = resample_matrix(width, max_size, filter="area")
        pixels = np.einsum("ah,bw,hwc->abc", mean, mean, pixels, optimize=True)
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    look = look_at(source, degradation, max_size=max_size, data=data)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(source, digest, (width, height), pixels, content_of(pixels), look)


def canvas_of(side: int) -> int:
    """Pixels of a side of the array that holds a picture: few sizes for all pictures.

    Where a draft, or the size at which pictures are compared, is larger than the picture, so it is
    than its canvas, for both are powers of 2.

    Example:
        >>> [canvas_of(side) for side in (4, 30, 32, 100, 129, 250, 256, 600)]
        [8, 32, 32, 128, 160, 256, 256, 640]
    """
    if side <= 128:
        return max(8, 2 ** (side - 1).bit_length())
    step = 32 if side <= 256 else 128
    return -(-side // step) * step


def on_canvas(pixels: UInt8[np.ndarray, "h h 3"]) -> UInt8[np.ndarray, "c c 3"]:
    """A picture in the upper left of its canvas, its edge repeated over the rest."""
    more = canvas_of(pixels.shape[0]) - pixels.shape[0]
    return np.pad(pixels, ((0, more), (0, more), (0, 0)), mode="edge")


def content_of(pixels: UInt8[np.ndarray, "h w 3"]) -> int:
    """Stands for a picture's content: the first 4 bytes of SHA-256("HEIGHT WIDTH " + pixels)."""
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).digest()
    return int.from_bytes(digest[:4], "little")


def restoration_keys(
    contents: Sequence[int], samples: Sequence[int], *, seed: int
) -> Key[Array, " n"]:
    """The keys of restorations: matters of the picture's content, the seed and the sample.

        fold_in(fold_in(key(seed), content), sample)

    So a result depends neither on the picture's name nor on what else is in its job.

    Args:
        contents: Of each restoration's picture, from `content_of`.
        samples: Its number among those of its picture.
        seed: Of the job, from 0 to 2^32 - 1.
    """
    return _keys(np.uint32(seed), np.array(contents, np.uint32), np.array(samples, np.uint32))


@jax.jit
def _keys(seed: Array, contents: Array, samples: Array) -> Array:
    def one(content: Array, sample: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), content), sample)

    return jax.vmap(one)(contents, samples)
