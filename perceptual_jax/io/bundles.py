"""Inputs that are no files of this machine: members of tar shards, datasets, remote objects.

    shard-000.tar            every image in it (WebDataset's layout: other members are left out)
    tfds:NAME[/CONFIG][:SPLIT]     a prepared dataset's images, by number; or tfds:NAME/SPLIT
    gs://bucket/folder, s3://, memory://   images and shards below it, or matching a glob

Each becomes a place to print, a name, and a function that reads its bytes.
"""

import functools
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from upath import UPath

from perceptual_jax.errors import Error
from perceptual_jax.io.files import Place, is_remote, place_of, read_object

_SPLITS = ("train", "test", "validation")


class Member(NamedTuple):
    """One image of a bundle."""

    place: Place
    """To print, and to tell it from all others; no file of this name need exist."""
    base: str
    """Its name within the bundle, without the extension."""
    read: Callable[[], bytes]


class BundleError(Error, ValueError):
    """A bundle that cannot be read; the message is the rest of a sentence that it begins."""


def members_of(source: str, is_image: Callable[[str], bool]) -> list[Member] | None:
    """The images of a bundle, in its order; None if it is none.

    Args:
        source: What was typed.
        is_image: Whether a file name is an image's.

    Raises:
        BundleError: If it cannot be read.
    """
    if source.startswith("tfds:"):
        return list(_of_dataset(source))
    if is_remote(source):
        return list(_of_store(source, is_image))
    if _is_tar(source) and os.path.isfile(source):
        return list(_of_tar(Path(os.path.abspath(source)), is_image))
    return None


def read_again(place: str) -> bytes:
    """The bytes of an image by what it was called: a file, an object, or a bundle's member.

    Raises:
        OSError, BundleError: If it is not there any more, or cannot be read.
    """
    if place.startswith("tfds:"):
        name, _, number = place.removeprefix("tfds:").rpartition("/")
        return _read_record(_dataset(name), int(number))
    path = place_of(place)
    for parent in path.parents:
        if _is_tar(parent.name) and parent.is_file():
            readers = _readers(parent)
            if place not in readers:
                raise FileNotFoundError(f"{parent} has no {place}")
            return readers[place]()
    return path.read_bytes()


@functools.lru_cache(maxsize=8)
def _readers(shard: Place) -> dict[str, Callable[[], bytes]]:
    return {str(member.place): member.read for member in _of_tar(shard, lambda name: True)}


@functools.lru_cache(maxsize=2)
def _dataset(name: str) -> Any:
    return open_dataset(name, decoded=False)


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


def _of_tar(shard: Place, is_image: Callable[[str], bool]) -> Iterator[Member]:
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                name = os.path.basename(info.name)
                if info.isreg() and is_image(name):
                    read = functools.partial(_read_part, shard, info.offset_data, info.size)
                    yield Member(shard / info.name, _base(info.name), read)
    except (tarfile.TarError, OSError) as error:
        raise BundleError(f"cannot be read as an uncompressed tar file ({error})") from error


def _read_part(path: Place, offset: int, size: int) -> bytes:
    if isinstance(path, UPath):
        return read_object(path, start=offset, end=offset + size)
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def open_dataset(name: str, *, decoded: bool = True) -> Any:
    """The examples of a prepared dataset by number, each a dict with an `image`.

    Args:
        name: NAME[/CONFIG][:SPLIT], or NAME/SPLIT for the usual splits.
        decoded: Whether images are arrays; else the bytes of their files.

    Raises:
        BundleError: If it cannot be opened, or has no images.
    """
    import tensorflow_datasets as tfds

    dataset, colon, split = name.partition(":")
    head, _, last = dataset.rpartition("/")
    if not colon and head and last in _SPLITS:
        dataset, split = head, last
    decoders: Any = None if decoded else {"image": tfds.decode.SkipDecoding()}
    # The library itself reads the variable once, when it is imported.
    folder = os.environ.get("TFDS_DATA_DIR")
    try:
        data: Any = tfds.data_source(
            dataset, split=split or "train", data_dir=folder, decoders=decoders, download=False
        )
        images = len(data) > 0 and "image" in data[0]
    except Exception as error:  # Whatever a dataset's own code raises.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"cannot be opened ({reason}); prepare it with tfds build "
            "--file_format=array_record, and set TFDS_DATA_DIR if it is not in the usual place"
        ) from error
    if not images:
        raise BundleError("has no images")
    return data


def _of_dataset(source: str) -> Iterator[Member]:
    name = source.removeprefix("tfds:")
    data = open_dataset(name, decoded=False)
    stem = name.partition(":")[0].replace("/", "-")
    for i in range(len(data)):
        read = functools.partial(_read_record, data, i)
        yield Member(Path(source) / f"{i:08d}", f"{stem}-{i:08d}", read)


def _read_record(data: Any, index: int) -> bytes:
    return bytes(data[index]["image"])


def _of_store(source: str, is_image: Callable[[str], bool]) -> Iterator[Member]:
    try:
        folder = place_of(source)
        assert isinstance(folder, UPath)
        store, path = folder.fs, folder.path
        store.invalidate_cache()
        if any(sign in path for sign in "*?["):
            found, root = store.glob(path), path.split("*")[0].rpartition("/")[0]
        elif store.isdir(path):
            found, root = store.find(path), path
        else:
            found, root = [path] if store.exists(path) else [], path.rpartition("/")[0]
    except Exception as error:  # Whatever a store's driver raises.
        raise BundleError(f"cannot be listed ({error})") from error
    for file in sorted(map(str, found)):
        place = UPath(store.unstrip_protocol(file))
        if is_image(place.name):
            below = file.removeprefix(root).lstrip("/")
            yield Member(place, _base(below), functools.partial(read_object, place))
        elif _is_tar(place.name):
            yield from _of_tar(place, is_image)


def _base(name: str) -> str:
    return "__".join(Path(name).with_suffix("").parts).lstrip("/")
