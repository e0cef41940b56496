"""The frames of a sequence one by one, each written whole, then the video and the record."""

import contextlib
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.io.encoding import PNG, is_ours
from perceptual_jax.io.files import json_text, make_folder, save_json, write_atomically
from perceptual_jax.io.images import read_image
from perceptual_jax.io.photographs import MAX_WRITTEN, check_size, encode_photograph
from perceptual_jax.io.videos import write_video
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.plan import JobOptions, Tools
from perceptual_jax.jobs.resume import RESULTS
from perceptual_jax.jobs.sequences.assembling import Studio, assemble_frame
from perceptual_jax.jobs.sequences.finding import Seen
from perceptual_jax.jobs.sequences.memory import Memory, load_memory, remove_memory, save_memory
from perceptual_jax.jobs.sequences.options import SequenceOptions
from perceptual_jax.jobs.sequences.searching import Searcher
from perceptual_jax.jobs.sequences.source import Source
from perceptual_jax.jobs.sequences.tracks import Track, make_tracks
from perceptual_jax.photographs.sequences.steadiness import Flicker

FRAMES, RECORD = "frames", "sequence.json"
"""Names in the folder of a sequence."""

LIMIT = 1.2
"""Flicker beside the input's from which the user is told that it is more than it should be."""


class Run(NamedTuple):
    """All that restores the frames of a sequence."""

    out: Path
    source: Source
    seen: Sequence[Seen]
    tracks: Sequence[Track]
    tools: Tools
    options: JobOptions
    photographs: PhotographOptions
    sequence: SequenceOptions
    size: tuple[int, int]
    """Width and height of the result in pixels."""

    @property
    def restored(self) -> list[Track]:
        """The tracks that are restored in some frames."""
        return [track for track in self.tracks if track.strengths.any()]

    @property
    def is_copy(self) -> bool:
        """Whether a video goes out as it came."""
        return (
            self.source.video is not None and not self.restored and self.size == self.seen[0].size
        )

    def path_of(self, frame: int) -> Path:
        """The file of a frame; PNG where a video is made of them."""
        output, name = self.options.output, self.seen[frame].name
        end = f"{output.suffix}{output.encoding.extension}" if self.source.video is None else ".png"
        return self.out / FRAMES / f"{name}{end}"

    def overview(self) -> str:
        """A line for the user."""
        scenes = 1 + sum(one.cut for one in self.seen)
        tracks = f"{len(self.restored)} of {len(self.tracks)} tracked faces to restore"
        return f"{tracks} in {len(self.seen)} frames, {scenes} scenes"


def make_run(
    out: Path,
    source: Source,
    seen: Sequence[Seen],
    tools: Tools,
    options: JobOptions,
    photographs: PhotographOptions,
    sequence: SequenceOptions,
) -> Run:
    """Tracks the faces, and decides the size of the result.

    Raises:
        ImageError: If no picture of this size can be written.
    """
    tracks = make_tracks(seen, photographs.faces, smoothing=sequence.smoothing)
    restored = any(track.strengths.any() for track in tracks)
    scale = photographs.scale_for(*seen[0].size, restored=restored)
    # The colours of a video have half of its rows and columns.
    unit = 1 if source.video is None else 2
    if source.video is not None and not restored and scale == 1:
        unit = 1
    width, height = (max(unit, unit * round(x * scale / unit)) for x in seen[0].size)
    check_size(width, height, options.output.encoding if source.video is None else PNG)
    return Run(out, source, seen, tracks, tools, options, photographs, sequence, (width, height))


def result_path(out: Path, source: Source) -> Path:
    """The folder of the frames, or the video."""
    return out / FRAMES if source.video is None else out / f"{source.path.stem}.mp4"


def restore_frames(run: Run, *, progress: Callable[[float], None]) -> int:
    """Restores the frames from the first one that is not done.

    Args:
        run: The frames and what restores them.
        progress: Called with the number of frames that are done.

    Returns:
        The number of frames that were done before.

    Raises:
        UsageError: If a frame cannot be read, or has changed since its faces were found.
        WriteError, ImageError: If a frame cannot be made or written.
    """
    if run.is_copy:
        return 0
    make_folder(run.out / FRAMES)
    count = len(run.seen)
    first = next((i for i in range(count) if not run.path_of(i).is_file()), count)
    progress(first)
    if first == count:
        return count
    remove_memory(run.out, before=first - 1)
    memory = load_memory(run.out, first - 1)
    searcher = Searcher(run.tools, seed=run.options.seed, warm=run.sequence.warm)
    studio = Studio(searcher, run.tracks, run.photographs, run.sequence, run.size)
    encoding = run.options.output.encoding if run.source.video is None else PNG
    for number, frame in enumerate(run.source.frames(first), first):
        if frame.sha256 != run.seen[number].sha256:
            raise UsageError(
                f"the frame {frame.source.path} has changed since its faces were found; overwrite"
            )
        result, memory = assemble_frame(studio, number, frame.photograph, memory)
        save_memory(run.out, number, memory)
        write_atomically(run.path_of(number), encode_photograph(result, encoding))
        remove_memory(run.out, before=number)
        progress(number + 1)
        if number + 1 == count:
            break
    return first


def finish(run: Run, header: Record) -> Record:
    """Writes the video, if it is one, and the record; then removes what is needed no more.

    Args:
        run: The frames, all of which are done.
        header: The settings and the input, for the record.
    """
    count, video, result = len(run.seen), run.source.video, result_path(run.out, run.source)
    memory = load_memory(run.out, count - 1)
    if run.is_copy:
        result = result.with_suffix(run.source.path.suffix)
        with open(run.source.path, "rb") as file:
            write_atomically(result, functools.partial(shutil.copyfileobj, file))
    elif video is not None:
        frames = (read_image(run.path_of(i), max_pixels=MAX_WRITTEN) for i in range(count))
        write_video(result, frames, video, sound=run.source.path)
    record = _describe(run, header, memory, result)
    write_atomically(run.out / RESULTS, (json_text(record) + "\n").encode())
    save_json(run.out / RECORD, record)
    tidy(run.out, run.source)
    return record


def tidy(out: Path, source: Source) -> None:
    """Removes what a finished sequence needs no more."""
    remove_memory(out)
    if source.video is not None:
        remove_frames(out)


def _describe(run: Run, header: Record, memory: Memory, result: Path) -> Record:
    flicker, stopped, total = memory.flicker, memory.notes, Flicker()
    for one in flicker.values():
        total += one
    files = [run.path_of(i) for i in range(len(run.seen))] if run.source.video is None else [result]
    message = f"{len(run.restored)} of {len(run.tracks)} tracked faces restored"
    if not run.tracks:
        message = "no face was found in any frame, so it is a copy"
    elif not run.restored:
        message = "no face was restored, so it is a copy"
    if stopped:
        message = "; ".join(stopped)
    return {
        "name": run.source.path.stem,
        "status": "NOT_FINITE" if stopped else "OK",
        "message": message,
        "input": header["input"],
        "sequence": {
            "frames": len(run.seen),
            "size": list(run.size),
            "cuts": [i for i, one in enumerate(run.seen) if one.cut],
            "tracks": [
                track.to_json()
                | {
                    "term": memory.terms.get(track.number),
                    "flicker": flicker.get(track.number, Flicker()).to_json(),
                }
                for track in run.tracks
            ],
            "flicker": total.to_json(),
            "stopped": stopped,
            "settings": header["settings"],
        },
        "result": result.relative_to(run.out).as_posix(),
        "files": [file.relative_to(run.out).as_posix() for file in files],
    } | run.tools.fields()


def report_result(record: Record, report: Callable[[str], None]) -> None:
    """Reports what is left alone, and how much the faces flicker."""
    sequence = record["sequence"]
    left = [track for track in sequence["tracks"] if not track["restored"]]
    if len(left) == len(sequence["tracks"]):
        report(record["message"])
    for track in left:
        report(
            f"face {track['number']} (frames {track['first']} to {track['last']}) is left as it "
            f"is: {track['skipped']}"
        )
    flicker = sequence["flicker"]
    if flicker["ratio"] is not None:
        line = (
            f"flicker {flicker['ratio']:.2f} of the input's: still places of faces change by "
            f"{flicker['result']:.2f} levels of 255 from frame to frame, the input's by "
            f"{flicker['input']:.2f}"
        )
        report(line if flicker["ratio"] <= LIMIT else f"{line}; more than {LIMIT}, look at it")


def remove_frames(out: Path) -> None:
    """Removes the frames of this project; a folder that holds others stays."""
    folder = out / FRAMES
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_file() and is_ours(path.read_bytes()):
                path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
