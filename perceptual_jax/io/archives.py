"""Images in archives: tar, compressed tar and zip, read by several threads.

Members of a tar file are read by their offsets, those of a zip file through its directory. A
compressed tar file allows neither, so it is unpacked once into a temporary file that has no name.
Nothing is ever written under a member's name: names are only identities, and are reduced to paths
below the archive. Sizes and numbers are bounded, since a small archive can unpack to a huge one.
"""

import bz2
import functools
import gzip
import lzma
import os
import re
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from upath import UPath

from perceptual_jax.errors import Error
from perceptual_jax.io.files import Place, read_object
from perceptual_jax.io.formats import LeftOut
from perceptual_jax.io.own_files import HEAD_BYTES, has_suspect_name, is_no_face

MAX_MEMBERS = 10_000_000
"""Most members of an archive."""

MAX_MEMBER_BYTES = 2**29
"""Largest member that is read: an uncompressed picture of the largest size that is decoded."""

MAX_RATIO = 100
"""Most bytes that a compressed tar file unpacks to for each of its own. Pictures are compressed
themselves, so that the ratio is near 1."""

ALWAYS_UNPACKED = 2**28
"""Bytes to which any compressed tar file may unpack."""

_NAMES = re.compile(r".*\.(tar|tar\.(gz|bz2|xz)|tgz|tbz2?|txz|zip)", re.IGNORECASE | re.DOTALL)
_CHUNK = 2**20


class Member(NamedTuple):
    """One image of a bundle."""

    place: Place
    """A unique path, for messages and records; no file need exist there."""
    base: str
    """The name within the bundle, without the extension."""
    read: Callable[[], bytes]
    """Reads the bytes of the image."""


class BundleError(Error, ValueError):
    """A bundle that cannot be read; the message is a predicate whose subject is the bundle."""


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive.

    Example:
        >>> [is_archive(name) for name in ("a.tar", "a.TGZ", "a.tar.xz", "a.zip", "tar", "a.gz")]
        [True, True, True, True, False, False]
    """
    return _NAMES.fullmatch(name) is not None


def archive_members(archive: Place, left_out: LeftOut) -> Iterator[Member]:
    """Yields the images in an archive, in its order; its content decides the format.

    Args:
        archive: The file.
        left_out: Counts the members that are no images, and this project's sheets and maps.

    Raises:
        BundleError: If the archive cannot be read, or exceeds a limit.
    """
    seen: set[str] = set()
    try:
        for name, size, read in _files(archive):
            path = inner_path(name)
            file = path.rpartition("/")[2]
            if not path or not left_out.is_image(file):
                continue
            if has_suspect_name(file) and is_no_face(read(min(size, HEAD_BYTES))):
                left_out.own += 1
                continue
            if path in seen:  # two names that differ only in what `inner_path` drops
                stem, extension = os.path.splitext(path)
                path = f"{stem}~{len(seen)}{extension}"
            seen.add(path)
            base = "__".join(Path(path).with_suffix("").parts)
            yield Member(archive / path, base, functools.partial(_read_whole, read, size))
    except BundleError:
        raise
    except Exception as error:  # The modules of the formats raise many types.
        reason = str(error) or type(error).__name__
        raise BundleError(f"cannot be read as a tar or zip file ({reason})") from error


def inner_path(name: str) -> str:
    r"""The path of a member below its archive, whatever its name tries to reach.

    Example:
        >>> inner_path("../../etc/x.png"), inner_path("/a/./b.png"), inner_path(r"C:\a.png")
        ('etc/x.png', 'a/b.png', 'a.png')
    """
    parts = re.split(r"[/\\]", name.replace("\0", ""))
    dropped = ("", ".", "..")
    return "/".join(p for p in parts if p not in dropped and not re.fullmatch(r"[A-Za-z]:", p))


def _files(archive: Place) -> Iterator[tuple[str, int, Callable[[int], bytes]]]:
    """Yields the name and size of each regular file, and a function that reads its first bytes."""
    with archive.open("rb") as file:
        head = file.read(6)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zip_files(archive)
        return
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\0": lzma}
    for magic, module in openers.items():
        if head.startswith(magic):
            unpacked = _unpacked(archive, module.open)
            # A duplicate, since the file's own descriptor is read by all threads later on.
            with open(os.dup(unpacked.number), "rb") as file:
                yield from _tar_files(file, unpacked.read)
            return
    with archive.open("rb") as file:
        yield from _tar_files(file, functools.partial(_read_part, archive))


def _tar_files(
    file: Any, read_part: Callable[[int, int], bytes]
) -> Iterator[tuple[str, int, Callable[[int], bytes]]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for number, info in enumerate(archive):
            _check_count(number)
            if info.isreg() and not info.issparse():
                yield info.name, info.size, functools.partial(read_part, info.offset_data)


def _zip_files(archive: Place) -> Iterator[tuple[str, int, Callable[[int], bytes]]]:
    whole = zipfile.ZipFile(archive if isinstance(archive, Path) else archive.open("rb"))
    for number, info in enumerate(whole.infolist()):
        _check_count(number)
        mode = info.external_attr >> 16
        if info.is_dir() or stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            continue
        if info.flag_bits & 1:
            raise BundleError("is encrypted; unpack it first")

        def read(size: int, info: zipfile.ZipInfo = info) -> bytes:
            with whole.open(info) as member:
                return member.read(size)

        yield info.filename, info.file_size, read


def _check_count(number: int) -> None:
    if number >= MAX_MEMBERS:
        raise BundleError(f"has more than {MAX_MEMBERS:,} members; divide it")


def _read_whole(read: Callable[[int], bytes], size: int) -> bytes:
    if size > MAX_MEMBER_BYTES:
        raise OSError(f"{size:,} bytes are more than the {MAX_MEMBER_BYTES:,} that are read")
    return read(size)


def _read_part(path: Place, start: int, size: int) -> bytes:
    if isinstance(path, UPath):
        return read_object(path, start=start, end=start + size)
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(size)


class _Temporary:
    """A temporary file without a name, which exists as long as this object."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="perceptual_jax-") as file:
            self.number = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.number)

    def read(self, start: int, size: int) -> bytes:
        """Reads bytes from a position, from any thread."""
        return os.pread(self.number, size, start)


def _unpacked(archive: Place, opener: Callable[[Any, str], Any]) -> _Temporary:
    """The content of a compressed file."""
    limit = max(ALWAYS_UNPACKED, MAX_RATIO * archive.stat().st_size)
    total = 0
    try:
        target = _Temporary()
        with archive.open("rb") as source, opener(source, "rb") as content:
            while chunk := content.read(_CHUNK):
                total += len(chunk)
                if total > limit:
                    raise BundleError(
                        f"unpacks to more than {limit:,} bytes, far more than pictures do; unpack "
                        "it yourself if you trust it"
                    )
                with open(target.number, "ab", closefd=False) as file:
                    file.write(chunk)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        folder = tempfile.gettempdir()
        raise BundleError(f"cannot be unpacked into {folder} ({reason}); see TMPDIR") from error
    os.lseek(target.number, 0, os.SEEK_SET)
    return target
