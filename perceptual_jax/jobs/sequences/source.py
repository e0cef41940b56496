"""The frames of a sequence: the pictures of a folder, or a video."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import Place, printable, reason_of
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.inputs import Input, collect_inputs
from perceptual_jax.io.photographs import Photograph, read_photograph
from perceptual_jax.io.videos import Video, inspect_video, read_frames
from perceptual_jax.jobs.log import Record


class Frame(NamedTuple):
    """A frame in memory."""

    source: Input
    photograph: Photograph
    sha256: str | None
    """SHA-256 of its file; None for a frame of a video."""


class Source(NamedTuple):
    """A folder of frames, or a video."""

    path: Path
    names: Sequence[str]
    """Names of the frames, in their order."""
    inputs: Sequence[Input]
    """The files of the frames; none for a video."""
    video: Video | None
    """The video's rate; None for a folder."""
    sha256: str | None
    """SHA-256 of a video's file; None for a folder."""

    def describe(self) -> Record:
        """The input, for the record."""
        known: Record = {"path": printable(self.path), "frames": len(self.names)}
        if self.video is not None:
            known |= {"sha256": self.sha256, "rate": str(self.video.rate)}
        return known

    def frame_inputs(self) -> list[Input]:
        """The frames as inputs, by whose paths faces may be marked: `clip.mp4/000012`."""
        return list(self.inputs) or [Input(self.path / name, name) for name in self.names]

    def frames(self, start: int) -> Iterator[Frame]:
        """Yields the frames from number `start` on, one at a time.

        Raises:
            VideoError, UsageError: If one of them cannot be read.
        """
        if self.video is None:
            yield from map(_read, self.inputs[start:])
            return
        for name, pixels in itertools.islice(
            zip(self.names, read_frames(self.path), strict=False), start, None
        ):
            yield Frame(Input(self.path / name, name), Photograph(pixels), None)


def _read(source: Input) -> Frame:
    try:
        data = source.read_bytes()
        return Frame(source, read_photograph(source.path, data), hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise UsageError(f"cannot read the frame {source.path}: {reason_of(error)}") from error
    except ImageError as error:
        raise UsageError(f"{error}; a sequence needs all of its frames") from error


def open_source(path: str | os.PathLike[str], out: Place) -> Source:
    """Lists the frames of a folder in the order of the numbers in their names, or opens a video.

    Args:
        path: The folder or the video.
        out: The job's folder, which is skipped.

    Raises:
        UsageError: If there is no such file or folder, or PyAV is needed and not installed.
        InputError: If the folder holds no picture.
        VideoError: If the file is no video, or has a variable frame rate.
    """
    place = Path(os.path.abspath(path))
    if place.is_dir():
        inputs, _ = collect_inputs([place], out=out)
        inputs = sorted(inputs, key=lambda source: natural_key(source.name))
        return Source(place, [source.name for source in inputs], inputs, None, None)
    if not place.is_file():
        raise UsageError(f"{path} does not exist; a sequence is a folder of frames or a video")
    video = inspect_video(place)
    with open(place, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(place, [f"{i:06d}" for i in range(video.frames)], (), video, digest)


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them.

    Example:
        >>> sorted(["b10", "b9", "b09x"], key=natural_key)
        ['b9', 'b09x', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
