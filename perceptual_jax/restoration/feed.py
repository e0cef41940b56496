"""Pictures on their way to the device: read ahead by threads, in batches of one size.

    headers of all -> groups of one size and data term -> batches -> read ahead, a few at a time

Every batch of a group has the same shape, so that each group compiles once, and what is read ahead
is bounded, so that memory does not grow with the number of pictures.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from perceptual_jax.checked import ConfigError
from perceptual_jax.config import RestoreConfig
from perceptual_jax.data.collect import Input
from perceptual_jax.data.images import ImageError
from perceptual_jax.restoration.degradations import Look, look_at, require_header
from perceptual_jax.restoration.pictures import Picture, read_picture

AHEAD = 2
"""Batches that are read while one is searched for."""

THREADS = 8
_CHUNK = 4096

EVEN = 4
"""A job of so few full batches has batches of even size, so that little is computed in vain."""


class Kind(NamedTuple):
    """What pictures of one batch have in common."""

    side: int
    degradation: str


class Batch(NamedTuple):
    """Pictures of one kind, read."""

    inputs: tuple[Input, ...]
    pictures: tuple[Picture, ...]
    failed: tuple[tuple[Input, str], ...]
    """Those that cannot be read, and why."""
    full: int
    """How many there are in a full batch of the kind."""
    read_seconds: float
    """Of all threads."""


def look_at_all(inputs: Sequence[Input], config: RestoreConfig) -> tuple[list[Kind], dict]:
    """The kind of every input, by their headers, and for each data term a reason and its count."""
    kinds: list[Kind] = []
    reasons: dict[str, tuple[str, int]] = {}
    shared: dict[Kind, Kind] = {}  # one object for all inputs of a kind: there may be many

    def look(source: Input) -> Look:
        return look_at(source, config.degradation, max_size=config.data.max_size)

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(inputs), _CHUNK):
            for one in pool.map(look, inputs[start : start + _CHUNK]):
                kind = Kind(min(one.side, config.data.max_size), one.degradation)
                kinds.append(shared.setdefault(kind, kind))
                reason, count = reasons.get(one.degradation, (one.reason, 0))
                reasons[one.degradation] = (reason, count + 1)
    return kinds, reasons


def plan(
    inputs: Sequence[Input], kinds: Sequence[Kind], *, most: int, even: bool
) -> Iterator[tuple[Sequence[Input], int]]:
    """Inputs of one kind at a time, in batches, each with the size of a full one.

    Args:
        inputs: All of them.
        kinds: Of each.
        most: Pictures in a batch.
        even: Whether a group's batches are evenly filled; else all but the last are full.
    """
    groups: dict[Kind, list[Input]] = {}
    for source, kind in zip(inputs, kinds, strict=True):
        groups.setdefault(kind, []).append(source)
    for group in groups.values():
        full = math.ceil(len(group) / math.ceil(len(group) / most)) if even else most
        for start in range(0, len(group), full):
            yield group[start : start + full], full


def feed(batches: Iterator[tuple[Sequence[Input], int]], config: RestoreConfig) -> Iterator[Batch]:
    """The batches with their pictures, read ahead of what is asked for."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as pool:
        waiting: deque[tuple[Sequence[Input], int, list[Future]]] = deque()
        try:
            for inputs, full in batches:
                waiting.append((inputs, full, [pool.submit(_read, x, config) for x in inputs]))
                if len(waiting) > AHEAD:
                    yield _gathered(*waiting.popleft())
            while waiting:
                yield _gathered(*waiting.popleft())
        finally:
            for _, _, futures in waiting:
                for future in futures:
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


def _gathered(inputs: Sequence[Input], full: int, futures: Sequence[Future]) -> Batch:
    results = [future.result() for future in futures]
    read = [(source, result) for source, (result, _) in zip(inputs, results, strict=True)]
    return Batch(
        inputs=tuple(inputs),
        pictures=tuple(result for _, result in read if not isinstance(result, str)),
        failed=tuple((source, result) for source, result in read if isinstance(result, str)),
        full=full,
        read_seconds=sum(seconds for _, seconds in results),
    )
