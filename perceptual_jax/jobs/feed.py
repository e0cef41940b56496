"""Pictures on their way to the device: read ahead by threads, in batches of one shape.

    inputs -> read ahead, a bounded number -> groups of one canvas and data term -> full batches

Every batch of a group has the same shape, so that each group compiles once; there are few groups,
however many sizes of pictures there are. No picture is read twice. What is read ahead and what
waits in groups is bounded, so memory does not grow with the number of pictures.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from perceptual_jax.config import ConfigError, RestoreConfig
from perceptual_jax.degradation.canvas import canvas_of
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.reading import Picture, read_picture, require_header

AHEAD = 2
"""Batches that are read while one is searched for."""

THREADS = 8

EVEN = 4
"""A job of so few full batches has batches of even size, so that little is computed in vain."""


class Kind(NamedTuple):
    """What pictures of one batch have in common."""

    canvas: int
    """Pixels of a side of their arrays."""
    degradation: str


class Batch(NamedTuple):
    """Pictures of one kind, read."""

    pictures: tuple[Picture, ...]
    """None, if all that was left to read has failed."""
    failed: tuple[tuple[Input, str], ...]
    """Those since the last batch that cannot be read, and why."""
    full: int
    """How many pictures there are in a full batch of the kind."""
    read_seconds: float
    """Since the last batch, of all threads."""


def feed(
    inputs: Sequence[Input], config: RestoreConfig, *, most: int, even: bool
) -> Iterator[Batch]:
    """The inputs in batches of one kind, read ahead of what is asked for.

    Args:
        inputs: Each is in one batch, as a picture or as failed.
        config: Says how pictures are read, and which data term they are given.
        most: Pictures in a batch.
        even: Whether batches of a kind are evenly filled, for which all inputs are read before
            the first batch; else all but the last are full.
    """
    groups: dict[Kind, list[Picture]] = {}
    failed: list[tuple[Input, str]] = []
    seconds = 0.0

    def batch(pictures: Sequence[Picture], full: int) -> Batch:
        nonlocal failed, seconds
        made = Batch(tuple(pictures), tuple(failed), full, seconds)
        failed, seconds = [], 0.0
        return made

    for source, read, took in _read_ahead(inputs, config, ahead=AHEAD * most):
        seconds += took
        if isinstance(read, str):
            failed.append((source, read))
            continue
        kind = Kind(canvas_of(read.pixels.shape[0]), read.look.degradation)
        group = groups.setdefault(kind, [])
        group.append(read)
        if len(group) == most and not even:
            yield batch(groups.pop(kind), most)
    for group in groups.values():
        full = math.ceil(len(group) / math.ceil(len(group) / most)) if even else most
        for start in range(0, len(group), full):
            yield batch(group[start : start + full], full)
    if failed:
        yield batch((), 0)


def _read_ahead(
    inputs: Sequence[Input], config: RestoreConfig, *, ahead: int
) -> Iterator[tuple[Input, Picture | str, float]]:
    """Each input with what `_read` gives, in order, a number of them ahead of the caller."""
    waiting: deque[tuple[Input, Future[tuple[Picture | str, float]]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as pool:
        try:
            for source in inputs:
                waiting.append((source, pool.submit(_read, source, config)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, *future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, *future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _read(source: Input, config: RestoreConfig) -> tuple[Picture | str, float]:
    """A picture, or why there is none, and the seconds that reading took."""
    start = time.monotonic()
    try:
        picture = read_picture(
            source, max_size=config.data.max_size, degradation=config.degradation
        )
        require_header(picture.look)
    except (ImageError, ConfigError) as error:
        reason = str(error).removeprefix(f"cannot read {source.path}: ")
        return reason, time.monotonic() - start
    return picture, time.monotonic() - start
