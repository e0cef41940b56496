"""Reads inputs: checks and reduces the picture, chooses its data term, and derives its random key.

A picture whose detail does not fill its pixels is an enlarged small one: it is reduced to little
more than the size of its detail. The detail and the file's header decide which data term fits:

    sharp, and a JPEG                            dct_box: with the tables and grid of its header, or
                                                 those that its pixels show
    sharp, no JPEG, and less than 128 pixels     l2: probably it was downscaled
    sharp, of 128 to 256 pixels, undamaged       l2: it was downscaled
    of a third of the usual contrast or less     faded: like blur, and the colours, too
    anything else                                blur: fitted to the picture, like its noise
"""

import contextlib
import dataclasses
import hashlib
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8
from PIL import Image

from perceptual_jax.config import MIN_SIZE, RestoreConfig
from perceptual_jax.degradation.detail import Detail, measure_detail
from perceptual_jax.degradation.jpeg import quality_of, read_header
from perceptual_jax.degradation.jpeg_traces import find_header
from perceptual_jax.degradation.resampling import match_size
from perceptual_jax.degradation.undamaged import is_undamaged
from perceptual_jax.io.images import ImageError, decode_image
from perceptual_jax.io.inputs import Input
from perceptual_jax.likelihood.models import NOT_LEARNED
from perceptual_jax.restoration.stages import stages
from perceptual_jax.types import JpegHeader, unknown_header
from perceptual_jax.validation import ConfigError

SMALL = 128
"""Side in pixels below which a picture is assumed to be downscaled."""

FADED = -1.2
"""Log of the power of large structures below which a picture counts as faded: two deviations below
sharp faces."""

_WITHOUT_GRID = ("auto", "l2", "blur", "faded")
"""Data terms that may be given a reduced picture; others go by the grid of a JPEG."""

SHARP = 0.6
"""Fraction of a picture's side that its detail must fill at least for it to be sharp: less than any
sharp face has."""

BEYOND = 1.5
"""Size of a reduced picture relative to that of its detail: what is damped to less than a half
still tells who it is. Rounded up to a power of two, so that many pictures share a batch and a
compiled program."""


class HeaderInfo(NamedTuple):
    """The information in a file's header, and the data term that it suggests."""

    side: int
    """Longer side in pixels; 0 if the header cannot be read."""
    header: JpegHeader
    """The JPEG header, if the picture is used as it is stored; else unknown."""
    degradation: str
    """The data term: `l2`, `dct_box`, or the name or path of a model."""
    reason: str
    """The reason for the choice, for the user."""


def inspect_header(
    source: Input | Path,
    degradation: str,
    *,
    max_size: int,
    data: bytes | None = None,
    as_stored: bool = True,
    detail: int | None = None,
    faded: bool = False,
    pixels: UInt8[np.ndarray, "h w 3"] | None = None,
) -> HeaderInfo:
    """Reads a picture's header and chooses its data term.

    A JPEG that was saved again, without loss or at a higher quality, shows the header that matters
    in its pixels.

    Args:
        source: The picture.
        degradation: The config's: `auto`, or the data term to use whatever the header says.
        max_size: Larger pictures are reduced, which destroys a JPEG's grid.
        data: The bytes of the file, if they are already read.
        as_stored: Whether the pixels are those of the file, see `Decoded`; else the header of a
            JPEG does not describe them.
        detail: Pixels of a side that the picture's detail fills; None if the picture is sharp.
        faded: Whether the picture has little contrast.
        pixels: The picture as it is used, to look for a JPEG's traces in; None leaves them out.
    """
    side, header, what = 0, None, "a picture"
    with (
        contextlib.suppress(Exception),
        warnings.catch_warnings(action="ignore"),
        Image.open(io.BytesIO(source.read_bytes() if data is None else data)) as image,
    ):
        side = max(image.size)
        what = f"{image.format or 'a picture'} of {side} pixels"
        if as_stored and side <= max_size:
            header = read_header(image)
    if pixels is not None and max(pixels.shape) < side:  # reduced: no grid is left
        pixels = None
    if degradation not in _WITHOUT_GRID:
        header = _coarser(header, pixels)
    if degradation != "auto":
        return HeaderInfo(side, header or unknown_header(), degradation, "asked for")
    if detail is not None:
        why = f"{what} with {detail} pixels of detail: blurred or enlarged"
        if faded:
            return HeaderInfo(side, unknown_header(), "faded", f"{why}, and of little contrast")
        return HeaderInfo(side, unknown_header(), "blur", why)
    known, header = header, _coarser(header, pixels)
    if header is None and side < SMALL:
        return HeaderInfo(side, unknown_header(), "l2", f"{what}: small, so downscaled")
    if header is None and pixels is not None and is_undamaged(pixels):
        why = f"{what}: sharp, and neither noisy nor compressed"
        return HeaderInfo(side, unknown_header(), "l2", why)
    if header is None:
        return HeaderInfo(side, unknown_header(), "blur", f"{what}: neither is nor was a JPEG")
    quality, by = quality_of(header.tables), "tables" if header is known else "pixels"
    return HeaderInfo(side, header, "dct_box", f"{what}: a JPEG of quality {quality}, by its {by}")


def _coarser(
    known: JpegHeader | None, pixels: UInt8[np.ndarray, "h w 3"] | None
) -> JpegHeader | None:
    """The header of the damage that shows: a file's, unless its pixels are of a coarser JPEG."""
    found = None if pixels is None else find_header(pixels)
    if known is None or found is None:
        return known or found
    return found if quality_of(found.tables) < quality_of(known.tables) - 1 else known


def with_used_term(
    info: HeaderInfo, config: RestoreConfig, resolution: int, size: int
) -> HeaderInfo:
    """The information with the data term that the search really uses.

    A learned likelihood and a JPEG's box are evaluated in stages that render at least the size of
    the picture. Where there is none, pixels are compared, and this is what is said and recorded.

    Args:
        info: The information, with the term that fits the picture.
        config: Config of the search.
        resolution: Side of the generator's images in pixels.
        size: Side of the picture's canvas in pixels.
    """
    term = info.degradation
    config = dataclasses.replace(config, degradation=term)
    plan = stages(config, resolution, size, learned=term not in NOT_LEARNED)
    used = {name for stage in plan for name, _ in stage.weights}
    if (term if term in NOT_LEARNED else "nll") in used:
        return info
    why = f"the generator's images of {resolution} pixels are smaller"
    if resolution >= size:
        why = "no stage of the search renders as many pixels"
    reason = f"{info.reason}; not {Path(term).name}, because {why}"
    return info._replace(degradation="l2", reason=reason)


def require_header(info: HeaderInfo) -> None:
    """Checks that the data term `dct_box` has the quantisation tables that it needs.

    Raises:
        ConfigError: If they are unknown.
    """
    if info.degradation == "dct_box" and not (info.header.tables > 0).all():
        raise ConfigError(
            "degradation dct_box needs a JPEG whose header can be read, no larger than "
            "data.max_size; use blur for other pictures"
        )


class Picture(NamedTuple):
    """An input's picture in memory."""

    input: Input
    sha256: str
    """SHA-256 of the file."""
    size: tuple[int, int]
    """Width and height in the file, in pixels."""
    pixels: UInt8[np.ndarray, "h w 3"]
    """The picture to restore, reduced if the file's is too large."""
    content: int
    """Hash of the pixels, see `content_of`."""
    header_info: HeaderInfo
    """The information in the file's header."""
    notes: tuple[str, ...] = ()
    """What the user should know of the file, see `Decoded`."""


def input_sha256(source: Input) -> str | None:
    """SHA-256 of an input's bytes; None if they cannot be read."""
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError:
        return None


def read_picture(
    source: Input,
    *,
    max_size: int,
    degradation: str = "auto",
    detail: int | Literal["auto"] = 0,
) -> Picture:
    """Reads an input; one that is too large, or larger than its detail, is reduced.

    Args:
        source: The input.
        max_size: Largest side in pixels.
        degradation: As in `inspect_header`.
        detail: Side in pixels that the picture's detail fills; 0 if it fills the picture, `auto` to
            estimate it.

    Raises:
        ImageError: If the picture cannot be read, is not square, or is smaller than 4 pixels.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(f"cannot read {source.path}: {reason}") from error
    decoded = decode_image(source.path, data=data)
    pixels = decoded.pixels
    height, width, _ = pixels.shape
    if height != width:
        raise ImageError(
            f"expected a square aligned face crop, got {width}x{height}; crop it first"
        )
    if width < MIN_SIZE:
        raise ImageError(f"expected at least {MIN_SIZE}x{MIN_SIZE} pixels, got {width}x{height}")
    side = min(width, max_size)
    pixels = match_size(pixels, (side, side))
    if detail == "auto" and degradation not in _WITHOUT_GRID:
        detail = 0
    # A picture that is used as it is need not be measured.
    measured = measure_detail(pixels) if detail else Detail(side, 0.0)
    filled = measured.size if detail == "auto" else detail or side
    filled = min(max(filled, MIN_SIZE), side)
    blurred = filled < SHARP * side
    if detail == "auto" and blurred:
        size = min(2 ** math.ceil(math.log2(BEYOND * filled)), side)
        pixels = match_size(pixels, (size, size))
    elif detail != "auto":
        pixels = match_size(pixels, (filled, filled))
    info = inspect_header(
        source,
        degradation,
        max_size=len(pixels),
        data=data,
        as_stored=decoded.as_stored,
        detail=filled if blurred else None,
        faded=measured.contrast < FADED,
        pixels=pixels,
    )
    digest = hashlib.sha256(data).hexdigest()
    stored, content = (width, height), content_of(pixels)
    return Picture(source, digest, stored, pixels, content, info, decoded.notes)


def content_of(pixels: UInt8[np.ndarray, "h w 3"]) -> int:
    """A 32-bit hash of a picture: the first 4 bytes of SHA-256("HEIGHT WIDTH " + pixels)."""
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).digest()
    return int.from_bytes(digest[:4], "little")


def restoration_keys(
    contents: Sequence[int], samples: Sequence[int], *, seed: int
) -> Key[Array, " n"]:
    """The random keys of restorations, from the picture's content, the seed and the sample.

        fold_in(fold_in(key(seed), content), sample)

    So a result depends neither on the picture's name nor on the other inputs of the job.

    Args:
        contents: The content hash of each restoration's picture, from `content_of`.
        samples: The number of each restoration among the samples of its picture, from 0.
        seed: The job's seed, from 0 to 2^32 - 1.
    """
    return _keys(np.uint32(seed), np.array(contents, np.uint32), np.array(samples, np.uint32))


@jax.jit
def _keys(seed: Array, contents: Array, samples: Array) -> Array:
    def one(content: Array, sample: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), content), sample)

    return jax.vmap(one)(contents, samples)
