"""The loop of a job: batches of pictures in, their results encoded and written behind.

Threads write while the device goes on with the next batch; what waits to be written is bounded.
"""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import jax

from perceptual_jax.config import RestoreConfig
from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.io.files import Place
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.feed import Batch
from perceptual_jax.jobs.log import Journal, Record
from perceptual_jax.jobs.reading import Picture, restoration_keys
from perceptual_jax.jobs.resume import Row, Snapshots
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.batch import Progress, run_batch
from perceptual_jax.restoration.presets import build_search
from perceptual_jax.types import Generator

THREADS = 4
WAITING = 64
"""Results that may wait to be written; then the device waits, and memory stays bounded."""


class Sink:
    """Does work in the background, a bounded amount of it, and passes on what goes wrong.

    Leaving the context waits for all that was put, whatever ended it: a result that the device
    has paid for is written.
    """

    def __init__(self) -> None:
        """Starts no thread yet."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="write")
        self._room = threading.Semaphore(WAITING)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.seconds = 0.0
        """Of work, over all threads."""

    def put(self, work: Callable[[], None]) -> None:
        """Hands over some work; waits while too much is waiting.

        Raises:
            BaseException: What earlier work has raised. Nothing is begun after that.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._pool.submit(self._do, work).add_done_callback(self._done)

    def __enter__(self) -> "Sink":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for all work; raises what it has raised, unless something else ended this."""
        self._pool.shutdown(wait=True)
        if error is None and self._error is not None:
            raise self._error

    def _do(self, work: Callable[[], None]) -> None:
        if self._error is not None:
            return
        start = time.monotonic()
        try:
            work()
        except BaseException as error:
            self._error = self._error or error
        with self._lock:
            self.seconds += time.monotonic() - start

    def _done(self, _: Future) -> None:
        self._room.release()


STAGES = ("reading", "wait for input", "search", "wait for output", "writing")
"""Reading and writing are of all their threads, beside the others."""


class JobError(RuntimeError):
    """A job that cannot go on; the message is one sentence for the user."""


class Job(NamedTuple):
    """What all batches share."""

    out: Place
    config: RestoreConfig
    generator: Generator
    prior: Prior
    models: Callable[[str], Likelihood | None]
    """The learned data term of a name that pictures ask for; None if it is not a learned one."""
    seed: int
    samples: int
    size: int
    """Restorations searched for at once."""
    about: Record
    """What every record says of the job."""
    redone: frozenset[str]
    """Names of pictures that an earlier job may have written a result of."""
    snapshots: Snapshots | None = None
    """None keeps no search in its middle."""

    @property
    def most(self) -> int:
        """Pictures of a batch."""
        return max(1, self.size // self.samples)


def restore_all(
    job: Job,
    batches: Iterator[Batch],
    sink: Sink,
    journal: Journal,
    add: Callable[..., None],
    *,
    trace: Path | None,
    progress: Callable[[float, int], None] | None,
) -> None:
    """Restores batch after batch, and notes the seconds of each stage in the journal.

    While the device searches, the next pictures are read and the last ones written. Where either
    cannot keep up, the device waits for input, or for output.

    Args:
        job: What all batches share.
        batches: From `feed`.
        sink: Gets what is to be written.
        journal: Gets the seconds.
        add: Notes a record, and the input that it is of.
        trace: Folder for a profiler's trace of the second batch.
        progress: Called with the number of pictures done and of all.

    Raises:
        JobError: If a batch does not fit in memory.
        WriteError: If results cannot be written.
    """
    show = progress or (lambda done, total: None)
    total, done = journal.total, 0
    seconds = journal.seconds
    seconds |= dict.fromkeys(STAGES, 0.0)
    clock = _Clock(seconds)
    show(0, total)
    for number, batch in enumerate(clock.iterate(batches, "wait for input")):
        seconds["reading"] += batch.read_seconds
        for source, reason in batch.failed:
            add(writing.failure_record(source.name, source.path, reason), source)
        if batch.pictures:
            first, count = done + len(batch.failed), len(batch.pictures)

            def on_share(share: float, first: int = first, count: int = count) -> None:
                show(first + share * count, total)

            with _traced(trace if number == 1 else None), clock.of("search"):
                works = _restore_batch(job, batch, add, on_share)
            with clock.of("wait for output"):
                for work in works:
                    sink.put(work)
        done += len(batch.failed) + len(batch.pictures)
        seconds["writing"] = sink.seconds
    show(done, total)


class _Clock:
    """Adds up the seconds of stages."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - start

    def iterate(self, items: Iterator[Batch], stage: str) -> Iterator[Batch]:
        while True:
            with self.of(stage):
                item = next(items, None)
            if item is None:
                return
            yield item


@contextlib.contextmanager
def _traced(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    with jax.profiler.trace(str(folder)):
        yield


def _restore_batch(
    job: Job,
    batch: Batch,
    add: Callable[..., None],
    progress: Callable[[float], None],
) -> list[Callable[[], None]]:
    """Restores pictures of one kind; what is left to do is to write each one's files."""
    begun, pictures = time.monotonic(), batch.pictures
    # Pictures that are missing from a full batch are made up for, so that a size compiles once.
    rows = [
        Row(picture, sample)
        for picture in [*pictures, *[pictures[-1]] * (batch.full - len(pictures))]
        for sample in range(job.samples)
    ]
    degradation = pictures[0].look.degradation
    config = dataclasses.replace(job.config, degradation=degradation)
    given = on_canvases(
        [row.picture.pixels for row in rows], [row.picture.look.header for row in rows]
    )
    search = build_search(
        config,
        job.generator,
        given.size,
        prior=job.prior,
        likelihood=job.models(degradation),
    )
    contents, samples = zip(*((row.picture.content, row.sample) for row in rows), strict=True)
    keys = restoration_keys(contents, samples, seed=job.seed)
    size = math.ceil(len(rows) / math.ceil(len(rows) / job.size))
    kept = None if job.snapshots is None else job.snapshots.of_batch(rows)

    def on_progress(piece: Progress) -> None:
        if kept is not None:
            kept.note(piece)
        progress(piece.share)

    try:
        result = run_batch(
            search,
            given,
            keys,
            batch_size=size,
            on_progress=on_progress,
            resume=None if kept is None else kept.load,
        )
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            message = f"{len(rows)} pictures at once do not fit in memory; lower the batch size"
            raise JobError(message) from error
        raise
    about = job.about | {"seconds": (time.monotonic() - begun) / len(pictures)}

    def later(i: int, picture: Picture) -> Callable[[], None]:
        own = slice(i * job.samples, (i + 1) * job.samples)
        one = jax.tree.map(lambda x: x[own], result)

        def write() -> None:
            record = writing.write_result(
                job.out,
                picture,
                one,
                config.noise,
                about,
                redone=picture.input.name in job.redone,
            )
            add(record, picture.input)
            if job.snapshots is not None:
                job.snapshots.remove(rows[own])

        return write

    return [later(i, picture) for i, picture in enumerate(pictures)]
