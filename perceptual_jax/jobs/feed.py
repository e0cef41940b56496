"""The loader: threads prefetch pictures, which are grouped into batches of one shape.

    inputs -> bounded prefetch -> groups of one canvas and data term -> full batches

Every batch of a group has the same shape, so that each group compiles once; there are few groups,
however many sizes of pictures there are. No picture is read twice. The prefetched pictures and the
incomplete groups are bounded, so memory does not grow with the number of pictures.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from perceptual_jax.config import (
    RestoreConfig,
)
from perceptual_jax.degradation.canvas import canvas_of
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.reading import Picture, read_picture, require_header, with_used_term
from perceptual_jax.validation import ConfigError

AHEAD = 2
"""Batches that are prefetched while the device restores one."""

THREADS = 8

BALANCED_BATCHES = 4
"""Jobs of at most so many full batches get batches of equal size, which need little padding."""


class Sizes(NamedTuple):
    """The sizes of a job's batches."""

    restorations: int
    """Number of restorations searched at once."""
    samples: int
    """Number of restorations of each picture."""
    fixed: bool
    """Whether all batches of a shape have the same size, which the user chose."""

    @property
    def max_pictures(self) -> int:
        """Largest number of pictures in a batch."""
        return max(1, self.restorations // self.samples)

    def balances(self, inputs: int) -> bool:
        """Whether so many inputs are few enough for batches of nearly equal sizes."""
        return not self.fixed and inputs <= BALANCED_BATCHES * self.max_pictures


class BatchKey(NamedTuple):
    """The properties that all pictures of a batch share."""

    canvas: int
    """Side of their padded arrays in pixels."""
    degradation: str
    """The data term: `l2`, `dct_box`, or the name or path of a model."""


class Batch(NamedTuple):
    """Loaded pictures that share a `BatchKey`."""

    pictures: tuple[Picture, ...]
    """The loaded pictures; empty if every remaining input failed."""
    failed: tuple[tuple[Input, str], ...]
    """Inputs since the last batch that cannot be read, with the reason."""
    full: int
    """Number of pictures in a full batch of this key."""
    read_seconds: float
    """Seconds of reading since the last batch, summed over all threads."""


def load_batches(
    inputs: Sequence[Input],
    config: RestoreConfig,
    *,
    max_pictures: int,
    balanced: bool,
    resolution: int | None = None,
) -> Iterator[Batch]:
    """Yields the inputs in batches of one shape and data term, prefetching the next ones.

    Args:
        inputs: The inputs. Each appears in one batch, as a picture or as a failure.
        config: Decides how pictures are read, and which data term each gets.
        max_pictures: Largest number of pictures in a batch.
        balanced: Whether batches of a key have nearly equal sizes, for which all inputs are read
            before the first batch; otherwise all but the last batch are full.
        resolution: Side of the generator's images in pixels, which decides whether the data term
            that fits a picture can be used; None if it is large enough.
    """
    groups: dict[BatchKey, list[Picture]] = {}
    failed: list[tuple[Input, str]] = []
    seconds = 0.0

    def batch(pictures: Sequence[Picture], full: int) -> Batch:
        nonlocal failed, seconds
        made = Batch(tuple(pictures), tuple(failed), full, seconds)
        failed, seconds = [], 0.0
        return made

    for source, read, took in _read_ahead(inputs, config, resolution, ahead=AHEAD * max_pictures):
        seconds += took
        if isinstance(read, str):
            failed.append((source, read))
            continue
        key = BatchKey(canvas_of(read.pixels.shape[0]), read.header_info.degradation)
        group = groups.setdefault(key, [])
        group.append(read)
        if len(group) == max_pictures and not balanced:
            yield batch(groups.pop(key), max_pictures)
    for group in groups.values():
        size = len(group)
        full = math.ceil(size / math.ceil(size / max_pictures)) if balanced else max_pictures
        for start in range(0, len(group), full):
            yield batch(group[start : start + full], full)
    if failed:
        yield batch((), 0)


def _read_ahead(
    inputs: Sequence[Input], config: RestoreConfig, resolution: int | None, *, ahead: int
) -> Iterator[tuple[Input, Picture | str, float]]:
    """Yields each input with the result of `read_input`, in order, prefetching `ahead` inputs.

    Not through grain: it would save ten lines, but cost every job an import of 0.5 s and 32 MB, and
    every installation a package that otherwise only training needs.
    """
    waiting: deque[tuple[Input, Future[tuple[Picture | str, float]]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as pool:
        try:
            for source in inputs:
                waiting.append((source, pool.submit(read_input, source, config, resolution)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, *future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, *future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def read_input(
    source: Input, config: RestoreConfig, resolution: int | None
) -> tuple[Picture | str, float]:
    """Reads a picture as its search takes it, with the data term that is used.

    Args:
        source: The input.
        config: As in `load_batches`.
        resolution: As in `load_batches`.

    Returns:
        The picture, or the reason of the failure; and the seconds that it took.
    """
    start = time.monotonic()
    try:
        picture = read_picture(
            source,
            max_size=config.data.max_size,
            degradation=config.degradation,
            detail=config.data.detail,
        )
        require_header(picture.header_info)
        if resolution is not None:
            size = canvas_of(picture.pixels.shape[0])
            info = with_used_term(picture.header_info, config, resolution, size)
            picture = picture._replace(header_info=info)
    except (ImageError, ConfigError) as error:
        reason = str(error).removeprefix(f"cannot read {source.path}: ")
        return reason, time.monotonic() - start
    return picture, time.monotonic() - start
