"""Video files, read frame by frame and written as mp4, through PyAV (the extra `video`).

Frames are read as a viewer shows them: upright, and in RGB by the matrix that the file names, or
that of HD for untagged pictures of 720 rows or more. They are written as H.264 in BT.709, which
every player knows; sound is copied packet by packet, not encoded again.
"""

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import MAX_PIXELS

Pixels = UInt8[np.ndarray, "_ _ 3"]

MISSING = "videos are read by PyAV; install it with pip install 'perceptual-jax[video]'"

_UNEVEN = 1 / 4
"""Part of a frame's time by which its distance from the next may differ: files round times to their
clock, and a dropped frame is a whole one."""
_HD = 720
_BT709, _LIMITED, _UNKNOWN = 1, 1, 2
"""Numbers of ITU-T H.273 for matrix, primaries and curve, and FFmpeg's for the range of values."""
_QUALITY = "16"
"""Constant rate factor of x264, at which the result hardly differs from the encoded frames."""


class VideoError(UsageError):
    """A video that cannot be used; the message is one sentence for the user."""


class Video(NamedTuple):
    """What the headers of a video's packets say."""

    rate: Fraction
    """Frames per second."""
    frames: int
    """Number of frames by the packets; damaged ones may be missing when it is decoded."""
    start: int
    """The first frame's time in frames, beside the sound's clock."""


def require_reader() -> None:
    """Checks that PyAV is installed.

    Raises:
        UsageError: If it is not.
    """
    if importlib.util.find_spec("av") is None:
        raise UsageError(MISSING)


def inspect_video(path: Path) -> Video:
    """The rate of a video, from its packets, without decoding it.

    Raises:
        UsageError: If PyAV is not installed.
        VideoError: If the file is no video, or its frames are not equally far apart in time.
    """
    with _opened(path) as (container, stream):
        packets = container.demux(stream)
        times = sorted(p.pts for p in packets if p.pts is not None and p.size)
        base = stream.time_base or Fraction(1, 1)
        rate = stream.average_rate
    if not times:
        raise VideoError(f"{path} has no frame that can be decoded")
    if len(times) > 1:
        steps = np.diff(np.array(times, np.int64))
        usual = float(np.median(steps))
        if usual <= 0 or (np.abs(steps - usual) > _UNEVEN * usual + 1).any():
            fewest, most = (float(1 / (base * int(max(s, 1)))) for s in (steps.max(), steps.min()))
            raise VideoError(
                f"{path} has a variable frame rate ({fewest:.4g} to {most:.4g} a second); make it "
                "constant first, for example with ffmpeg -fps_mode cfr"
            )
        if not rate:
            rate = 1 / (base * Fraction(usual))
    rate = Fraction(rate or 25)
    return Video(rate, len(times), round(times[0] * base * rate))


def read_frames(path: Path) -> Iterator[Pixels]:
    """Yields the frames of a video, upright, one at a time.

    Raises:
        UsageError: If PyAV is not installed.
        VideoError: If the file is no video, or frames are too large.
    """
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if frame.width * frame.height > MAX_PIXELS:
                raise VideoError(f"the frames of {path} have more than {MAX_PIXELS:,} pixels")
            untagged = int(frame.colorspace) == _UNKNOWN and frame.height >= _HD
            options = {"src_colorspace": _BT709} if untagged else {}
            pixels = frame.to_ndarray(format="rgb24", **options)
            yield np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def write_video(
    path: Path, frames: Iterable[Pixels], video: Video, *, sound: Path | None = None
) -> None:
    """Writes an mp4 whole or not at all, replacing one that exists.

    Args:
        path: The file.
        frames: The frames, of one size with even sides.
        video: Rate and start of the frames.
        sound: A video whose sound is copied.

    Raises:
        UsageError: If PyAV is not installed.
        VideoError: If the sound cannot be put into an mp4, or nothing can be encoded.
        WriteError: If the file cannot be written.
    """
    require_reader()
    write_atomically(path, lambda file: _write(file, frames, video, sound))


def _write(file: BinaryIO, frames: Iterable[Pixels], video: Video, sound: Path | None) -> None:
    import av  # pyright: ignore[reportMissingImports]

    with contextlib.ExitStack() as stack:
        out: Any = stack.enter_context(av.open(file, "w", format="mp4"))
        sounds = _copied_sound(stack, out, sound)
        stream: Any = out.add_stream("libx264", rate=video.rate)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": _QUALITY}
        context = stream.codec_context
        context.time_base = 1 / video.rate
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        waiting = next(sounds, None)
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width, _ = pixels.shape
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709)
            picture.pts, picture.time_base = video.start + number, context.time_base
            # Sound and picture of one time stand near each other, or players wait for either.
            while waiting is not None and waiting[0] <= picture.pts / video.rate:
                out.mux(waiting[1])
                waiting = next(sounds, None)
            for packet in stream.encode(picture):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
        while waiting is not None:
            out.mux(waiting[1])
            waiting = next(sounds, None)


def _copied_sound(
    stack: contextlib.ExitStack, out: Any, sound: Path | None
) -> Iterator[tuple[Fraction, Any]]:
    """The packets of a video's sound with their times in seconds, made those of the new file."""
    if sound is None:
        return iter(())
    import av  # pyright: ignore[reportMissingImports]

    container: Any = stack.enter_context(av.open(str(sound)))
    copies = {}
    for stream in container.streams.audio:
        if stream.codec_context.name not in out.supported_codecs:
            raise VideoError(
                f"the sound of {sound} ({stream.codec_context.name}) does not go into an mp4; "
                "convert it to AAC first"
            )
        copies[stream.index] = out.add_stream_from_template(stream)
    return _packets(container, copies)


def _packets(container: Any, copies: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    if not copies:
        return
    for packet in container.demux(container.streams.audio):
        if packet.dts is None:  # the end of a stream
            continue
        time = packet.dts * packet.time_base
        packet.stream = copies[packet.stream.index]
        yield time, packet


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The open file and its stream of pictures; errors of the decoder become sentences."""
    require_reader()
    import av  # pyright: ignore[reportMissingImports]
    from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(f"{path} has no pictures, only sound")
            yield container, stream
    except FFmpegError as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise VideoError(f"{path} is no video that can be decoded ({reason})") from error
