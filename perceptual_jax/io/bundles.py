"""Inputs other than local files: members of archives, examples of datasets, remote objects.

    shard-000.tar, a.zip     every image in it (WebDataset's layout: other members are skipped)
    tfds:NAME[/CONFIG][:SPLIT]     a prepared dataset's images by index; or tfds:NAME/SPLIT
    gs://bucket/folder, s3://, memory://   images and shards below it, or matching a glob

Each becomes a path to print, a name, and a function that reads its bytes. Members of shards are
read by `archives` and not through fsspec's `tar://`, whose single handle threads cannot share.
"""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from perceptual_jax.io.archives import BundleError, Member, archive_members, is_archive
from perceptual_jax.io.files import Place, is_remote, place_of, read_object
from perceptual_jax.io.formats import LeftOut
from perceptual_jax.io.own_files import HEAD_BYTES, has_suspect_name, is_no_face

_SPLITS = ("train", "test", "validation")


def members_of(source: str, left_out: LeftOut) -> list[Member] | None:
    """Lists the images of a bundle, in its order; None if the source is not a bundle.

    Args:
        source: The source as the user typed it.
        left_out: Counts the files that are no images.

    Raises:
        BundleError: If the bundle cannot be read.
    """
    if source.startswith("tfds:"):
        return list(_dataset_members(source))
    if is_remote(source):
        return list(_store_members(source, left_out))
    if is_archive(source) and os.path.isfile(source):
        return list(archive_members(Path(os.path.abspath(source)), left_out))
    return None


def read_again(place: str) -> bytes:
    """Reads an image by its recorded path: a file, an object, or a member of a bundle.

    Raises:
        OSError, BundleError: If it does not exist any more, or cannot be read.
    """
    if place.startswith("tfds:"):
        name, _, number = place.removeprefix("tfds:").rpartition("/")
        return _read_record(_dataset(name), int(number))
    path = place_of(place)
    for parent in path.parents:
        if is_archive(parent.name) and parent.is_file():
            readers = _readers(parent)
            if place not in readers:
                raise FileNotFoundError(f"{parent} has no {place}")
            return readers[place]()
    return path.read_bytes()


@functools.lru_cache(maxsize=8)
def _readers(shard: Place) -> dict[str, Callable[[], bytes]]:
    return {str(member.place): member.read for member in archive_members(shard, LeftOut())}


@functools.lru_cache(maxsize=2)
def _dataset(name: str) -> Any:
    return open_dataset(name, decoded=False)


def open_dataset(name: str, *, decoded: bool = True) -> Any:
    """Opens a prepared dataset as a sequence of examples, each a dict with an `image`.

    Args:
        name: NAME[/CONFIG][:SPLIT], or NAME/SPLIT for the usual splits.
        decoded: Whether images are arrays; otherwise they are the bytes of their files.

    Raises:
        BundleError: If the dataset cannot be opened, or has no images.
    """
    import tensorflow_datasets as tfds

    dataset, colon, split = name.partition(":")
    head, _, last = dataset.rpartition("/")
    if not colon and head and last in _SPLITS:
        dataset, split = head, last
    decoders: Any = None if decoded else {"image": tfds.decode.SkipDecoding()}
    # The library reads the variable only once, when it is imported.
    folder = os.environ.get("TFDS_DATA_DIR")
    try:
        data: Any = tfds.data_source(
            dataset, split=split or "train", data_dir=folder, decoders=decoders, download=False
        )
        images = len(data) > 0 and "image" in data[0]
    except Exception as error:  # A dataset's own code may raise anything.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"cannot be opened ({reason}); prepare it with tfds build "
            "--file_format=array_record, and set TFDS_DATA_DIR if it is not in the usual place"
        ) from error
    if not images:
        raise BundleError("has no images")
    return data


def _dataset_members(source: str) -> Iterator[Member]:
    name = source.removeprefix("tfds:")
    data = open_dataset(name, decoded=False)
    stem = name.partition(":")[0].replace("/", "-")
    for i in range(len(data)):
        read = functools.partial(_read_record, data, i)
        yield Member(Path(source) / f"{i:08d}", f"{stem}-{i:08d}", read)


def _read_record(data: Any, index: int) -> bytes:
    return bytes(data[index]["image"])


def _store_members(source: str, left_out: LeftOut) -> Iterator[Member]:
    try:
        folder = place_of(source)
        if not isinstance(folder, UPath):
            raise TypeError(f"{source} is not in a store")
        store, path = folder.fs, folder.path
        store.invalidate_cache()
        if any(sign in path for sign in "*?["):
            found, root = store.glob(path), path.split("*")[0].rpartition("/")[0]
        elif store.isdir(path):
            found, root = store.find(path), path
        else:
            found, root = [path] if store.exists(path) else [], path.rpartition("/")[0]
    except Exception as error:  # A store's driver may raise anything.
        raise BundleError(f"cannot be listed ({error})") from error
    for file in sorted(map(str, found)):
        place = UPath(store.unstrip_protocol(file))
        if is_archive(place.name):
            yield from archive_members(place, left_out)
        elif left_out.is_image(place.name):
            if has_suspect_name(place.name) and is_no_face(read_object(place, end=HEAD_BYTES)):
                left_out.own += 1
                continue
            below = file.removeprefix(root).lstrip("/")
            base = "__".join(Path(below).with_suffix("").parts).lstrip("/")
            yield Member(place, base, functools.partial(read_object, place))
