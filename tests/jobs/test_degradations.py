import numpy as np
import pytest
from PIL import Image

from perceptual_jax.jobs.reading import inspect_header, require_header
from perceptual_jax.validation import ConfigError


def save(path, size, **options):
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "size", "options", "degradation"),
    [
        ("a.png", 127, {}, "l2"),
        ("a.jpg", 64, {"quality": 10}, "l2"),
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


def test_a_turned_jpeg_has_another_grid(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    info = inspect_header(
        save(tmp_path / "a.jpg", 200, quality=10, exif=exif), "auto", max_size=256
    )
    assert info.degradation == "blur"


def test_what_is_asked_for_is_used(tmp_path):
    path = save(tmp_path / "a.png", 64)
    assert inspect_header(path, "jpeg", max_size=256).degradation == "jpeg"
    with pytest.raises(ConfigError, match="dct_box needs a JPEG whose header can be read"):
        require_header(inspect_header(path, "dct_box", max_size=256))
    require_header(inspect_header(save(tmp_path / "a.jpg", 64), "dct_box", max_size=256))
    assert inspect_header(tmp_path / "none.png", "auto", max_size=256).side == 0
