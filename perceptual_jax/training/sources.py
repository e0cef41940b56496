"""Clean pictures to train on: folders and tensorflow-datasets, as one random access source.

A source is named in one of these forms; a slice at the end selects files in the order of their
names:

    faces
    faces[:-100]
    tfds:celeb_a_hq/256
    tfds:celeb_a_hq/256:train[:90%]
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.io.bundles import BundleError, open_dataset
from perceptual_jax.io.images import ImageError, read_image, reduce_picture
from perceptual_jax.io.inputs import InputError, collect_inputs

CACHE_BYTES = 2**30
"""Memory for reduced pictures: decoding takes longer than a training step."""


class DataError(InputError):
    """Training data that cannot be used; the message is one sentence for the user."""


class Entry(NamedTuple):
    """A picture that is read on demand."""

    name: str
    """Name without an extension, unique in its source."""
    read: Callable[[], UInt8[np.ndarray, "h w 3"]]
    """Reads and decodes the picture."""


class PictureSource:
    """Pictures by index, reduced to a common shorter side: a random access source for grain."""

    def __init__(self, entries: Sequence[Entry], *, size: int):
        """Reads no picture until it is indexed.

        Args:
            entries: The pictures.
            size: Pixels of the shorter side; a smaller picture stays as it is.
        """
        self._entries = tuple(entries)
        self._size = size
        self._cache: dict[int, np.ndarray] = {}
        self._cached = 0

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._entries)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of an index; it is cached, so callers must not modify it.

        Raises:
            DataError: If it cannot be read.
        """
        if index not in self._cache:
            entry = self._entries[index]
            try:
                image = reduce_picture(entry.read(), self._size)
            except ImageError as error:
                raise DataError(f"{error}; take it out of the training data") from error
            if self._cached + image.nbytes > CACHE_BYTES:
                return image
            self._cached += image.nbytes
            self._cache[index] = image
        return self._cache[index]

    def __repr__(self) -> str:
        """The number of pictures and their size."""
        return f"PictureSource({len(self)} pictures, shorter side {self._size})"

    def name(self, index: int) -> str:
        """The name of the picture of an index."""
        return self._entries[index].name


def open_sources(
    data: str | Iterable[str], *, size: int, report: Callable[[str], None] | None = None
) -> PictureSource:
    """The pictures that `data` names.

    Args:
        data: Folders, globs, files and `tfds:` names, each with a slice at its end or not.
        size: Pixels of the shorter side that larger pictures are reduced to.
        report: Receives a line that counts what folders left out.

    Raises:
        DataError: If one of them gives no picture, or is a dataset that cannot be opened.
    """
    entries = []
    for part in [data] if isinstance(data, str) else data:
        if part.startswith("tfds:"):
            entries += _dataset_entries(part.removeprefix("tfds:"))
        else:
            entries += _file_entries(part, report)
    if not entries:
        raise DataError("no training data was given; name a folder or tfds:NAME")
    return PictureSource(entries, size=size)


def _file_entries(part: str, report: Callable[[str], None] | None) -> list[Entry]:
    path, wanted = _split_slice(part)
    try:
        inputs, _ = collect_inputs([path], report=report)
    except InputError as error:
        raise DataError(str(error)) from error
    chosen = sorted(inputs, key=lambda source: source.name)[wanted]
    if not chosen:
        raise DataError(f"{part} names none of the {len(inputs)} pictures of {path}")
    _require_readable(part, chosen[:16])
    return [Entry(s.name, lambda s=s: read_image(s.path, data=s.read_bytes())) for s in chosen]


def _require_readable(part: str, sources: Sequence[Any]) -> None:
    """Refuses a folder at once if none of its first files is a picture."""
    problem = None
    for source in sources:
        try:
            read_image(source.path, data=source.read_bytes())
        except ImageError as error:
            problem = problem or error
        else:
            return
    raise DataError(f"{part} has no readable picture: {problem}")


def _split_slice(part: str) -> tuple[str, slice]:
    """A path and the slice at its end.

    Example:
        >>> _split_slice("faces[:-100]")
        ('faces', slice(None, -100, None))
    """
    match = re.fullmatch(r"(.+)\[(-?\d*):(-?\d*)(?::(-?\d+))?\]", part)
    if match is None:
        return part, slice(None)
    start, stop, step = (int(number) if number else None for number in match.groups()[1:])
    if step == 0:
        raise DataError(f"the step of a slice must not be 0, got {part}")
    return match[1], slice(start, stop, step)


def _dataset_entries(name: str) -> list[Entry]:
    """The images of a prepared dataset: NAME[/CONFIG][:SPLIT]."""
    try:
        source = open_dataset(name)
    except BundleError as error:
        raise DataError(f"tfds:{name} {error}") from error
    return [Entry(f"{i:08d}", lambda i=i: _to_rgb(source[i]["image"])) for i in range(len(source))]


def _to_rgb(image: Any) -> UInt8[np.ndarray, "h w 3"]:
    image = np.asarray(image, np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
