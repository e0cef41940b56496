"""Pairs to learn p(degraded | original) from: crops, streamed by grain.

    picture -> flip -> degrade the whole picture -> cut crops at equal positions of both

The degraded picture may be smaller than the original (super-resolution); the original is then
resampled to its size. Most crops begin on the 16-px grid, where all their blocks are whole, the
others anywhere; each has its phase in the grid of the last JPEG, if there was one.

Everything random is a function of the seed and of the position in the stream, so a stream resumed
from a saved state yields the same batches as an uninterrupted one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import UInt8

from perceptual_jax.degradation.jpeg import GRID
from perceptual_jax.degradation.profiles import Degradation, Profile, apply_profile
from perceptual_jax.degradation.resampling import match_size
from perceptual_jax.io.images import read_image
from perceptual_jax.training.sources import DataError, PictureSource
from perceptual_jax.types import JpegHeader

Pairs = dict[str, np.ndarray]
"""`degraded` and `original` uint8 [n h w 3], and the header's arrays: `tables` float32
[n 2 8 8], `subsampling` int32 [n], `phase` int32 [n 2]."""

RECONSTRUCTION_SHARE = 0.15
"""Probability that a picture's reconstruction is the condition, if there is one."""

_TRIES = 20
_EPOCHS = 2**31
"""Practically endless; grain's own endless length overflows when it is batched by one."""


def training_batches(
    source: PictureSource,
    profile: Profile,
    *,
    crop: int,
    batch_size: int,
    seed: int,
    crops_per_image: int = 4,
    aligned_share: float = 0.8,
    reconstructions: str | os.PathLike[str] | None = None,
) -> Any:
    """An endless iterator of batches, whose `get_state` and `set_state` save and restore it.

    Args:
        source: Clean pictures.
        profile: Profile that degrades them.
        crop: Pixels of a side of a crop.
        batch_size: Crops in a batch.
        seed: Seed of order, degradations and crops.
        crops_per_image: Crops from one degraded picture; reduced to a divisor of the batch size.
        aligned_share: Fraction of crops that begin on the grid.
        reconstructions: A folder with a generator's reconstructions of some of the pictures, under
            their names. Some of them replace the original as the condition; the picture that is
            degraded stays the original.

    Raises:
        DataError: If a picture, or what a profile makes of it, is smaller than a crop.
    """
    while batch_size % crops_per_image:
        crops_per_image -= 1
    versions = _versions(source, reconstructions)

    def cut(index: int, rng: np.random.Generator) -> Pairs:
        clean, condition = source[index], None
        if index in versions and rng.random() < RECONSTRUCTION_SHARE:
            condition = versions[index](clean.shape[:2])
        return _crops(
            clean, condition, profile, rng, crop=crop, count=crops_per_image, share=aligned_share
        )

    return iter(
        grain.MapDataset.range(len(source))
        .seed(seed)
        .shuffle()
        .repeat(_EPOCHS)
        .random_map(cut)
        .batch(batch_size // crops_per_image, batch_fn=join)
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
    )


def evaluation_pairs(
    source: PictureSource, profile: Profile, *, seed: int, count: int
) -> list[Pairs]:
    """Whole pictures and what they degrade to, without a batch axis; the same at every call.

    Args:
        source: Clean pictures, from which equally spaced ones are taken.
        profile: Profile that degrades them.
        seed: Seed of the degradations.
        count: Number of pictures; all if there are fewer.

    Raises:
        DataError: If a picture is too small for the profile or for an evaluation.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, count).round().astype(int))
    pairs = []
    for index in chosen:
        rng = np.random.default_rng([seed, int(index)])
        clean = source[int(index)]
        try:
            degradation = apply_profile(profile, clean, rng)
        except ValueError as error:  # too small for this profile
            raise DataError(f"{source.name(int(index))} cannot be degraded: {error}") from error
        height, width, _ = degradation.image.shape
        if min(height, width) < GRID:
            raise DataError(
                f"{source.name(int(index))}, degraded by {profile.name}, has {width} x {height} "
                f"pixels, but an evaluation needs {GRID} x {GRID}; take it out of the held-out ones"
            )
        original = match_size(clean, (height, width))
        pairs.append(_pair(degradation, original, degradation.header))
    return pairs


def join(batches: Any) -> Pairs:
    """Concatenates several sets of pairs."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _crops(
    clean: UInt8[np.ndarray, "h w 3"],
    condition: UInt8[np.ndarray, "h w 3"] | None,
    profile: Profile,
    rng: np.random.Generator,
    *,
    crop: int,
    count: int,
    share: float,
) -> Pairs:
    condition = clean if condition is None else condition
    if rng.random() < 0.5:
        clean, condition = clean[:, ::-1], condition[:, ::-1]
    degradation = _degrade(clean, profile, rng, crop)
    height, width, _ = degradation.image.shape
    original = match_size(condition, (height, width))
    crops = []
    for _ in range(count):
        aligned = rng.random() < share
        top, left = (
            int(rng.integers((side - crop) // GRID + 1)) * GRID
            if aligned
            else int(rng.integers(side - crop + 1))
            for side in (height, width)
        )
        window = np.s_[top : top + crop, left : left + crop]
        phase = degradation.header.phase
        own = np.where(phase >= 0, (phase + np.array([top, left])) % GRID, -1).astype(np.int32)
        cropped = degradation._replace(image=degradation.image[window])
        header = degradation.header._replace(phase=own)
        crops.append(_pair(cropped, original[window], header))
    return {name: np.stack([pair[name] for pair in crops]) for name in crops[0]}


def _degrade(clean: Any, profile: Profile, rng: np.random.Generator, crop: int) -> Degradation:
    """Degrades a picture, and again while the result is smaller than a crop."""
    if min(clean.shape[:2]) >= crop:
        for _ in range(_TRIES):
            degradation = apply_profile(profile, np.ascontiguousarray(clean), rng)
            if min(degradation.image.shape[:2]) >= crop:
                return degradation
    raise DataError(
        f"a picture of {clean.shape[1]} x {clean.shape[0]} pixels, degraded by {profile.name}, is "
        f"smaller than the crops of {crop}; take smaller crops or larger pictures"
    )


def _pair(degradation: Degradation, original: np.ndarray, header: JpegHeader) -> Pairs:
    return {
        "degraded": degradation.image,
        "original": original,
        **{name: np.asarray(value) for name, value in header._asdict().items()},
    }


def _versions(
    source: PictureSource, folder: str | os.PathLike[str] | None
) -> dict[int, Callable[[tuple[int, int]], np.ndarray]]:
    """Readers of the reconstructions in a folder, by the index of the picture."""
    if folder is None:
        return {}
    names = {source.name(i): i for i in range(len(source))}
    try:
        files = sorted(Path(folder).glob("*.png"))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror or error})") from error
    found = {names[p.stem]: p for p in files if p.stem in names}
    if not found:
        raise DataError(f"{folder} has no PNG under the name of a training picture")
    return {i: lambda size, p=p: match_size(read_image(p), size) for i, p in found.items()}
