"""A job: restores files into a folder that records what was done, so that the job can be resumed.

    list inputs -> own share -> prefetch (feed) -> restore a batch -> write in threads (loop)

An input that cannot be read or restored becomes a line in the results and never stops the others.
A job stops only for errors that concern all inputs: wrong settings (before anything is written), a
full disk, too little memory. Whatever stops it, every file in the folder is whole, and the same
call resumes the job, with this number of processes or another.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from upath import UPath

from perceptual_jax.config import RestoreConfig
from perceptual_jax.degradation.canvas import canvas_of
from perceptual_jax.io.files import Place, make_folder, place_of, printable
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.engine import job_of
from perceptual_jax.jobs.feed import Batch, Sizes, load_batches
from perceptual_jax.jobs.log import Failure, Journal, Record, put_in_order
from perceptual_jax.jobs.loop import Watch, Writer, restore_all
from perceptual_jax.jobs.plan import DEFAULT, JobOptions, Plan, make_plan
from perceptual_jax.jobs.processes import hold_lease
from perceptual_jax.jobs.ray.cluster import Cluster
from perceptual_jax.jobs.resume import RESULTS, write_config
from perceptual_jax.jobs.snapshots import Group, remove_empty_snapshots
from perceptual_jax.prior.mmd import PAPER_BANDWIDTH
from perceptual_jax.prior.prior import Prior
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
    watch: Watch | None = None,
) -> JobSummary:
    """Restores files into a folder; results that are finished there are not computed again.

    Args:
        inputs: Files, folders (with all folders below), globs, tar shards, `tfds:` names, remote
            addresses and lists of them, see `io.inputs`. Pictures are aligned face crops in
            FFHQ framing, square, of at least 4 pixels.
        out: Folder for the results, of this machine or of a store (`io.files`); `writing`, `resume`
            and `log` describe the files.
        config: Settings of the restorations.
        options: Settings of the job.
        generator: Replaces the generator that the config names.
        report: Receives lines for the user: fetching, the choice of data terms.
        progress: Called now and then with the number of pictures that this process has done,
            fractions included, and the number that it has to restore.
        watch: Called after each piece of a search, see `jobs.loop.Watch`; not on a Ray cluster.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: Before anything is written.
        WriteError, JobError: If the job cannot continue. Finished results stay.
    """
    started = time.monotonic()
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    plan = make_plan(sources, place_of(out), config, options, generator=generator, report=report)
    make_folder(plan.out)
    with hold_lease(plan.out, options.share) as heartbeat:
        write_config(plan.out, plan.config)
        with Journal(plan.out, options.share, heartbeat, total=len(plan.todo)) as journal:
            log_problems(plan, journal)
            if plan.todo:
                restore_todo(plan, journal, report=report, progress=progress, watch=watch)
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


def log_problems(plan: Plan, journal: Journal) -> None:
    """Logs the sources that give no input as failures, by the first process."""
    for source, reason in plan.problems if plan.options.share.index == 0 else ():
        journal.add(writing.failure_record(None, source, reason), None)


def restore_todo(
    plan: Plan,
    journal: Journal,
    *,
    report: Callable[[str], None] | None,
    progress: Callable[[float, int], None] | None,
    written: Callable[[Record], None] | None = None,
    watch: Watch | None = None,
) -> None:
    """Restores the inputs of this process that are not finished, and writes the results.

    Args:
        plan: The plan of the job; a Ray cluster restores them where its options name one.
        journal: Receives the records.
        report: As in `restore_files`.
        progress: As in `restore_files`.
        written: Called with the record of each result that is written, from any thread.
        watch: As in `restore_files`.
    """
    config, options = plan.config, plan.options
    if options.cluster is not None:
        _restore_on_ray(plan, options.cluster, journal, report, progress, written)
        return
    job = job_of(plan.tools, options, snapshots=plan.snapshots)
    batches = _batches(plan, job.sizes)
    if report is not None:
        _report_bandwidth(job.prior, config, report)
        batches = _reported(batches, report)
    with Writer(
        plan.out,
        config.noise,
        journal,
        job_fields=plan.tools.fields(),
        redone=plan.redone,
        snapshots=job.snapshots,
        output=options.output,
        written=written,
    ) as writer:
        restore_all(
            job, batches, writer, journal, trace=options.trace, progress=progress, watch=watch
        )


def _restore_on_ray(
    plan: Plan,
    cluster: Cluster,
    journal: Journal,
    report: Callable[[str], None] | None,
    progress: Callable[[float, int], None] | None,
    written: Callable[[Record], None] | None,
) -> None:
    """Lets the workers of a Ray cluster restore the inputs and write the results."""
    from perceptual_jax.jobs.ray.engine import restore_on_ray

    def batches(sizes: Sizes) -> Iterator[Batch]:
        made = _batches(plan, sizes)
        return made if report is None else _reported(made, report)

    restore_on_ray(
        plan, cluster, batches, journal, report=report, progress=progress, written=written
    )


def _put_results_in_order(plan: Plan) -> None:
    """Rewrites the results file with one line for each input, in the order of the inputs."""
    asked = [problem.source for problem in plan.problems] + [x.path for x in plan.inputs]
    records = {printable(x.path): plan.out / f"{x.name}.json" for x in plan.inputs}
    put_in_order(plan.out / RESULTS, map(printable, asked), records)


def _batches(plan: Plan, sizes: Sizes) -> Iterator[Batch]:
    """Yields the inputs in batches, those with a partial search first."""
    snapshots, balanced = plan.snapshots, sizes.balances(len(plan.inputs))
    groups = [Group(list(plan.todo), None)] if snapshots is None else snapshots.groups(plan.todo)
    return itertools.chain.from_iterable(
        load_batches(
            group.inputs,
            plan.config,
            max_pictures=min(sizes.max_pictures, group.pictures or sizes.max_pictures),
            balanced=balanced and group.pictures is None,
            resolution=plan.tools.generator.resolution,
        )
        for group in groups
    )


def _reported(batches: Iterator[Batch], report: Callable[[str], None]) -> Iterator[Batch]:
    """Passes the batches through, reporting the first picture of each term and note."""
    seen: set[Any] = set()
    for batch in batches:
        for picture in batch.pictures:
            for note in picture.notes:
                if note not in seen:
                    seen.add(note)
                    report(
                        f"{printable(picture.input.path.name)}: {note} (said once for all inputs)"
                    )
        for picture in batch.pictures[:1]:
            size = canvas_of(picture.pixels.shape[0])
            compiled = (size, picture.header_info.degradation, batch.full)
            if picture.header_info.degradation not in seen:
                seen.add(picture.header_info.degradation)
                first = f"{printable(picture.input.path.name)} ({picture.header_info.reason})"
                report(f"data term {picture.header_info.degradation}: {first}")
            if compiled not in seen:
                seen.add(compiled)
                report(
                    f"compiling the search for pictures of up to {size} pixels, "
                    f"{batch.full} at once"
                )
        yield batch


def _report_bandwidth(prior: Prior, config: RestoreConfig, report: Callable[[str], None]) -> None:
    """Reports a bandwidth that was scaled from the paper's, because the latents are not FFHQ's."""
    width = float(prior.bank.bandwidth)
    if config.prior.bandwidth == "paper" and width != PAPER_BANDWIDTH:
        report(
            f"the kernel's bandwidth is {width:.3g}, as wide beside this generator's latents as "
            f"the paper's {PAPER_BANDWIDTH:g} is beside FFHQ's"
        )
