"""Reads the pictures of an evaluation ahead of their scoring, in threads."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from perceptual_jax.evaluation.scores import Subject
from perceptual_jax.io.bundles import BundleError
from perceptual_jax.io.files import reason_of
from perceptual_jax.io.images import ImageError, decode_image
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.reading import inspect_header
from perceptual_jax.jobs.scoring.score_cache import ScoreCache

_THREADS, _AHEAD = 2, 6


class Task(NamedTuple):
    """A restored picture and what it is compared with, not yet read."""

    method: int
    """Position of its folder among those that are evaluated."""
    name: str
    restored: Input
    original: Input | None
    degraded: Input | None


class Ready(NamedTuple):
    """A task whose files are read: its key, and its pictures unless the scores are known."""

    task: Task
    key: str
    subject: Subject | None
    problem: str | None


def read_ahead(
    tasks: Iterable[Task], caches: Sequence[ScoreCache], setting: str
) -> Iterator[Ready]:
    """Reads and decodes some pictures ahead; yields them in order.

    Args:
        tasks: What to read.
        caches: The known scores of each folder: pictures that have some are not decoded.
        setting: What else scores depend on, a part of their key.
    """
    waiting: deque[Future[Ready]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(_read, task, caches[task.method], setting))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(task: Task, cache: ScoreCache, setting: str) -> Ready:
    sources = (task.restored, task.original, task.degraded)
    contents: list[bytes | None] = []
    for source in sources:
        try:
            contents.append(source and source.read_bytes())
        except (OSError, BundleError) as error:
            return Ready(
                task, "", None, f"cannot read {source and source.path}: {reason_of(error)}"
            )
    digests = [hashlib.sha256(data).hexdigest() if data else "-" for data in contents]
    key = hashlib.sha256(" ".join([setting, *digests]).encode()).hexdigest()
    if cache.get(key) is not None:
        return Ready(task, key, None, None)
    try:
        restored, of, given = (
            source and decode_image(source.path, data=data)
            for source, data in zip(sources, contents, strict=True)
        )
    except ImageError as error:
        return Ready(task, key, None, str(error))
    assert restored is not None
    subject = Subject(restored.pixels, of and of.pixels)
    if task.degraded is not None and given is not None:
        info = inspect_header(
            task.degraded,
            "auto",
            max_size=max(given.pixels.shape),
            data=contents[2],
            as_stored=given.as_stored,
            pixels=given.pixels,
        )
        subject = subject._replace(degraded=given.pixels, header=info.header)
    return Ready(task, key, subject, None)
