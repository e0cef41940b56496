"""Makes files readable whose pixels are sound, though their metadata or their end is not.

The containers of PNG (W3C, Portable Network Graphics) and JPEG (ITU-T T.81, annex B) are walked
here, since Pillow stops at metadata that it cannot read. The pixels are decoded by Pillow alone.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from perceptual_jax.io.colour import MAX_PROFILE_BYTES, Codes, Colours

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"eXIf")
_ESSENTIAL = (b"IHDR", b"PLTE", b"IDAT")
_END = b"\0\0\0\0IEND\xaeB`\x82"
_FILLINGS = (b"\x00", b"\x55", b"\xaa\x91\x3c", b"\x12\xe7")
_FILLED = 4096
_PIECE = 2**20


def without_metadata(data: bytes) -> bytes | None:
    """The file with its pixels, its orientation and nothing else; None for other formats."""
    if data.startswith(PNG):
        chunks = [
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body, sound in _chunks(data)
            if name in _PIXELS and (sound or name not in (b"tRNS", b"eXIf"))
        ]
        return PNG + b"".join(chunks) + _END
    if data.startswith(JPEG):
        return _without_segments(data)
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields the name and body of each whole chunk of a PNG, and whether its checksum holds.

    A chunk of pixels whose checksum fails ends the file.
    """
    for name, body, sound in _all_chunks(data):
        if not sound and name in _ESSENTIAL:
            return
        yield name, body, sound


def has_damaged_pixels(data: bytes) -> bool:
    """Whether a PNG's pixels fail both their checksums, which Pillow may not notice.

    It compares none of the chunks', and the data's own only if it comes to their end. Where that
    one holds the pixels are sound.
    """
    chunks = [(body, sound) for name, body, sound in _all_chunks(data) if name == b"IDAT"]
    if not data.startswith(PNG) or all(sound for _, sound in chunks):
        return False
    stream, rest = zlib.decompressobj(), b"".join(body for body, _ in chunks)
    try:
        while rest and not stream.eof:
            stream.decompress(rest, _PIECE)
            rest = stream.unconsumed_tail
    except zlib.error:
        return True
    return not stream.eof


def _all_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4 or name == b"IEND":
            return
        yield name, body, checksum == struct.pack(">I", zlib.crc32(name + body))
        at += 12 + length


def png_colours(data: bytes) -> Colours:
    """The description of colours in a PNG's chunks; damaged chunks are ignored."""
    codes, profile, is_srgb, gamma, primaries = None, None, False, None, None
    for name, body, sound in _chunks(data):
        if name == b"IDAT":
            break
        if name == b"cICP" and sound and len(body) == 4 and body[2] == 0:
            codes = Codes(body[0], body[1], bool(body[3]))
        elif name == b"iCCP":
            profile = _inflated(body.partition(b"\0")[2][1:]) if sound else b""
        elif name == b"sRGB" and sound:
            is_srgb = True
        elif name == b"gAMA" and sound and len(body) == 4 and any(body):
            gamma = int.from_bytes(body) / 100_000
        elif name == b"cHRM" and sound and len(body) == 32:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", body))
    return Colours(codes, profile, is_srgb, gamma, primaries)


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""


def png_depth(data: bytes) -> int:
    """Bits of a sample of a PNG; 8 if the file has no header."""
    return data[24] if data[12:16] == b"IHDR" and len(data) > 24 else 8


def nclx_colours(data: bytes) -> Codes | None:
    """The code points in the `colr` box of AVIF or HEIF, if the file has one."""
    at = data.find(b"colrnclx")
    if data[4:8] != b"ftyp" or at < 0 or len(data) < at + 15:
        return None
    primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    return Codes(primaries, transfer)  # the decoder has brought the values to the full range


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker, the beginning and the end of each segment of a JPEG.

    The end of a scan is that of its entropy-coded data.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xD9:
            return
        end = at + 2
        if marker not in (0x01, *range(0xD0, 0xD8)):
            end += int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:
            while (end := data.find(b"\xff", end)) >= 0:
                if data[end + 1 : end + 2] not in (b"\0", *(bytes([m]) for m in range(0xD0, 0xD8))):
                    break
                end += 2
            end = len(data) if end < 0 else end
        yield marker, at, end
        at = end


def _without_segments(data: bytes) -> bytes:
    """A JPEG without its application segments, but for JFIF's and Adobe's, and comments."""
    kept, last = [data[:2]], 2
    for marker, start, end in _segments(data):
        last = end
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[start:end])
    return b"".join([*kept, data[last:]])


def with_end(data: bytes) -> bytes | None:
    """A JPEG with the end marker that it lacks; None if it lacks pixels as well.

    The pixels are complete if no byte after the data changes them, and if the scans of a
    progressive file reach the last bit of every coefficient.
    """
    data = data.rstrip(b"\xff")
    if not data.startswith(JPEG) or not _has_all_scans(data):
        return None
    decoded, fillings = [], [one * (_FILLED // len(one)) for one in _FILLINGS]
    if any(marker == 0xDD for marker, _, _ in _segments(data)):
        # A decoder goes on at the next restart marker, and ignores what is before it.
        markers = [bytes([0xFF, 0xD0 + i % 8]) for i in range(_FILLED // 64)]
        fillings += [b"".join(mark + one * 16 for mark in markers) for one in _FILLINGS]
    for filling in fillings:
        whole = data + filling + b"\xff\xd9"
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(whole)) as image:
            decoded.append(np.asarray(image))
    same = all(np.array_equal(decoded[0], other) for other in decoded[1:])
    return data + b"\xff\xd9" if same else None


def _has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component is coded to its last bit."""
    left: dict[int, set[int]] = {}
    for marker, start, end in _segments(data):
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            components = data[start + 9]
            left = {data[start + 10 + 3 * i]: set(range(64)) for i in range(components)}
        elif marker == 0xDA and end > start + 8:
            count = data[start + 4]
            first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
            for i in range(count if bits & 15 == 0 else 0):
                left.get(data[start + 5 + 2 * i], set()).difference_update(range(first, last + 1))
    return bool(left) and not any(left.values())
