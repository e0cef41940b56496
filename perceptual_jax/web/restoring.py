"""Restores the picture of one request by the job over photographs, and tells of it.

The job works in a folder of the request, so that a result is the one of the command line, byte by
byte; whoever made the folder deletes it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import load_json
from perceptual_jax.io.images import ImageError, decode_image, to_uint8
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.photographs.job import restore_photographs
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.photographs.search import load_nets
from perceptual_jax.jobs.plan import JobOptions, from_different_starts
from perceptual_jax.jobs.reading import read_picture
from perceptual_jax.photographs.detection.find import find_faces
from perceptual_jax.photographs.face import Face
from perceptual_jax.prior.prior import Prior
from perceptual_jax.restoration.batch import Progress
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.types import Generator
from perceptual_jax.web.events import Cancelled, Event, Forming, Map, Note, Outcome, RestoreError
from perceptual_jax.web.maps import maps_of
from perceptual_jax.web.requests import Request

Pixels = UInt8[np.ndarray, "h w 3"]

DRAFT = 256
"""Largest side in pixels of the pictures that are shown while they form."""

DRAFTS = 4
"""Number of them."""


class Tools(NamedTuple):
    """All that requests share; loaded once."""

    config: RestoreConfig
    generator: Generator
    generator_name: str | None
    """The config's name of the generator; None if it was given in Python."""
    prior: Prior
    find: Callable[[Pixels], Sequence[Face]] | None
    """Finds the faces of photographs; None if only aligned crops are restored."""
    why_no_faces: str | None
    """Why there is no `find`, in a sentence."""


def load_tools(
    config: RestoreConfig,
    *,
    generator: Generator | None = None,
    find: Callable[[Pixels], Sequence[Face]] | None = None,
    report: Callable[[str], None] | None = None,
) -> Tools:
    """Loads the generator and, where they can be had, the nets that find faces.

    Args:
        config: Settings of the restorations, which requests change in part.
        generator: Replaces the generator that the config names.
        find: Replaces the search for faces.
        report: Receives lines for the user.

    Raises:
        ConfigError, WeightsError: If the generator cannot be used.
    """
    name = config.generator if generator is None else None
    if generator is None:
        generator = load_generator(config.generator, report=report, dtype=config.dtype)
    why = None
    if find is None:
        find, why = _finder(report)
    return Tools(config, generator, name, default_prior(generator, config), find, why)


def _finder(
    report: Callable[[str], None] | None,
) -> tuple[Callable[[Pixels], Sequence[Face]] | None, str | None]:
    try:
        nets = load_nets(report)
    except (UsageError, WeightsError) as error:
        return None, str(error)
    return lambda pixels: find_faces(pixels, nets), None


class Look(NamedTuple):
    """What is known of a picture before it is restored."""

    pixels: Pixels
    """As a viewer shows it."""
    text: str
    """What it is, and for a crop the data term that fits and why."""


def look_at(tools: Tools, request: Request) -> Look:
    """Reads a picture, and says what would be done with it.

    Raises:
        ImageError: If it cannot be read, or not be restored here.
    """
    path = Path(request.file_name)
    try:
        decoded = decode_image(path, data=request.data)
        height, width, _ = decoded.pixels.shape
        if width != height:
            if tools.find is None:
                raise ImageError(
                    f"expected a square aligned face crop, got {width} x {height}, since "
                    f"{tools.why_no_faces}"
                )
            text = f"A photograph of {width} x {height} pixels: its faces are searched for, "
            return Look(decoded.pixels, text + "restored and put back.")
        config = request.config(tools.config)
        picture = read_picture(
            Input(path, path.stem, lambda: request.data),
            max_size=config.data.max_size,
            degradation=config.degradation,
            detail=config.data.detail,
        )
    except ImageError as error:
        raise ImageError(str(error).removeprefix(f"cannot read {path}: ")) from error
    info = picture.header_info
    text = f"As an aligned crop: data term {info.degradation} ({info.reason})."
    if tools.find is not None:
        text += " If it is framed otherwise, its faces are searched for."
    return Look(decoded.pixels, text)


def restore(
    tools: Tools,
    request: Request,
    folder: Path,
    tell: Callable[[Event], None],
    cancelled: threading.Event,
) -> Outcome:
    """Restores the picture of a request.

    Args:
        tools: What requests share.
        request: The request.
        folder: An empty folder for the input and the results.
        tell: Receives what happens; called from this thread.
        cancelled: Ends the search at its next piece once it is set.

    Raises:
        Cancelled: Once that is asked for.
        RestoreError: If the picture cannot be restored; the reason is one sentence.
        Error: If the request cannot be fulfilled for another reason.
    """
    source, out = folder / request.file_name, folder / "out"
    source.write_bytes(request.data)
    config, pace = request.config(tools.config), Pace()

    def check() -> None:
        if cancelled.is_set():
            raise Cancelled("cancelled; nothing is kept")

    def note(line: str) -> None:
        check()
        tell(Note(line))

    def watch(piece: Progress) -> None:
        check()
        side = min(DRAFT, tools.generator.resolution)
        drafts = to_uint8(piece.drafts(min(DRAFTS, len(set(piece.rows))), side))
        left = pace.seconds_left(time.monotonic())
        tell(Forming(piece.step, piece.steps, pace.share, left, list(drafts)))

    check()
    summary = restore_photographs(
        [source],
        out,
        config,
        JobOptions(samples=request.samples),
        photographs=PhotographOptions(
            align="never" if tools.find is None else "auto", faces=request.faces
        ),
        find=tools.find,
        generator=tools.generator,
        report=note,
        progress=lambda done, total: pace.note(time.monotonic(), done, total),
        watch=watch,
    )
    if summary.failed:
        raise RestoreError(_reason(tools, summary.failed[0].reason))
    return _outcome(tools, request, from_different_starts(config, samples=request.samples), folder)


def _reason(tools: Tools, reason: str) -> str:
    advice = f"; {tools.why_no_faces}" if tools.find is None and "square" in reason else ""
    return f"{reason}{advice}"


class Pace:
    """The share of a request that is done, and how long the rest takes."""

    def __init__(self) -> None:
        """Nothing is done yet."""
        self.share = 0.0
        self._first: tuple[float, float] | None = None

    def note(self, now: float, done: float, total: int) -> None:
        """Takes what a job tells: of a photograph it counts the faces and the whole.

        Args:
            now: Seconds.
            done: Of `total`.
            total: Number of faces and photographs.
        """
        share = min(done / max(total - 1, 1), 1.0)
        if share > 0 and self._first is None:  # The first piece has to be compiled.
            self._first = (now, share)
        self.share = share

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all is done, by the pace since the first piece; None before the second.

        Example:
            >>> pace = Pace()
            >>> for second in (30, 31, 32):
            ...     pace.note(second, (second - 29) / 10, 1)
            >>> round(pace.seconds_left(32), 3)
            7.0
        """
        if self._first is None:
            return None
        begun, first = self._first
        if self.share <= first or now <= begun:
            return None
        return (1 - self.share) * (now - begun) / (self.share - first)


def _outcome(tools: Tools, request: Request, config: RestoreConfig, folder: Path) -> Outcome:
    source, out = folder / request.file_name, folder / "out"
    (path,) = (x for x in out.glob("*.json") if x.name.rpartition(".")[0] == source.stem)
    record = _named(tools, request, load_json(path) or {})
    is_photograph = "photograph" in record
    crops = [(record, Input(source, source.stem), "")]
    if is_photograph:
        crops = list(_faces(out, record))
        record["restored_faces"] = [_named(tools, request, face) for face, _, _ in crops]
    images = record.get("images") or [one["image"] for one in record["restorations"]]
    pictures = [out / image for image in images]
    with Image.open(pictures[0]) as result:
        size = result.size
    before = Image.fromarray(decode_image(source).pixels).resize(size, Image.Resampling.LANCZOS)
    maps: list[Map] = []
    for one, crop, of in crops:
        maps += maps_of(
            out, one, crop, config=config, generator=tools.generator, prior=tools.prior, of=of
        )
    return Outcome(np.asarray(before), pictures, record, maps)


def _faces(out: Path, record: Record) -> Iterator[tuple[Record, Input, str]]:
    """Yields the record, the crop and the label of each restored face of a photograph."""
    for face in record["photograph"]["faces"]:
        if face["skipped"] is None:
            number = face["number"]
            name = f"{record['name']}/face-{number}"
            crop = Input(out / record["name"] / face["crop"], name)
            yield load_json(out / f"{name}.json") or {}, crop, f", face {number}"


def _named(tools: Tools, request: Request, record: Record) -> Record:
    """A record with the names that the user knows in place of those of this machine."""
    about = record["input"] | {"path": request.name}
    named = {} if tools.generator_name is None else {"generator": tools.generator_name}
    return record | named | {"input": about}
