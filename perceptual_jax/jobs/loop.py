"""The loop of a job: batches of pictures in, their results encoded and written behind.

Threads write while the device goes on with the next batch; what waits to be written is bounded.
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
from typing import NamedTuple

import jax

from perceptual_jax.config import NoiseConfig, RestoreConfig
from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.errors import Error
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
from perceptual_jax.types import Generator, Restoration

THREADS = 4
WAITING = 64
"""Results that may wait to be written; then the device waits, and memory stays bounded."""


class Writer:
    """Writes results behind the loop: some threads each take a picture's files, then its line.

    What waits to be written is bounded. Leaving the context waits for all of it, whatever ended
    it: a result that the device has paid for is written.
    """

    def __init__(
        self,
        out: Place,
        noise: NoiseConfig,
        journal: Journal,
        *,
        about: Record,
        redone: Collection[str] = (),
        snapshots: Snapshots | None = None,
    ):
        """Starts no thread yet.

        Args:
            out: The job's folder.
            noise: Settings of the job, see `writing.write_result`.
            journal: Gets a record of each picture, and the seconds of writing, over all threads.
            about: What every record says of the job.
            redone: Names of pictures that an earlier job may have written a result of.
            snapshots: Those of a picture that is written are removed.
        """
        self._out, self._noise, self._journal = out, noise, journal
        self._about, self._redone, self._snapshots = about, redone, snapshots
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="write")
        self._waiting: deque[Future[float]] = deque()

    def write(self, picture: Picture, result: Restoration, *, seconds: float) -> None:
        """Hands over a picture's restorations; waits while too much is waiting.

        Args:
            picture: The input.
            result: Its restorations, one for each sample, along the first axis.
            seconds: What they took, for the record.

        Raises:
            WriteError: If an earlier one could not be written.
        """
        while self._waiting and (len(self._waiting) == WAITING or self._waiting[0].done()):
            self._conclude_first()
        self._waiting.append(self._pool.submit(self._write, picture, result, seconds))

    def _write(self, picture: Picture, result: Restoration, seconds: float) -> float:
        begun, name = time.monotonic(), picture.input.name
        about = self._about | {"seconds": seconds}
        record = writing.write_result(
            self._out, picture, result, self._noise, about, redone=name in self._redone
        )
        self._journal.add(record, picture.input)
        if self._snapshots is not None:
            self._snapshots.remove([Row(picture, i) for i in range(len(result.image))])
        return time.monotonic() - begun

    def _conclude_first(self) -> None:
        self._journal.seconds["writing"] += self._waiting.popleft().result()

    def __enter__(self) -> "Writer":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for all that was handed over.

        Raises:
            WriteError: If something could not be written, unless something else ended this.
        """
        self._pool.shutdown(wait=True)
        while self._waiting and error is None:
            self._conclude_first()


STAGES = ("reading", "wait for input", "search", "wait for output", "writing")
"""Reading and writing are of all their threads, beside the others."""


class JobError(Error, RuntimeError):
    """A job that cannot go on; the message is one sentence for the user."""


class Job(NamedTuple):
    """What all batches share."""

    config: RestoreConfig
    generator: Generator
    prior: Prior
    models: Callable[[str], Likelihood | None]
    """The learned data term of a name that pictures ask for; None if it is not a learned one."""
    seed: int
    samples: int
    size: int
    """Restorations searched for at once."""
    snapshots: Snapshots | None = None
    """None keeps no search in its middle."""

    @property
    def most(self) -> int:
        """Pictures of a batch."""
        return max(1, self.size // self.samples)


def restore_all(
    job: Job,
    batches: Iterator[Batch],
    writer: Writer,
    journal: Journal,
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
        writer: Gets the results.
        journal: Gets the inputs that cannot be read, and the seconds.
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
            journal.add(writing.failure_record(source.name, source.path, reason), source)
        if batch.pictures:
            first, count = done + len(batch.failed), len(batch.pictures)

            def on_share(share: float, first: int = first, count: int = count) -> None:
                show(first + share * count, total)

            begun = time.monotonic()
            with _traced(trace if number == 1 else None), clock.of("search"):
                results = _restore_batch(job, batch, on_share)
            each = (time.monotonic() - begun) / count
            with clock.of("wait for output"):
                for picture, result in zip(batch.pictures, results, strict=True):
                    writer.write(picture, result, seconds=each)
        done += len(batch.failed) + len(batch.pictures)
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
    progress: Callable[[float], None],
) -> list[Restoration]:
    """The restorations of each picture of a batch, one for each sample along the first axis."""
    pictures = batch.pictures
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

    def of(i: int) -> Restoration:
        return jax.tree.map(lambda x: x[i * job.samples : (i + 1) * job.samples], result)

    return [of(i) for i in range(len(pictures))]
