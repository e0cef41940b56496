"""A job: files in, restored faces out, in a folder that tells what was done and can be gone on.

    list -> own share -> read ahead (feed) -> restore a batch -> write behind (loop) -> next batch

An input that cannot be read or restored is a line in the results and never stops the others.
What stops a job is what concerns all of them: wrong settings (before anything is written), a
disk that is full, memory that does not suffice. Whatever stops it, every file that is there is
whole, and the same call again goes on where it stopped, with this number of processes or another.
"""

import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from upath import UPath

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig, UsageError
from perceptual_jax.io.files import (
    Place,
    check_folder,
    load_json,
    make_folder,
    names_in,
    place_of,
    printable,
)
from perceptual_jax.io.inputs import Input, collect_inputs
from perceptual_jax.jobs import log, writing
from perceptual_jax.jobs.feed import EVEN, Batch, feed
from perceptual_jax.jobs.log import Journal, Record, put_in_order, quarantined, stamp_of
from perceptual_jax.jobs.loop import Job, Sink, restore_all
from perceptual_jax.jobs.processes import Share, hold
from perceptual_jax.jobs.resume import (
    INDEX,
    RESULTS,
    Group,
    Snapshots,
    finished_inputs,
    remove_empty_snapshots,
    write_config,
)
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import NOT_LEARNED, files_sha256, load_model
from perceptual_jax.prior.mmd import PAPER_BANDWIDTH
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.presets import check_fit, default_batch_size, default_prior
from perceptual_jax.types import Generator

ALONE = Share()
SAMPLE_SPREAD = 0.5
"""`prior.spread` of samples, where the config would start them all at the mean."""


class Failure(NamedTuple):
    """An input that was not restored, or not to the end."""

    source: str
    """Its path, or what the caller named."""
    reason: str
    """One sentence."""


class JobSummary(NamedTuple):
    """How a job ended."""

    out: Place
    restored: int
    """Pictures restored by this job."""
    kept: int
    """Pictures that an earlier job had restored."""
    failed: tuple[Failure, ...]
    seconds: float

    def __str__(self) -> str:
        """One line for the user."""
        counts = f"restored {self.restored}, kept {self.kept}, failed {len(self.failed)}"
        return f"{counts} in {self.seconds:.1f} s; results in {self.out}"


def restore_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] | UPath,
    config: RestoreConfig,
    *,
    samples: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    snapshot_every: int | None = None,
    share: Share = ALONE,
    trace: Path | None = None,
    generator: Generator | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> JobSummary:
    """Restores files into a folder; what is finished there is not done again.

    Args:
        inputs: Files, folders (with all folders below), globs, tar shards, `tfds:` names, remote
            addresses and lists of them, see `io.inputs`. Pictures are aligned face crops in
            FFHQ framing, square, of at least 4 pixels.
        out: Folder for the results, of this machine or of a store (`io.files`); `writing`, `resume`
            and `log` say what is written.
        config: What to do.
        samples: Restorations of each picture, from different starts.
        seed: Of all draws, from 0 to 2^32 - 1.
        batch_size: Pictures searched at once; by memory if None.
        overwrite: Redo pictures that are finished, whatever settings they were done with.
        retry_failed: Try inputs again that failed before, though their files have not changed.
        snapshot_every: Steps after which a search in its middle is kept, to go on from there; for
            searches that take very long. None: never.
        share: Which of several processes this is; each restores its own pictures.
        trace: Folder for a profiler's trace of the second batch.
        generator: Takes the place of the one that the config names.
        report: Gets lines for the user while a generator is fetched.
        progress: Called now and then with the number of pictures done by this process, fractions
            included, and the number of those it has to do.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: Before anything is written.
        WriteError, JobError: If the job cannot go on. What is finished stays.
    """
    started = time.monotonic()
    out = place_of(out)
    _check_numbers(samples=samples, seed=seed, batch_size=batch_size, snapshot_every=snapshot_every)
    check_folder(out)
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    everything, problems = collect_inputs(sources, out=out, reserved=[Path(INDEX).stem])
    degradation_sha256 = files_sha256(config.degradation)
    config = from_different_starts(config, samples=samples)
    if generator is None:
        generator = load_generator(config.generator, report=report, dtype=config.dtype)
    check_fit(config, generator)
    settings = writing.settings_of(
        config,
        generator,
        degradation_sha256=degradation_sha256,
        seed=seed,
        samples=samples,
    )
    own = [source for source in everything if share.owns(source.name)]
    there = names_in(out)
    finished = {} if overwrite else finished_inputs(out, there, own, config, settings)
    left = [source for source in own if source.name not in finished]
    todo, skipped = split_quarantined(left, out, retry=retry_failed or overwrite)
    models = functools.cache(functools.partial(_load_model, dtype=config.dtype))
    if config.degradation != "auto":
        models(config.degradation)  # a file that is none is refused before anything is written

    failed = [
        *skipped,
        *(_failure_of(out / f"{n}.json") for n, good in finished.items() if not good),
    ]
    make_folder(out)
    with hold(out, share) as beat:
        write_config(out, config)
        with Journal(out, share, beat, total=len(todo)) as journal, Sink() as sink:

            def add(record: Record, source: Input | None = None) -> None:
                if record["status"] != "OK":
                    failed.append(Failure(log.place(record), record["message"]))
                journal.add(record, source)

            for source, reason in problems if share.index == 0 else ():
                add(writing.failure_record(None, source, reason))
            if todo:
                job = Job(
                    out=out,
                    config=config,
                    generator=generator,
                    prior=default_prior(generator, config.prior),
                    models=models,
                    seed=seed,
                    samples=samples,
                    size=batch_size or default_batch_size(generator, config),
                    about=_about(settings, config),
                    redone=frozenset(x.name for x in todo if f"{x.name}.json" in there),
                    snapshots=Snapshots(out, settings, snapshot_every) if snapshot_every else None,
                )
                few = batch_size is None and share.count == 1
                batches = _batches(job, todo, even=few and len(everything) <= EVEN * job.most)
                if report is not None:
                    _report_bandwidth(job.prior, config, report)
                    batches = _reported(batches, report)
                restore_all(job, batches, sink, journal, add, trace=trace, progress=progress)
        if share.count == 1:
            remove_empty_snapshots(out)
            asked = [problem.source for problem in problems] + [x.path for x in everything]
            records_of = {printable(x.path): out / f"{x.name}.json" for x in everything}
            put_in_order(out / RESULTS, map(printable, asked), records_of)
    return JobSummary(
        out=out,
        restored=journal.done,
        kept=sum(finished.values()),
        failed=tuple(failed),
        seconds=time.monotonic() - started,
    )


def _about(settings: Settings, config: RestoreConfig) -> Record:
    about = {"settings": settings._asdict(), "generator": config.generator}
    return about | writing.environment()


def _batches(job: Job, todo: Sequence[Input], *, even: bool) -> Iterator[Batch]:
    """The inputs in batches; those whose search is in its middle first."""
    groups = [Group(list(todo), None)] if job.snapshots is None else job.snapshots.groups(todo)
    return itertools.chain.from_iterable(
        feed(
            group.inputs,
            job.config,
            most=min(job.most, group.pictures or job.most),
            even=even and group.pictures is None,
        )
        for group in groups
    )


def split_quarantined(
    inputs: Sequence[Input], out: Place, *, retry: bool
) -> tuple[list[Input], list[Failure]]:
    """The inputs to try, and those that failed before and whose files are still the same."""
    known = {} if retry else quarantined(out)
    todo, skipped = [], []
    for source in inputs:
        place = printable(source.path)
        failure = known.get(place)
        stamp = {} if failure is None else stamp_of(source)
        if failure is not None and stamp and stamp.items() <= failure.items():
            skipped.append(Failure(place, failure["reason"]))
        else:
            todo.append(source)
    return todo, skipped


def _failure_of(path: Place) -> Failure:
    record = load_json(path) or {"input": {"path": str(path)}, "message": "it is gone"}
    return Failure(log.place(record), record["message"])


def _check_numbers(*, seed: int, **at_least_one: int | None) -> None:
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be from 0 to {2**32 - 1}, got {seed}")
    for name, value in at_least_one.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")


def from_different_starts(config: RestoreConfig, *, samples: int) -> RestoreConfig:
    """The config, spread out if it would start several samples of a picture at one point."""
    if samples == 1 or config.prior.start == "random" or config.prior.spread > 0:
        return config
    prior = dataclasses.replace(config.prior, spread=SAMPLE_SPREAD)
    return dataclasses.replace(config, prior=prior)


def _load_model(name: str, *, dtype: Any) -> Likelihood | None:
    return None if name in NOT_LEARNED else load_model(name, dtype=dtype)


def _reported(batches: Iterator[Batch], report: Callable[[str], None]) -> Iterator[Batch]:
    """The batches; of each data term, its first picture and why it has this term are said."""
    seen = set()
    for batch in batches:
        for picture in batch.pictures[:1]:
            if picture.look.degradation not in seen:
                seen.add(picture.look.degradation)
                first = f"{printable(picture.input.path.name)} ({picture.look.reason})"
                report(f"data term {picture.look.degradation}: {first}")
        yield batch


def _report_bandwidth(prior: Prior, config: RestoreConfig, report: Callable[[str], None]) -> None:
    """Says where the paper's number is not used, because the latents are not FFHQ's."""
    width = float(prior.bank.bandwidth)
    if config.prior.bandwidth == "paper" and width != PAPER_BANDWIDTH:
        report(
            f"the kernel's bandwidth is {width:.3g}, as wide beside this generator's latents as "
            f"the paper's {PAPER_BANDWIDTH:g} is beside FFHQ's"
        )
