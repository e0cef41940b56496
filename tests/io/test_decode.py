"""Pictures as a viewer shows them, compared with decoders written from the standards."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from perceptual_jax.io import colour, decode
from perceptual_jax.io.images import ImageError, decode_image, read_image
from tests.helpers import picture_writers as write
from tests.helpers.pictures import picture

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PROFILES = ("none", "icc", "gamma", "codes")


def read(data):
    return decode_image("a", data=data)


def mean_error(image, other):
    return np.abs(image.astype(float) - other).mean()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(kind, depth) for kind, depths in DEPTHS.items() for depth in depths]),
    st.integers(1, 8),
    st.sampled_from(PROFILES),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_png_of_any_depth_mode_orientation_and_profile(form, orientation, profile, holes, seed):
    kind, depth = form
    rng = np.random.default_rng(seed)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    samples = rng.integers(0, 2**depth, (5, 7, channels))
    palette = rng.integers(0, 256, (2**depth, 3)) if kind == 3 else None
    white = 2**depth - 1
    alpha = np.ones((5, 7, 1))
    chunks = [(b"eXIf", write.exif(orientation))]
    if kind == 3:
        values = palette[samples[:, :, 0]] / 255
    else:
        values = samples[:, :, : 3 if channels > 2 else 1] / white
    if kind in (4, 6):
        alpha = samples[:, :, -1:] / white
    elif holes and kind == 3:
        opacities = rng.integers(0, 256, 2**depth)
        chunks.append((b"tRNS", opacities.astype(np.uint8).tobytes()))
        alpha = opacities[samples] / 255
    elif holes:
        hole = samples[2, 3]
        chunks.append((b"tRNS", hole.astype(">u2").tobytes()))
        alpha = 1.0 - (samples == hole).all(axis=-1, keepdims=True)
    values = np.broadcast_to(values, (5, 7, 3))
    if profile == "icc":
        chunks.insert(0, write.iccp(write.icc(write.P3, 1.8)))
        values = write.in_srgb(values, write.P3, 461 / 256)
    elif profile == "gamma":
        chunks.insert(0, (b"gAMA", struct.pack(">I", 55556)))
        values = write.in_srgb(values, write.SRGB, 1 / 0.55556)
    elif profile == "codes":  # Display P3 with a gamma of 2.2
        chunks.insert(0, (b"cICP", bytes([12, 4, 0, 1])))
        values = write.in_srgb(values, write.P3, 2.2)
    shown = 255 * (alpha * values + 1 - alpha)
    data = write.png(samples, depth, kind, chunks=chunks, palette=palette)
    decoded = read(data).pixels.astype(float)
    # Pillow drops the low bits of 16, also of alpha; conversions amplify a level in the shadows.
    step = {4: 2.6, 6: 2.6}.get(kind, 1.6) if depth == 16 else 1.01
    if profile != "none":
        step *= 5 if depth == 16 else 2.5
        assert mean_error(decoded, write.upright(shown, orientation)) < 1
    np.testing.assert_allclose(decoded, write.upright(shown, orientation), atol=step)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (12, 1), (16, 1), (32, 1), (32, 3)]),
    st.sampled_from([0, 1]),
    st.integers(0, 2**32 - 1),
)
def test_tiff_of_any_depth_and_photometric_interpretation(form, photometric, seed):
    bits, sample_format = form
    if photometric == 0 and form in ((12, 1), (32, 1)):
        return  # Pillow does not open these
    rng = np.random.default_rng(seed)
    white = 1.0 if sample_format == 3 else 2.0**bits - 1
    samples = rng.random((5, 8)) * white
    samples = samples if sample_format == 3 else np.rint(samples).astype(np.int64)
    data = write.tiff(samples, bits, photometric=photometric, sample_format=sample_format)
    grey = samples / white if photometric else 1 - samples / white
    decoded = read(data)
    np.testing.assert_allclose(decoded.pixels[:, :, 1], 255 * grey, atol=0.51)
    assert decoded.notes == ()


@pytest.mark.parametrize("order", "<>")
def test_signed_samples(order):
    for bits in (8, 16):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        if bits == 16 or order == "<":
            full = np.array([[low, -1, 0, high]])
            decoded = read(write.tiff(full, bits, sample_format=2, order=order))
            np.testing.assert_allclose(decoded.pixels[0, :, 0], [0, 127.5, 127.5, 255], atol=1)
            assert decoded.notes == (decode.SIGNED,)
        half = np.array([[0, high // 2, high]])
        decoded = read(write.tiff(half, bits, sample_format=2, order=order))
        np.testing.assert_allclose(decoded.pixels[0, :, 0], [0, 127, 255], atol=2)


def test_a_wide_file_of_a_tiny_range_is_noted():
    grey = np.arange(256).reshape(16, 16)
    for data in (
        write.png(grey[:, :, None], 16, 0),
        write.png(np.repeat(grey[:, :, None], 3, axis=2), 16, 2),
        write.tiff(grey, 16),
        write.tiff(grey, 32),
    ):
        assert decode.TINY_RANGE in read(data).notes
        assert read(data).pixels.max() <= 1
    for data in (write.png(257 * grey[:, :, None], 16, 0), write.png(grey[:, :, None], 8, 0)):
        assert read(data).notes == ()


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("primaries", [write.P3, write.SRGB])
def test_profiles_of_every_format(tmp_path, extension, primaries):
    original = picture(3)
    profile = write.icc(primaries, 1.8)
    path = tmp_path / f"a.{extension}"
    options = {"quality": 98, "subsampling": 0} if extension == "jpg" else {"lossless": True}
    Image.fromarray(original).save(path, icc_profile=profile, **options)
    expected = 255 * write.in_srgb(original / 255, primaries, 461 / 256)
    decoded = decode_image(path)
    assert mean_error(decoded.pixels, expected) < (1.5 if extension == "jpg" else 0.5)
    assert decoded.notes == ()
    assert not decoded.as_stored


def test_a_profile_of_srgb_leaves_the_pixels(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture(0)).save(tmp_path / "a.png", icc_profile=profile)
    decoded = decode_image(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded.pixels, picture(0))
    assert decoded.as_stored


def test_grey_profiles_and_those_of_another_kind(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = 255 * write.in_srgb(np.repeat(grey[:, :, None], 3, 2) / 255, write.SRGB, 461 / 256)
    for profile in (write.icc(None, 1.8, space=b"GRAY"), write.icc(write.SRGB, 1.8)):
        Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_allclose(read_image(tmp_path / "a.png"), expected, atol=1.5)
        wide = Image.fromarray(257 * grey.astype(np.uint16))
        wide.save(tmp_path / "a.tiff", icc_profile=profile)
        np.testing.assert_allclose(read_image(tmp_path / "a.tiff"), expected, atol=1.5)
    gray = write.icc(None, 1.8, space=b"GRAY")
    Image.fromarray(picture(0)).save(tmp_path / "b.png", icc_profile=gray)
    decoded = decode_image(tmp_path / "b.png")
    np.testing.assert_array_equal(decoded.pixels, picture(0))
    assert decoded.notes == (colour.OTHER_PROFILE,)


def damaged_profiles():
    sound = write.icc(write.P3, 1.8)
    yield b"no profile"
    yield sound[:140]
    yield bytes(3000)
    yield write.icc(((0.01, 0.01), (0.02, 0.01), (0.01, 0.02)), 1.8)
    yield write.icc(write.SRGB, 1.8).replace(b"rTRC", b"xTRC")
    rng = np.random.default_rng(0)
    for _ in range(30):
        content = bytearray(sound)
        for at in rng.integers(0, len(content), 8):
            content[at] = rng.integers(256)
        yield bytes(content)


def test_damaged_and_absurd_profiles_are_ignored_or_harmless(tmp_path):
    original = picture(1)
    for number, profile in enumerate(damaged_profiles()):
        for extension in ("png", "webp"):
            path = tmp_path / f"a.{extension}"
            Image.fromarray(original).save(path, icc_profile=profile, lossless=True)
            decoded = decode_image(path)
            if number < 5:
                assert decoded.notes == (colour.BAD_PROFILE,)
            if decoded.notes:
                np.testing.assert_array_equal(decoded.pixels, original)
            else:
                assert decoded.pixels.max() > 150


def test_cmyk_by_its_profile_and_lab(tmp_path):
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(picture(2)), to_lab).save(tmp_path / "lab.tiff")
    assert mean_error(read_image(tmp_path / "lab.tiff"), picture(2)) < 2.5
    cmyk = Image.fromarray(picture(2)).convert("CMYK")
    cmyk.save(tmp_path / "a.tiff", icc_profile=write.icc(write.P3, 1.8))
    decoded = decode_image(tmp_path / "a.tiff")
    assert decoded.notes == (colour.OTHER_PROFILE,)
    assert mean_error(decoded.pixels, picture(2)) < 1


@pytest.mark.parametrize("codes", [(1, 13), (1, 1), (2, 2), (9, 16), (9, 18), (12, 13)])
def test_code_points_of_png_and_avif(codes):
    levels = np.repeat(np.arange(0, 256, 17)[:, None, None], 3, axis=2).astype(np.uint8)
    marked = write.png(levels, 8, 2, chunks=[(b"cICP", bytes([*codes, 0, 1]))])
    decoded = read(marked)
    assert decoded.notes == ((colour.HDR,) if codes[1] > 15 else ())
    if codes[1] <= 15:  # greys stay
        np.testing.assert_array_equal(decoded.pixels, levels)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "AVIF", quality=100)
    content = file.getvalue()
    at = content.index(b"colrnclx") + 8
    changed = content[:at] + struct.pack(">HH", *codes) + content[at + 4 :]
    assert read(changed).notes == decoded.notes


def test_hdr_shows_its_reference_white_as_white():
    light = 203 / 10000
    power = light**0.1593017578125
    value = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    levels = np.array([[[round(65535 * value)] * 3, [0] * 3, [65535] * 3]])
    decoded = read(write.png(levels, 16, 2, chunks=[(b"cICP", bytes([9, 16, 0, 1]))]))
    np.testing.assert_allclose(decoded.pixels[0], [[255] * 3, [0] * 3, [255] * 3], atol=3)


def test_unknown_code_points_are_said():
    levels = np.full((2, 2, 3), 100)
    decoded = read(write.png(levels, 8, 2, chunks=[(b"cICP", bytes([77, 99, 0, 1]))]))
    assert decoded.notes == (colour.UNKNOWN_CODES,)
    np.testing.assert_array_equal(decoded.pixels, levels)


def test_the_chunks_that_stand_beside_srgb_change_nothing():
    levels = picture(0, 8, 8)
    chroma = np.rint(1e5 * np.array([write.D65, *write.SRGB])).astype(">u4").tobytes()
    for chunks in (
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))],
        [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chroma)],
        [(b"gAMA", bytes(4))],
        [(b"cHRM", bytes(32)), (b"gAMA", struct.pack(">I", 45455))],
    ):
        np.testing.assert_array_equal(read(write.png(levels, 8, 2, chunks=chunks)).pixels, levels)


METADATA = [
    (b"eXIf", b"no TIFF at all"),
    (b"eXIf", write.exif(1)[:12]),
    (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21))),
    (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**21))),
    (b"iCCP", b"p\0\0no zlib stream"),
    (b"pHYs", b"\0"),
    (b"tIME", b""),
    (b"gAMA", b"\0"),
    (b"cHRM", b"\1\2"),
    (b"sRGB", b""),
]


@pytest.mark.parametrize("body", METADATA)
def test_metadata_of_a_png_never_costs_the_pixels(body):
    levels = picture(0, 8, 8)
    turned = [(b"eXIf", write.exif(6))] if body[0] != b"eXIf" else []
    whole = write.png(levels, 8, 2, chunks=[body, *turned])
    np.testing.assert_array_equal(
        read(whole).pixels, write.upright(levels, 6) if turned else levels
    )
    wrong = bytearray(whole)  # and with a wrong checksum
    wrong[wrong.index(body[0]) + 4 + len(body[1])] ^= 255
    np.testing.assert_array_equal(
        read(bytes(wrong)).pixels, write.upright(levels, 6) if turned else levels
    )


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE])
@pytest.mark.parametrize(
    "body", [b"", b"Exif\0\0junk", b"MPF\0junk", b"ICC_PROFILE\0\1\1junk", b"Photoshop 3.0\0junk"]
)
def test_metadata_of_a_jpeg_never_costs_the_pixels(marker, body):
    plain = jpeg(quality=95)
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    np.testing.assert_array_equal(read(plain[:2] + segment + plain[2:]).pixels, read(plain).pixels)


def jpeg(**options):
    file = io.BytesIO()
    Image.fromarray(picture(0, 48, 40)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_lacks_only_its_end_is_read_and_one_that_lacks_pixels_is_not(options):
    whole = jpeg(quality=90, **options)
    for end in (b"", b"\xff", b"\0" * 50):
        decoded = read(whole[:-2] + end)
        assert decoded.notes == (decode.NO_END,) or b"\0" in end
        np.testing.assert_array_equal(decoded.pixels, read(whole).pixels)
    lengths = [int(kept * len(whole)) for kept in (0.3, 0.6, 0.9, 0.97)]
    for length in [*lengths, *(len(whole) - lost for lost in range(4, 40))]:
        with pytest.raises(ImageError):
            read(whole[:length])


def test_a_progressive_jpeg_without_its_last_scans_lacks_pixels():
    whole = jpeg(quality=90, progressive=True)
    scans = [i for i in range(len(whole) - 1) if whole[i : i + 2] == b"\xff\xda"]
    tables = max(i for i in range(scans[-1]) if whole[i : i + 2] == b"\xff\xc4")
    for end in (tables, scans[-1]):
        with pytest.raises(ImageError):
            read(whole[:end])


def test_a_png_that_lacks_only_its_end_is_read():
    levels = picture(0, 8, 8)
    np.testing.assert_array_equal(read(write.png(levels, 8, 2, end=False)).pixels, levels)


def test_heic_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.setattr("perceptual_jax.io.images.reads_heif", lambda: False)
    data = struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(40)
    with pytest.raises(ImageError, match=r"it is HEIC; install pillow-heif"):
        read(data)


def test_pixels_that_fail_their_checksums_are_refused_and_others_read():
    """Pillow shows all three: it stops at the last row, before the end of the data."""

    def png(stream, flip):
        header = write.chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
        pixels = bytearray(write.chunk(b"IDAT", stream))
        pixels[-1] ^= flip
        return b"\x89PNG\r\n\x1a\n" + header + bytes(pixels) + write.chunk(b"IEND", b"")

    rows = (b"\0" + bytes(range(24))) * 8
    begun = zlib.compressobj()
    endless = begun.compress(rows) + begun.flush(zlib.Z_SYNC_FLUSH)
    for stream, flip in ((endless, 0), (zlib.compress(rows), 1)):
        assert (decode_image(Path("a.png"), data=png(stream, flip)).pixels[5, 0] == [0, 1, 2]).all()
    Image.open(io.BytesIO(png(endless, 1))).load()
    with pytest.raises(ImageError, match="their checksum"):
        decode_image(Path("a.png"), data=png(endless, 1))
