"""A job over photographs: faces are found, restored as crops are, and put back.

    inputs -> own share -> faces and their crops (finding) -> the job over all crops -> photographs

All faces of all photographs, and the inputs that are aligned crops, go through the same batches. A
photograph belongs with all its faces to one process, so that processes need not wait for each
other. Each stage is resumed from the files that it left.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from upath import UPath

from perceptual_jax.config import RestoreConfig
from perceptual_jax.io.files import make_folder, place_of, printable
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.job import (
    JobSummary,
    log_problems,
    restore_files,
    restore_todo,
)
from perceptual_jax.jobs.log import Journal, Record, put_in_order
from perceptual_jax.jobs.loop import Watch
from perceptual_jax.jobs.photographs.assembling import Assembler, Assembly
from perceptual_jax.jobs.photographs.finding import examine, is_tiny
from perceptual_jax.jobs.photographs.found import Found, refuse_foreign_folders
from perceptual_jax.jobs.photographs.options import AUTO, PhotographOptions
from perceptual_jax.jobs.photographs.search import Finder
from perceptual_jax.jobs.plan import DEFAULT, JobOptions, Plan, make_plan
from perceptual_jax.jobs.processes import hold_lease
from perceptual_jax.jobs.resume import RESULTS, names_with_faces, write_config
from perceptual_jax.jobs.snapshots import remove_empty_snapshots
from perceptual_jax.photographs.face import Face
from perceptual_jax.types import Generator

Report = Callable[[str], None]

_THREADS, _CHUNK = 8, 256


def restore_photographs(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] | UPath,
    config: RestoreConfig,
    options: JobOptions = DEFAULT,
    *,
    photographs: PhotographOptions = AUTO,
    find: Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[Face]] | None = None,
    generator: Generator | None = None,
    report: Report | None = None,
    progress: Callable[[float, int], None] | None = None,
    watch: Watch | None = None,
) -> JobSummary:
    """Restores the faces in photographs, and writes the whole photographs with them.

    Inputs that are aligned crops are restored as `restore_files` does. A photograph without a face
    is copied. Results that are finished in the folder are not computed again.

    Args:
        inputs: As in `restore_files`; photographs may have any shape.
        out: Folder for the results: `NAME.png` and `NAME.json` of each photograph, and a folder
            `NAME` with its faces (`jobs.photographs.found`).
        config: Settings of the restorations.
        options: Settings of the job.
        photographs: How faces are found and put back.
        find: Replaces the search for faces; the file of boxes comes before it.
        generator: Replaces the generator that the config names.
        report: Receives lines for the user.
        progress: Called now and then with the number of faces, crops and photographs that this
            process has done, fractions included, and the number that it has to do.
        watch: As in `restore_files`.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: Before anything is written.
        WriteError, JobError: If the job cannot continue. Finished results stay.
    """
    started = time.monotonic()
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    say = report or (lambda line: None)
    if photographs.align == "never":
        return restore_files(
            sources,
            out,
            config,
            options,
            generator=generator,
            report=report,
            progress=progress,
            watch=watch,
        )
    finder = Finder(photographs, find, say)
    plan = make_plan(
        sources,
        place_of(out),
        config,
        options,
        generator=generator,
        report=report,
        photographs=photographs.of_result(),
    )
    refuse_foreign_folders(plan.out, plan.todo)
    finder.check_marks(plan.inputs)
    if photographs.align == "always" and not all(map(finder.marks_of, plan.todo)):
        finder.prepare()
    make_folder(plan.out)
    with hold_lease(plan.out, options.share) as heartbeat:
        write_config(plan.out, plan.config)
        with Journal(plan.out, options.share, heartbeat, total=len(plan.todo)) as journal:
            log_problems(plan, journal)
            crops, found = _examined(plan, journal, finder, photographs, say)
            faces = [face for one in found for face in one.inputs(plan.out)]
            named = names_with_faces(plan.out, [one.source for one in found])
            of_faces = plan.with_inputs(faces, there=named)
            of_faces = of_faces._replace(
                inputs=[*plan.inputs, *faces],
                todo=[*crops, *of_faces.todo],
                redone=plan.redone | of_faces.redone,
            )
            journal.expect(len(of_faces.todo) + len(found) + len(journal.failures))
            restored = _restore(
                plan, of_faces, found, journal, photographs, report, progress, watch
            )
        if options.share.count == 1:
            remove_empty_snapshots(plan.out)
            _put_results_in_order(plan, found)
    failures = [*plan.failures, *of_faces.failures, *journal.failures]
    return JobSummary(
        out=plan.out,
        restored=restored,
        kept=plan.kept,
        failed=tuple(dict.fromkeys(failures)),
        seconds=time.monotonic() - started,
    )


def _examined(
    plan: Plan, journal: Journal, finder: Finder, options: PhotographOptions, say: Report
) -> tuple[list[Input], list[Found]]:
    """The inputs that are aligned crops, and the photographs with their faces; failures logged."""
    crops: list[Input] = []
    found: list[Found] = []
    noted: set[str] = set()
    searches = True
    for source, tiny in _sized(plan.todo, options):
        marked = bool(finder.marks_of(source))
        wanted = searches and not tiny and not marked
        if wanted and (why_not := finder.prepare()) is not None:
            say(f"inputs are taken for aligned crops, since {why_not}")
            searches = False
        if not marked and (tiny or not searches):
            crops.append(source)
            continue
        try:
            examined = examine(
                source,
                plan.out,
                finder,
                options,
                resolution=plan.tools.generator.resolution,
                encoding=plan.options.output.encoding,
                again=plan.options.overwrite,
                marked=marked,
            )
        except ImageError as error:
            reason = str(error).removeprefix(f"cannot read {source.path}: ")
            journal.add(writing.failure_record(source.name, source.path, reason), source)
            continue
        if examined.note is not None:
            say(f"{printable(source.path.name)}: {examined.note}")
        if examined.found is None:
            crops.append(source)
            continue
        found.append(examined.found)
        for note in examined.found.record["input"]["notes"]:
            if note not in noted:
                noted.add(note)
                say(f"{printable(source.path.name)}: {note} (said once for all photographs)")
    if found:
        chosen = sum(len(one.chosen) for one in found)
        say(f"{chosen} faces to restore in {len(found)} photographs, and {len(crops)} crops")
    return crops, found


def _sized(inputs: Sequence[Input], options: PhotographOptions) -> Iterator[tuple[Input, bool]]:
    """Yields each input, and whether it is too small to be looked at."""
    if options.align == "always":
        yield from ((source, False) for source in inputs)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(inputs), _CHUNK):
            chunk = inputs[start : start + _CHUNK]
            yield from zip(chunk, pool.map(is_tiny, chunk), strict=True)


def _restore(
    plan: Plan,
    of_faces: Plan,
    found: Sequence[Found],
    journal: Journal,
    options: PhotographOptions,
    report: Report | None,
    progress: Callable[[float, int], None] | None,
    watch: Watch | None,
) -> int:
    """Restores the crops and faces, and assembles the photographs; counts the finished pictures."""
    job = Assembly(
        out=plan.out,
        options=options,
        output=plan.options.output,
        samples=plan.options.samples,
        resolution=plan.tools.generator.resolution,
        fields=plan.tools.fields(),
    )
    pending: dict[str, set[str]] = {}
    for face in of_faces.todo:
        pending.setdefault(face.name.partition("/")[0], set()).add(face.name)
    finished: list[str] = []

    def note(record: Record) -> None:
        if record["status"] == "OK" and "/" not in record["name"]:
            finished.append(record["name"])
        if report is not None and "photograph" in record:
            report_left(record, report)

    with Assembler(job, journal, pending, found, after=note) as assembler:

        def written(record: Record) -> None:
            note(record)
            assembler.written(record["name"])

        if of_faces.todo:
            restore_todo(
                of_faces, journal, report=report, progress=progress, written=written, watch=watch
            )
    return len(finished)


def report_left(record: Record, report: Report) -> None:
    """Reports the faces of a photograph that are left alone, or that it has none."""
    name = printable(Path(record["input"]["path"]).name)
    left = [face for face in record["photograph"]["faces"] if face["skipped"] is not None]
    if len(left) == len(record["photograph"]["faces"]):
        report(f"{name}: {record['message']}")
        return
    for face in left:
        report(f"{name}: face {face['number']} is left as it is: {face['skipped']}")


def _put_results_in_order(plan: Plan, found: Sequence[Found]) -> None:
    """Rewrites the results file: each input, a photograph followed by its faces."""
    faces = {one.source.name: one.inputs(plan.out) for one in found}
    inputs = [x for source in plan.inputs for x in (source, *faces.get(source.name, ()))]
    asked = [problem.source for problem in plan.problems] + [printable(x.path) for x in inputs]
    records = {printable(x.path): plan.out / f"{x.name}.json" for x in inputs}
    put_in_order(plan.out / RESULTS, asked, records)
