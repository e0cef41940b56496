"""The members of a zip file as views of its bytes; nothing is unpacked."""

import re
import struct
import zipfile
import zlib

from perceptual_jax.checkpoints.untrusted.inert import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    safe_repr,
)

MAX_DIRECTORY = 2 * 2**20
"""Largest directory in bytes; that of a training state has some 80 bytes for each tensor."""


def members(data: memoryview) -> dict[str, memoryview]:
    """The members of an archive as views, by name.

    Args:
        data: The bytes of the archive.

    Raises:
        CheckpointError: If the archive is incomplete, or one that `torch.save` would not write:
            with compressed, encrypted or overlapping members, duplicate names, or names that
            point outside of the archive.
    """
    tail = bytes(data[-65557:])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise DamagedCheckpointError(
            "the file begins as a zip archive and lacks its end; get it again"
        )
    try:
        with zipfile.ZipFile(_Reader(data)) as archive:
            infos = archive.infolist()
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise DamagedCheckpointError(f"the file is a damaged zip archive ({error})") from None
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UnsafeCheckpointError(
                f"the file is a zip archive with a compressed or encrypted part "
                f"{safe_repr(info.filename)}; torch.save writes none"
            )
        if info.filename in found:
            raise UnsafeCheckpointError(
                f"the file is a zip archive with two {safe_repr(info.filename)}"
            )
        if info.filename.startswith("/") or ".." in re.split(r"[/\\]", info.filename):
            raise UnsafeCheckpointError(
                f"the file is a zip archive with the odd name {safe_repr(info.filename)}"
            )
        found[info.filename] = info
    # Checked before any checksum, because overlapping members would be read many times.
    if sum(info.file_size for info in infos) > len(data):
        raise UnsafeCheckpointError(
            "the file is a zip archive whose parts are larger than itself; torch.save writes none"
        )
    return {name: _member(data, info) for name, info in found.items()}


def _member(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    part = safe_repr(info.filename)
    head = data[info.header_offset : info.header_offset + 30]
    if len(head) < 30 or bytes(head[:4]) != b"PK\x03\x04":
        raise DamagedCheckpointError(f"the file is damaged: {part} is not in its place")
    name, extra = struct.unpack_from("<HH", head, 26)
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > len(data):
        raise DamagedCheckpointError(f"the file ends too early, in {part}; get it again")
    content = data[start : start + info.file_size]
    # Archives that were saved without checksums have zeros in this field.
    if info.CRC and zlib.crc32(content) != info.CRC:
        raise DamagedCheckpointError(
            f"the file is damaged: {part} does not match its checksum; get it again"
        )
    return content


class _Reader:
    """A read-only, seekable file over the bytes, without a copy of all of them."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = (0, self.at, len(self.data))[whence] + offset
        if self.at < 0:
            raise ValueError("negative position")
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        end = len(self.data) if count < 0 else min(self.at + count, len(self.data))
        if end - self.at > MAX_DIRECTORY:
            raise UnsafeCheckpointError(
                f"the file is a zip archive with a directory of more than {MAX_DIRECTORY:,} "
                "bytes, where those of torch.save have a tenth of that; get it again"
            )
        piece = bytes(self.data[self.at : end])
        self.at += len(piece)
        return piece
