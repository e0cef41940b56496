"""What belongs to a photograph beside its pixels is read and written again."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from perceptual_jax.io.encoding import Encoding, is_ours
from perceptual_jax.io.images import ImageError, read_image
from perceptual_jax.io.photographs import (
    Photograph,
    check_size,
    encode_photograph,
    read_photograph,
    srgb_profile,
    updated_exif,
)
from tests.helpers.photographs import smooth_photograph
from tests.helpers.picture_writers import P3, icc, upright

PIXELS = smooth_photograph(20, 30)
ALPHA = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
_EXIF_IFD, _GPS = 0x8769, 0x8825


def camera_exif(orientation=6):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = orientation, "Maker", "Camera 1.0"
    exif.get_ifd(_EXIF_IFD).update({0xA002: 30, 0xA003: 20, 0x9003: "2001:02:03 04:05:06"})
    exif.get_ifd(_GPS).update({1: "N"})
    return exif


def file_of(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_pixels_and_transparency(orientation):
    image = Image.fromarray(np.concatenate([PIXELS, ALPHA[..., None]], axis=2))
    data = file_of(image, "PNG", exif=camera_exif(orientation))
    read = read_photograph("a.png", data)
    np.testing.assert_array_equal(read.pixels, upright(PIXELS, orientation))
    np.testing.assert_array_equal(read.alpha, upright(ALPHA, orientation))
    np.testing.assert_array_equal(read.shown, read_image("a.png", data=data))


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_exif_is_kept_without_what_no_longer_holds(format):
    given = read_photograph("a.jpg", file_of(Image.fromarray(PIXELS), "JPEG", exif=camera_exif()))
    large = given._replace(pixels=np.repeat(np.repeat(given.pixels, 2, 0), 2, 1))
    data = encode_photograph(large, Encoding(format))
    exif = opened(data).getexif()
    assert (exif[0x0112], exif[0x010F], exif[0x0131]) == (1, "Maker", "Camera 1.0")
    inner = exif.get_ifd(_EXIF_IFD)
    height, width, _ = large.pixels.shape
    assert (inner[0xA002], inner[0xA003], inner[0x9003]) == (width, height, "2001:02:03 04:05:06")
    assert exif.get_ifd(_GPS)[1] == "N"
    assert is_ours(data)


def test_a_thumbnail_is_dropped():
    # The second directory of an EXIF, with a JPEG of a picture that is no longer the same.
    thumbnail = file_of(Image.fromarray(PIXELS), "JPEG")
    first = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    start = len(first) + 4 + 2 + 2 * 12 + 4
    second = b"\x02\0" + b"\x01\x02\x04\0\x01\0\0\0" + start.to_bytes(4, "little")
    second += b"\x02\x02\x04\0\x01\0\0\0" + len(thumbnail).to_bytes(4, "little") + bytes(4)
    exif = b"Exif\0\0" + first + (len(first) + 4).to_bytes(4, "little") + second + thumbnail
    read = read_photograph("a.jpg", file_of(Image.fromarray(PIXELS), "JPEG", exif=exif))
    assert thumbnail in read.exif
    kept = updated_exif(read.exif, (30, 20))
    assert thumbnail not in kept
    loaded = Image.Exif()
    loaded.load(kept)
    assert loaded[0x0112] == 1


def test_damaged_or_vast_exif_costs_the_exif_alone():
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense", None):
        assert is_ours(updated_exif(exif, (3, 4)))
    exif = camera_exif()
    exif[0x010E] = "x" * 70000
    assert len(updated_exif(exif.tobytes(), (3, 4))) < 200


def test_resolution_profile_and_transparency_are_kept():
    image = Image.fromarray(np.concatenate([PIXELS, ALPHA[..., None]], axis=2))
    given = read_photograph("a.png", file_of(image, "PNG", dpi=(300, 200)))
    assert given.dpi == pytest.approx((300, 200), abs=0.1)
    again = opened(encode_photograph(given, Encoding("png")))
    assert again.info["dpi"] == pytest.approx((300, 200), abs=0.1)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))
    assert opened(encode_photograph(given, Encoding("webp", 100))).mode == "RGBA"
    flat = opened(encode_photograph(given, Encoding("jpeg")))
    assert flat.mode == "RGB"
    assert np.asarray(flat)[:, :2].min() > 220  # white, where it was transparent
    assert flat.info["dpi"] == (300, 200)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(flat.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert flat.info["icc_profile"] == srgb_profile()


def test_colours_are_those_that_a_viewer_shows():
    data = file_of(Image.fromarray(PIXELS), "PNG", icc_profile=icc(P3, 2.2))
    shown = read_image("a.png", data=data)
    assert (shown != PIXELS).any()
    again = encode_photograph(read_photograph("a.png", data), Encoding())
    np.testing.assert_array_equal(read_image("b.png", data=again), shown)


@pytest.mark.parametrize("format", ["TIFF", "BMP", "GIF"])
def test_photographs_of_other_formats_have_no_tags_of_theirs(format):
    options = {"tiffinfo": {271: "Maker"}} if format == "TIFF" else {}
    given = read_photograph("a", file_of(Image.fromarray(PIXELS), format, **options))
    exif = opened(encode_photograph(given, Encoding("jpeg"))).getexif()
    assert not {256, 257, 273, 279} & exif.keys()
    assert exif.get(271) == ("Maker" if format == "TIFF" else None)


def test_sizes_that_cannot_be_written_are_refused():
    check_size(65535, 10, Encoding("jpeg"))
    with pytest.raises(ImageError, match="16384 x 9 pixels, and webp has at most 16383"):
        check_size(16384, 9, Encoding("webp"))
    with pytest.raises(ImageError, match="give a smaller --upscale"):
        check_size(20000, 20000, Encoding())
    with pytest.raises(ImageError, match=r"a\.png: 30 x 20 pixels are more than the 500"):
        read_photograph("a.png", file_of(Image.fromarray(PIXELS), "PNG"), max_pixels=500)


def test_a_photograph_of_its_own_has_no_metadata():
    again = opened(encode_photograph(Photograph(PIXELS), Encoding()))
    np.testing.assert_array_equal(np.asarray(again), PIXELS)
    assert "dpi" not in again.info
