import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.reading import inspect_header, read_picture, require_header
from perceptual_jax.validation import ConfigError

GENERATED = Path(__file__).parents[1] / "degradation" / "generated_faces.png"


def save(path, size, **options):
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "size", "options", "degradation"),
    [
        ("a.png", 127, {}, "l2"),
        ("a.jpg", 64, {"quality": 10}, "dct_box"),
        ("a.jpg", 9, {"quality": 90}, "dct_box"),
        ("a.png", 128, {}, "blur"),
        ("a.jpg", 200, {"quality": 10}, "dct_box"),
        ("a.jpg", 256, {"quality": 60, "subsampling": 0}, "dct_box"),
        ("a.jpg", 256, {"quality": 95}, "dct_box"),
        ("a.jpg", 257, {"quality": 10}, "blur"),
        ("a.webp", 256, {"quality": 10}, "blur"),
    ],
)
def test_what_auto_chooses(tmp_path, name, size, options, degradation):
    info = inspect_header(save(tmp_path / name, size, **options), "auto", max_size=256)
    assert (info.degradation, info.side) == (degradation, size)
    assert (info.header.tables > 0).all() == (degradation == "dct_box")
    assert f"{size} pixels" in info.reason


def test_an_undamaged_face_is_compared_pixel_by_pixel(tmp_path):
    path = tmp_path / "a.png"
    with Image.open(GENERATED) as faces:
        faces.crop((0, 0, 192, 192)).save(path)
    source = Input(path, "a", path.read_bytes)
    info = read_picture(source, max_size=256, degradation="auto", detail="auto").header_info
    assert info.degradation == "l2"
    assert info.reason == "PNG of 192 pixels: sharp, and neither noisy nor compressed"


def test_a_turned_jpeg_has_another_grid(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", 200, quality=10, exif=exif)
    turned = Input(path, "a", path.read_bytes)
    info = read_picture(turned, max_size=256, degradation="auto").header_info
    assert info.degradation == "dct_box"
    assert info.reason == "JPEG of 200 pixels: a JPEG of quality 10, by its pixels"
    np.testing.assert_array_equal(info.header.tables, standard_tables(10).transpose(0, 2, 1))


def test_a_jpeg_is_known_by_its_pixels_where_the_file_says_less(tmp_path):
    once = save(tmp_path / "a.jpg", 144, quality=15)
    with Image.open(once) as image:
        image.save(tmp_path / "b.png")
        image.save(tmp_path / "c.jpg", quality=80)
        image.resize((160, 160)).save(tmp_path / "d.png")
    terms = {}
    for name in ("a.jpg", "b.png", "c.jpg", "d.png"):
        source = Input(tmp_path / name, "a", (tmp_path / name).read_bytes)
        info = read_picture(source, max_size=256, degradation="auto").header_info
        terms[name] = info.degradation, info.reason.rpartition(": ")[2]
        if name != "d.png":
            np.testing.assert_array_equal(info.header.tables, standard_tables(15))
    assert terms == {
        "a.jpg": ("dct_box", "a JPEG of quality 15, by its tables"),
        "b.png": ("dct_box", "a JPEG of quality 15, by its pixels"),
        "c.jpg": ("dct_box", "a JPEG of quality 15, by its pixels"),
        "d.png": ("blur", "neither is nor was a JPEG"),
    }
    source = Input(tmp_path / "b.png", "a", (tmp_path / "b.png").read_bytes)
    asked = read_picture(source, max_size=256, degradation="jpeg").header_info
    np.testing.assert_array_equal(asked.header.tables, standard_tables(15))


def blurred(path, width):
    image = Image.open(path).filter(ImageFilter.GaussianBlur(width))
    image.save(path.with_suffix(".png"))
    return Input(path.with_suffix(".png"), "a", path.with_suffix(".png").read_bytes)


def test_a_blurred_picture_is_reduced_to_its_detail(tmp_path):
    # A smooth random picture of 32 px, enlarged: as faces are, its power falls with frequency.
    rng = np.random.default_rng(1)
    small = np.cumsum(np.cumsum(rng.normal(size=(32, 32)), axis=0), axis=1)
    small = np.uint8(255 * (small - small.min()) / np.ptp(small))
    path = tmp_path / "a.jpg"
    Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC).save(path)
    source = blurred(path, 6)
    picture = read_picture(source, max_size=256, degradation="auto", detail="auto")
    detail = int(re.search(r"with (\d+) pixels of detail", picture.header_info.reason)[1])
    assert detail <= 42
    assert len(picture.pixels) == 2 ** math.ceil(math.log2(1.5 * detail))
    assert picture.header_info.degradation in ("blur", "faded")
    kept = read_picture(source, max_size=256, degradation="auto", detail=0)
    assert len(kept.pixels) == 256
    # The grid of a JPEG that is asked for is kept.
    grid = Input(path, "a", path.read_bytes)
    for term in ("dct_box", "jpeg"):
        whole = read_picture(grid, max_size=256, degradation=term, detail="auto")
        assert len(whole.pixels) == 256
        assert (whole.header_info.header.tables > 0).all()
    asked = read_picture(source, max_size=256, degradation="auto", detail=48)
    assert len(asked.pixels) == 48
    assert asked.header_info.degradation in ("blur", "faded")


def test_what_is_asked_for_is_used(tmp_path):
    path = save(tmp_path / "a.png", 64)
    assert inspect_header(path, "jpeg", max_size=256).degradation == "jpeg"
    with pytest.raises(ConfigError, match="dct_box needs a JPEG whose header can be read"):
        require_header(inspect_header(path, "dct_box", max_size=256))
    require_header(inspect_header(save(tmp_path / "a.jpg", 64), "dct_box", max_size=256))
    assert inspect_header(tmp_path / "none.png", "auto", max_size=256).side == 0
