"""A job over one sequence: faces found in all frames, tracked, restored frame by frame, put back.

    frames -> faces of each (finding) -> tracks, smoothed -> one frame after the other -> the record

    frames/NAME.png    the frames, with the names of those that were given
    NAME.mp4           of a video instead, with its sound; its frames are removed then
    sequence.json      the record, written last
    faces.jsonl        the faces that were found in each frame
    .state/            what the next frame needs, while the job runs (`memory`)

One frame is in memory at a time. Every file is written whole, so the same call resumes a job that
was killed at any moment: frames that are done are not done again, and the others come out the same.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from upath import UPath

from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import (
    check_folder,
    load_json,
    make_folder,
    place_of,
    refuse_existing,
    remove_leftovers,
)
from perceptual_jax.jobs.log import Failure, Record
from perceptual_jax.jobs.photographs.options import AUTO, PhotographOptions
from perceptual_jax.jobs.photographs.search import Finder
from perceptual_jax.jobs.plan import DEFAULT, JobOptions, load_tools
from perceptual_jax.jobs.processes import hold_lease
from perceptual_jax.jobs.resume import CONFIG, RESULTS, write_config
from perceptual_jax.jobs.sequences.finding import FACES, begin, find_all, read_lines
from perceptual_jax.jobs.sequences.memory import STATE, remove_memory
from perceptual_jax.jobs.sequences.options import STEADY, SequenceOptions
from perceptual_jax.jobs.sequences.running import (
    FRAMES,
    RECORD,
    finish,
    make_run,
    remove_frames,
    report_result,
    restore_frames,
    result_path,
    tidy,
)
from perceptual_jax.jobs.sequences.source import Source, open_source
from perceptual_jax.photographs.face import Face
from perceptual_jax.types import Generator

FINDING = 0.1
"""Part of the progress of a frame that finding its faces counts as."""

_ADVICE = "choose another folder, or overwrite"


class SequenceSummary(NamedTuple):
    """How a job over a sequence ended."""

    out: Path
    result: Path
    """The folder of the frames, or the video."""
    frames: int
    """Number of frames of the sequence."""
    kept: int
    """Frames that an earlier job had finished."""
    faces: int
    """Tracks that were restored."""
    flicker: float | None
    """Flicker beside the input's; None if nothing stands still, or no face is restored."""
    failed: tuple[Failure, ...]
    """Frames in which the search for a face stopped early."""
    seconds: float

    def __str__(self) -> str:
        """One line for the user."""
        text = f"{self.frames} frames ({self.kept} kept) with {self.faces} faces restored"
        if self.flicker is not None:
            text += f", flicker {self.flicker:.2f} of the input's"
        return f"{text} in {self.seconds:.1f} s; results in {self.result}"


def restore_sequence(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | UPath,
    config: RestoreConfig,
    options: JobOptions = DEFAULT,
    *,
    photographs: PhotographOptions = AUTO,
    sequence: SequenceOptions = STEADY,
    find: Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[Face]] | None = None,
    generator: Generator | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> SequenceSummary:
    """Restores the faces of a folder of frames, or of a video, as one sequence.

    Args:
        source: A folder of pictures of one size, in the order of the numbers in their names; or a
            video of constant frame rate, with the extra `video`.
        out: Folder for the results, of this machine.
        config: Settings of the restorations.
        options: Settings of the job: one process and one sample.
        photographs: How faces are found and put back. Marked faces are those of the frames that the
            file names; a video's frames are called `clip.mp4/000012`.
        sequence: How the frames depend on each other.
        find: Replaces the search for faces; the file of boxes comes before it.
        generator: Replaces the generator that the config names.
        report: Receives lines for the user.
        progress: Called now and then with the number of frames done, where finding the faces of a
            frame counts as a tenth, and their number.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: If the sequence cannot be restored.
        WriteError, ImageError: If the job cannot continue. Finished frames stay.
    """
    started = time.monotonic()
    say, show = report or (lambda line: None), progress or (lambda done, total: None)
    folder = _checked(out, options, photographs)
    footage = open_source(source, folder)
    if footage.video is not None and os.path.realpath(folder) == os.path.realpath(
        footage.path.parent
    ):
        raise UsageError(f"the result could replace {footage.path}; choose another folder")
    finder = Finder(photographs, find, say)
    finder.check_marks(footage.frame_inputs())
    tools = load_tools(config, options, generator=generator, report=report)
    used = tools.settings._asdict() | photographs.of_result() | {"sequence": sequence.to_json()}
    header = {"settings": used, "input": footage.describe()}
    _refuse_others(folder, footage, header, overwrite=options.overwrite)
    record = load_json(folder / RECORD)
    if record is not None and not options.overwrite and _is_finished(folder, record):
        tidy(folder, footage)
        return _summary(folder, record, record["sequence"]["frames"], started)
    make_folder(folder)
    with hold_lease(folder, options.share) as heartbeat:
        if options.overwrite:
            _remove_earlier(folder)
        for inner in (FRAMES, STATE):
            remove_leftovers(folder / inner)
        begin(folder, header)
        write_config(folder, tools.config)

        def noted(done: float) -> None:
            heartbeat.note(total=len(footage.names), done=int(done), failed=0)
            show(done, len(footage.names))

        seen = find_all(
            footage, folder, finder, report=say, progress=lambda done: noted(FINDING * done)
        )
        run = make_run(folder, footage, seen, tools, options, photographs, sequence)
        say(run.overview())
        kept = restore_frames(run, progress=noted)
        record = finish(run, header)
    report_result(record, say)
    return _summary(folder, record, kept, started)


def _checked(
    out: str | os.PathLike[str] | UPath, options: JobOptions, photographs: PhotographOptions
) -> Path:
    """The folder, if the options are those of a sequence."""
    folder = place_of(out)
    if not isinstance(folder, Path):
        raise UsageError(f"a sequence is restored into a folder of this machine, not {out}")
    check_folder(folder)
    if options.samples > 1 or options.share.count > 1 or options.cluster is not None:
        raise UsageError("a sequence is restored by one process, with one sample of each face")
    if photographs.align == "never":
        raise UsageError("faces are searched for in a sequence, so align cannot be never")
    return folder


def _refuse_others(out: Path, source: Source, header: Record, *, overwrite: bool) -> None:
    """Refuses a folder with results of something else."""
    if overwrite:
        return
    there, _ = read_lines(out)
    if there is None:
        names = [CONFIG, RESULTS, RECORD, FACES, FRAMES, result_path(out, source).name]
        refuse_existing([out / name for name in names], overwrite=False)
        return
    for part in ("input", "settings"):
        known = there.get(part, {})
        for name, value in header[part].items():
            if known.get(name) != value:
                raise UsageError(
                    f"{out} holds another sequence ({name} is {known.get(name)} there and {value} "
                    f"here); {_ADVICE}"
                )


def _is_finished(out: Path, record: Record) -> bool:
    return all((out / file).is_file() for file in record["files"])


def _remove_earlier(out: Path) -> None:
    """Removes the files of an earlier job that would pass for this one's."""
    for path in (out / RECORD, out / FACES, out / CONFIG):
        path.unlink(missing_ok=True)
    remove_memory(out)
    remove_frames(out)


def _summary(out: Path, record: Record, kept: int, started: float) -> SequenceSummary:
    sequence = record["sequence"]
    return SequenceSummary(
        out=out,
        result=out / record["result"],
        frames=sequence["frames"],
        kept=kept,
        faces=sum(track["restored"] > 0 for track in sequence["tracks"]),
        flicker=sequence["flicker"]["ratio"],
        failed=tuple(Failure(record["input"]["path"], note) for note in sequence["stopped"]),
        seconds=time.monotonic() - started,
    )
