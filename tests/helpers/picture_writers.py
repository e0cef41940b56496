"""Writers of PNG, TIFF and ICC files from the standards, independent of Pillow; their meaning."""

import struct
import zlib

import numpy as np

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
D65 = (0.3127, 0.3290)
D50 = (0.3457, 0.3585)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name, body):
    checksum = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + checksum


def packed(samples, depth):
    """Rows of samples as bytes, the first sample in the highest bits."""
    rows = samples.reshape(len(samples), -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in rows]
    bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def png(samples, depth, colour_type, *, chunks=(), palette=None, end=True):
    """A PNG of samples [h w c]; `chunks` are pairs of a name and a body, before the pixels."""
    height, width, channels = samples.shape
    assert channels == _CHANNELS[colour_type]
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head)]
    before = [c for c in chunks if c[0] != b"tRNS"]
    parts += [chunk(*one) for one in before]
    if palette is not None:
        parts.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    parts += [chunk(*one) for one in chunks if one[0] == b"tRNS"]
    rows = b"".join(b"\0" + row for row in packed(samples, depth))
    parts.append(chunk(b"IDAT", zlib.compress(rows)))
    return b"".join([*parts, chunk(b"IEND", b"") if end else b""])


def exif(orientation):
    """The body of an eXIf chunk."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, orientation, 0, 0)


def iccp(profile):
    return b"iCCP", b"p\0\0" + zlib.compress(profile)


def tiff(samples, bits, *, photometric=1, sample_format=1, order="<"):
    """An uncompressed TIFF of grey samples [h w]; 12 bits are packed."""
    height, width = samples.shape
    kinds = {(1, 16): "u2", (1, 32): "u4", (2, 8): "i1", (2, 16): "i2", (2, 32): "i4"}
    if bits < 16 and sample_format == 1:
        data = b"".join(packed(samples[:, :, None], bits))
    else:
        kind = "f4" if sample_format == 3 else kinds[sample_format, bits]
        data = samples.astype(order + kind).tobytes()
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0)]
    entries += [(277, 1), (278, height), (279, len(data)), (339, sample_format)]
    offset = 8 + 2 + 12 * len(entries) + 4
    entries = [(tag, offset if tag == 273 else value) for tag, value in entries]
    directory = struct.pack(order + "H", len(entries)) + b"".join(
        struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + directory + b"\0\0\0\0" + data


def xyz(white):
    x, y = white
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(primaries, white):
    columns = np.stack([xyz(one) for one in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz(white))


def adapted(source, target):
    """Bradford's matrix between two white points."""
    cone = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gains = (cone @ xyz(target)) / (cone @ xyz(source))
    return np.linalg.inv(cone) @ np.diag(gains) @ cone


def icc(primaries, gamma, *, space=b"RGB "):
    """An ICC profile (version 2) with a gamma: of a display with three primaries, or of greys."""

    def fixed(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(65536 * v)) for v in values)

    d50 = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"p\0" + bytes(79)
    tags = [(b"desc", text), (b"wtpt", fixed(d50)), (b"cprt", b"text\0\0\0\0\0\0\0\0")]
    if space == b"GRAY":
        tags.append((b"kTRC", curve))
    else:
        matrix = adapted(D65, D50) @ to_xyz(primaries, D65)
        tags += [(f"{c}XYZ".encode(), fixed(matrix[:, i])) for i, c in enumerate("rgb")]
        tags += [(f"{c}TRC".encode(), curve) for c in "rgb"]
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags:
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28)
    head += b"".join(struct.pack(">i", round(65536 * v)) for v in d50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def in_srgb(values, primaries, gamma):
    """Values [... 3] in [0, 1] of these primaries and gamma as sRGB values in [0, 1]."""
    matrix = np.linalg.inv(to_xyz(SRGB, D65)) @ to_xyz(primaries, D65)
    light = np.clip(values**gamma @ matrix.T, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def upright(image, orientation):
    """What a viewer does to the stored rows and columns (EXIF 2.3, tag 0x0112)."""
    return {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: image[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(image),
    }[orientation]
