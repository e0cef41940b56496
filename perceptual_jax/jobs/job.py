"""A job: files in, restored faces out, in a folder that tells what was done and can be gone on.

    list -> own share -> read ahead (feed) -> restore a batch -> write behind (loop) -> next batch

An input that cannot be read or restored is a line in the results and never stops the others.
What stops a job is what concerns all of them: wrong settings (before anything is written), a
disk that is full, memory that does not suffice. Whatever stops it, every file that is there is
whole, and the same call again goes on where it stopped, with this number of processes or another.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from upath import UPath

from perceptual_jax.config import RestoreConfig
from perceptual_jax.io.files import (
    Place,
    make_folder,
    place_of,
    printable,
)
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.feed import EVEN, Batch, feed
from perceptual_jax.jobs.log import (
    Failure,
    Journal,
    Record,
    put_in_order,
)
from perceptual_jax.jobs.loop import Job, Writer, restore_all
from perceptual_jax.jobs.plan import DEFAULT, JobOptions, Plan, make_plan
from perceptual_jax.jobs.processes import hold
from perceptual_jax.jobs.resume import (
    RESULTS,
    Group,
    Snapshots,
    remove_empty_snapshots,
    write_config,
)
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.prior.mmd import PAPER_BANDWIDTH
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.presets import default_batch_size, default_prior
from perceptual_jax.types import Generator


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
    options: JobOptions = DEFAULT,
    *,
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
        options: How to go about it.
        generator: Takes the place of the one that the config names.
        report: Gets lines for the user while a generator is fetched.
        progress: Called now and then with the number of pictures done by this process, fractions
            included, and the number of those it has to do.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: Before anything is written.
        WriteError, JobError: If the job cannot go on. What is finished stays.
    """
    started = time.monotonic()
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    plan = make_plan(sources, place_of(out), config, options, generator=generator, report=report)
    make_folder(plan.out)
    with hold(plan.out, options.share) as beat:
        write_config(plan.out, plan.config)
        with Journal(plan.out, options.share, beat, total=len(plan.todo)) as journal:
            for source, reason in plan.problems if options.share.index == 0 else ():
                journal.add(writing.failure_record(None, source, reason), None)
            if plan.todo:
                _restore(plan, journal, report=report, progress=progress)
        if options.share.count == 1:
            remove_empty_snapshots(plan.out)
            _put_results_in_order(plan)
    return JobSummary(
        out=plan.out,
        restored=journal.done,
        kept=plan.kept,
        failed=(*plan.failures, *journal.failures),
        seconds=time.monotonic() - started,
    )


def _restore(
    plan: Plan,
    journal: Journal,
    *,
    report: Callable[[str], None] | None,
    progress: Callable[[float, int], None] | None,
) -> None:
    """Restores what is to do, and writes it."""
    config, generator, options = plan.config, plan.generator, plan.options
    every = options.snapshot_every
    job = Job(
        config=config,
        generator=generator,
        prior=default_prior(generator, config.prior),
        models=plan.models,
        seed=options.seed,
        samples=options.samples,
        size=options.batch_size or default_batch_size(generator, config),
        snapshots=Snapshots(plan.out, plan.settings, every) if every else None,
    )
    few = options.batch_size is None and options.share.count == 1
    batches = _batches(job, plan.todo, even=few and len(plan.inputs) <= EVEN * job.most)
    if report is not None:
        _report_bandwidth(job.prior, config, report)
        batches = _reported(batches, report)
    with Writer(
        plan.out,
        config.noise,
        journal,
        about=_about(plan.settings, config),
        redone=plan.redone,
        snapshots=job.snapshots,
    ) as writer:
        restore_all(job, batches, writer, journal, trace=options.trace, progress=progress)


def _put_results_in_order(plan: Plan) -> None:
    """One line for each input, in the order of the inputs."""
    asked = [problem.source for problem in plan.problems] + [x.path for x in plan.inputs]
    records = {printable(x.path): plan.out / f"{x.name}.json" for x in plan.inputs}
    put_in_order(plan.out / RESULTS, map(printable, asked), records)


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
