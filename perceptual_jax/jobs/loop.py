"""The loop of a job: restores batch after batch, while a pool of threads writes the results.

The threads write while the device restores the next batch; their queue is bounded.
"""

import contextlib
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from perceptual_jax.config import NoiseConfig, RestoreConfig
from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.errors import Error
from perceptual_jax.io.files import Place
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.feed import Batch, Sizes
from perceptual_jax.jobs.log import Journal, Record
from perceptual_jax.jobs.reading import Picture, restoration_keys
from perceptual_jax.jobs.snapshots import Row, Snapshots
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.batch import Progress, run_batch
from perceptual_jax.restoration.presets import build_search
from perceptual_jax.types import Generator, Restoration

THREADS = 4
WAITING = 64
"""Longest queue of unwritten results; when it is full the loop waits, so memory stays bounded."""


@runtime_checkable
class Recorder(Protocol):
    """Receives the records of results, such as a `Journal`."""

    seconds: dict[str, float]
    """Seconds spent in each stage."""

    def add(self, record: Record, source: Input | None) -> None:
        """Adds the record of an input; called from any thread."""
        ...


class Writer:
    """A writer pool: each of its threads writes the files of a picture, then its line in the log.

    Its queue is bounded. Leaving the context waits until the queue is empty, also after an error:
    no finished result is lost.
    """

    def __init__(
        self,
        out: Place,
        noise: NoiseConfig,
        journal: Recorder,
        *,
        job_fields: Record,
        redone: Collection[str] = (),
        snapshots: Snapshots | None = None,
        output: writing.Output = writing.AS_PNG,
        written: Callable[[Record], None] | None = None,
    ):
        """Starts no thread yet.

        Args:
            out: The job's folder.
            noise: The noise settings of the job, see `writing.write_result`.
            journal: Receives the record of each picture, and the threads' seconds of writing.
            job_fields: Fields of the job that are added to every record.
            redone: Names of pictures that may have a result of an earlier job.
            snapshots: Snapshots of the job; a picture's are removed once it is written.
            output: Format and names of the pictures.
            written: Called with the record of each picture that is written, from any thread.
        """
        self._out, self._noise, self._journal, self._written = out, noise, journal, written
        self._job_fields, self._redone, self._snapshots = job_fields, redone, snapshots
        self._output = output
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="write")
        self._waiting: deque[Future[float]] = deque()

    def write(self, picture: Picture, result: Restoration, *, seconds: float) -> None:
        """Queues a picture's restorations; blocks while the queue is full.

        Args:
            picture: The input.
            result: Its restorations, one for each sample, along the first axis.
            seconds: Seconds that the search took, for the record.

        Raises:
            WriteError: If an earlier result could not be written.
        """
        while self._waiting and (len(self._waiting) == WAITING or self._waiting[0].done()):
            self._conclude_first()
        self._waiting.append(self._pool.submit(self._write, picture, result, seconds))

    def _write(self, picture: Picture, result: Restoration, seconds: float) -> float:
        begun, name = time.monotonic(), picture.input.name
        fields = self._job_fields | {"seconds": seconds}
        record = writing.write_result(
            self._out,
            picture,
            result,
            self._noise,
            fields,
            redone=name in self._redone,
            output=self._output,
        )
        self._journal.add(record, picture.input)
        if self._snapshots is not None:
            self._snapshots.remove([Row(picture, i) for i in range(len(result.image))])
        if self._written is not None:
            self._written(record)
        return time.monotonic() - begun

    def _conclude_first(self) -> None:
        self._journal.seconds["writing"] += self._waiting.popleft().result()

    def __enter__(self) -> "Writer":
        """Returns this writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits until every queued result is written.

        Raises:
            WriteError: If a result could not be written, unless another error ended the context.
        """
        self._pool.shutdown(wait=True)
        while self._waiting and error is None:
            self._conclude_first()


STAGES = ("reading", "wait for input", "search", "wait for output", "writing")
"""Stages of the loop. Reading and writing run beside the others and are summed over threads."""


Watch = Callable[[Progress], None]
"""Called after each piece of a search, when its progress has been told; what it raises ends the
job, whose finished results stay."""


class JobError(Error, RuntimeError):
    """A job that cannot continue; the message is one sentence for the user."""


class Job(NamedTuple):
    """The arguments that all batches share."""

    config: RestoreConfig
    generator: Generator
    prior: Prior
    models: Callable[[str], Likelihood | None]
    """Maps the name of a data term to its learned likelihood; None if the term is not learned."""
    seed: int
    sizes: Sizes
    snapshots: Snapshots | None = None
    """Snapshots of partial searches; None takes none."""


def restore_all(
    job: Job,
    batches: Iterator[Batch],
    writer: Writer,
    journal: Journal,
    *,
    trace: Path | None,
    progress: Callable[[float, int], None] | None,
    watch: Watch | None = None,
) -> None:
    """Restores batch after batch, and logs the seconds of each stage in the journal.

    While the device searches, the next pictures are read and the last results written. Where either
    is slower than the search, the loop waits for input, or for output.

    Args:
        job: The arguments that all batches share.
        batches: Batches of pictures, from `load_batches`.
        writer: Receives the results.
        journal: Receives the inputs that cannot be read, and the seconds.
        trace: Folder for a profiler's trace of the second batch.
        progress: Called with the number of pictures done, fractions included, and the total.
        watch: See `Watch`.

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
            journal.add(writing.failure_record(source.name, source.path, reason), source)
        if batch.pictures:
            first, count = done + len(batch.failed), len(batch.pictures)

            def on_fraction(fraction: float, first: int = first, count: int = count) -> None:
                show(first + fraction * count, total)

            begun = time.monotonic()
            with _traced(trace if number == 1 else None), clock.time("search"):
                results = restore_pictures(job, batch, progress=on_fraction, watch=watch)
            each = (time.monotonic() - begun) / count
            with clock.time("wait for output"):
                for picture, result in zip(batch.pictures, results, strict=True):
                    writer.write(picture, result, seconds=each)
        done += len(batch.failed) + len(batch.pictures)
    show(done, total)


class _Clock:
    """Accumulates the seconds of each stage."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - start

    def iterate(self, items: Iterator[Batch], stage: str) -> Iterator[Batch]:
        while True:
            with self.time(stage):
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


def restore_pictures(
    job: Job,
    batch: Batch,
    *,
    progress: Callable[[float], None] | None = None,
    watch: Watch | None = None,
) -> list[Restoration]:
    """Restores each picture of a batch, with its samples along the first axis.

    Args:
        job: The arguments that all batches share.
        batch: The pictures, at least one.
        progress: Called after each piece of the search with the fraction of the work that is done.
        watch: See `Watch`.

    Raises:
        JobError: If the batch does not fit in memory.
    """
    pictures = batch.pictures
    # A partial batch is padded by repeating its last picture, so that each size compiles once.
    rows = [
        Row(picture, sample)
        for picture in [*pictures, *[pictures[-1]] * (batch.full - len(pictures))]
        for sample in range(job.sizes.samples)
    ]
    degradation = pictures[0].header_info.degradation
    config = dataclasses.replace(job.config, degradation=degradation)
    given = on_canvases(
        [row.picture.pixels for row in rows], [row.picture.header_info.header for row in rows]
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
    size = math.ceil(len(rows) / math.ceil(len(rows) / job.sizes.restorations))
    batch_snapshots = None if job.snapshots is None else job.snapshots.for_batch(rows)

    def on_progress(piece: Progress) -> None:
        if batch_snapshots is not None:
            batch_snapshots.save_if_due(piece)
        if progress is not None:
            progress(piece.share)
        if watch is not None:
            watch(piece)

    try:
        result = run_batch(
            search,
            given,
            keys,
            batch_size=size,
            on_progress=on_progress,
            resume=None if batch_snapshots is None else batch_snapshots.load,
        )
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            message = f"{len(rows)} pictures at once do not fit in memory; lower the batch size"
            raise JobError(message) from error
        raise

    def restoration_of(i: int) -> Restoration:
        n = job.sizes.samples
        return jax.tree.map(lambda x: x[i * n : (i + 1) * n], result)

    return [restoration_of(i) for i in range(len(pictures))]
