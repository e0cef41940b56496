"""The members of a zip file as views of its bytes; nothing is unpacked."""

import re
import struct
import zipfile
import zlib

from perceptual_jax.checkpoints.inert import DamagedCheckpointError, UnsafeCheckpointError

_MAX_DIRECTORY = 4 * 2**20


def members(data: memoryview) -> dict[str, memoryview]:
    """The members by name.

    Raises:
        CheckpointError: If it is no whole archive, or one that `torch.save` would not write: with
            compressed or encrypted members, two of a name, or names that lead elsewhere.
    """
    tail = bytes(data[-65557:])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise DamagedCheckpointError(
            "the file begins as a zip archive and lacks its end; get it again"
        )
    if struct.unpack_from("<I", tail, at + 12)[0] > _MAX_DIRECTORY:
        raise UnsafeCheckpointError("the file is a zip archive with an absurdly large directory")
    try:
        with zipfile.ZipFile(_Reader(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise DamagedCheckpointError(f"the file is a damaged zip archive ({error})") from None
    found = {}
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UnsafeCheckpointError(
                f"the file is a zip archive with a compressed or encrypted part "
                f"{info.filename!r}; torch.save writes none"
            )
        if info.filename in found:
            raise UnsafeCheckpointError(f"the file is a zip archive with two {info.filename!r}")
        if info.filename.startswith("/") or ".." in re.split(r"[/\\]", info.filename):
            raise UnsafeCheckpointError(
                f"the file is a zip archive with the odd name {info.filename!r}"
            )
        found[info.filename] = _member(data, info)
    return found


def _member(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    head = data[info.header_offset : info.header_offset + 30]
    if len(head) < 30 or bytes(head[:4]) != b"PK\x03\x04":
        raise DamagedCheckpointError(f"the file is damaged: {info.filename!r} is not in its place")
    name, extra = struct.unpack_from("<HH", head, 26)
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > len(data):
        raise DamagedCheckpointError(f"the file ends too early, in {info.filename!r}; get it again")
    content = data[start : start + info.file_size]
    # Archives that were saved without checksums have zeros there.
    if info.CRC and zlib.crc32(content) != info.CRC:
        raise DamagedCheckpointError(
            f"the file is damaged: {info.filename!r} does not match its checksum; get it again"
        )
    return content


class _Reader:
    """The bytes as a file that can be read and sought, without a copy of them all."""

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
        piece = bytes(self.data[self.at : end])
        self.at += len(piece)
        return piece
