"""Thirty kinds of broken and odd files, none of which is a face to restore."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(kind="PNG", *, size=(8, 8), mode="RGB", **options):
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind, content):
    sum_ = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)


def png_of(width, height, pixels):
    """A PNG whose header says one thing and whose pixels are another."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def bmp_of(width, height):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def tiff(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


def write_broken(folder):
    """Writes them all; their names."""
    png, jpeg, gif, webp = (encoded(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP"))
    flipped = bytearray(png)
    flipped[-30] ^= 0xFF
    files = {
        "empty.png": b"",
        "text.png": b"this is no picture\n" * 20,
        "html.jpg": b"<!DOCTYPE html><title>404</title>",
        "zeros.png": bytes(4096),
        "random.jpg": np.random.default_rng(0).bytes(4096),
        "signature.png": png[:8],
        "header.png": png[:33],
        "half.png": png[: len(png) // 2],
        "flipped.png": bytes(flipped),
        "half.jpg": jpeg[: len(jpeg) // 2],
        "headers_only.jpg": jpeg[:20],
        "half.gif": gif[: len(gif) // 2],
        "half.webp": webp[: len(webp) // 2],
        "half.tiff": encoded("TIFF")[:-100],
        "half.bmp": encoded("BMP")[:60],
        "script.svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "archive.png": b"PK\x03\x04" + bytes(100),
        "wide.png": encoded(size=(16, 8)),
        "tall.jpg": encoded("JPEG", size=(8, 16)),
        "dot.png": encoded(size=(1, 1)),
        "tiny.bmp": encoded("BMP", size=(3, 3)),
        "line.png": encoded(size=(64, 1)),
        "bomb.png": png_of(60_000, 60_000, bytes(10**6)),
        "absurd.png": png_of(2**31 - 1, 2**31 - 1, b""),
        "giant.bmp": bmp_of(30_000, 30_000),
        "large.bmp": bmp_of(9_000, 9_000),
        "no_pixels.png": png_of(0, 0, b""),
        "nan.tiff": tiff(np.full((8, 8), np.nan, np.float32)),
        "beyond.tiff": tiff(np.full((8, 8), 3.0, np.float32)),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    os.symlink("nowhere.png", folder / "dangling.png")
    return {*files, "dangling.png"}
