import errno
import json
import os
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.io.files import WriteError, json_text, save_json, save_npz, write_atomically
from perceptual_jax.io.images import ImageError, read_image, to_float, to_uint8, write_png


@pytest.fixture
def picture():
    """Smooth colours, so that lossy formats keep them within a few levels."""
    y, x = np.mgrid[:24, :40]
    return np.stack([6 * x, 10 * y, 240 - 3 * x - 4 * y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "ppm", "webp", "tga"])
def test_lossless_files_come_back(tmp_path, picture, extension):
    path = tmp_path / f"a.{extension}"
    Image.fromarray(picture).save(path, lossless=True)
    image = read_image(path)
    np.testing.assert_array_equal(image, picture)
    assert image.dtype == np.uint8
    image[0, 0] = 0  # the caller owns the array


def test_the_content_decides_not_the_extension(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.txt", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.txt"), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["jpg", "png", "tiff"])
def test_exif_orientation_is_applied(tmp_path, picture, orientation, extension):
    # What the viewer must do to the stored rows and columns (EXIF 2.3, tag 0x0112).
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{extension}"
    Image.fromarray(picture).save(path, exif=exif, quality=98, subsampling=0)
    np.testing.assert_allclose(read_image(path).astype(int), turned, atol=4)


def test_transparent_parts_lie_over_white(tmp_path, picture):
    alpha = np.zeros((24, 40, 1), np.uint8)
    alpha[:, 20:] = 255
    alpha[:, 19] = 128
    Image.fromarray(np.concatenate([picture, alpha], axis=-1)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image[:, :19] == 255).all()
    np.testing.assert_array_equal(image[:, 20:], picture[:, 20:])
    half = picture[:, 19] * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(image[:, 19], half, atol=1)


@pytest.mark.parametrize("transparency", [2, b"\xff\xff\x00"])
def test_palettes_with_transparency(tmp_path, transparency):
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=transparency)
    expected = [[[255, 0, 0], [0, 255, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_grey_with_alpha_and_bilevel(tmp_path):
    Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), [[[9] * 3, [255] * 3]])
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "1.png")
    np.testing.assert_array_equal(read_image(tmp_path / "1.png"), [[[255] * 3, [0] * 3]])


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_16_bit_grey_is_scaled_not_cut(tmp_path, name):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    expected = np.repeat(np.array([[0, 1, 128, 255]])[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def test_floats_are_0_to_1(tmp_path):
    values = np.array([[0, 0.2, 1]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff")[0, :, 0], [0, 51, 255])


@pytest.mark.parametrize(
    "values",
    [np.array([[0, 255]], np.float32), np.array([[0, np.nan]], np.float32), np.array([[-1, 3]])],
)
def test_values_out_of_range_are_an_error_not_a_guess(tmp_path, values):
    values = values.astype(np.int32) if values.dtype == np.int64 else values
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match="values must lie in 0 to"):
        read_image(tmp_path / "a.tiff")


def test_cmyk(tmp_path, picture):
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=98, subsampling=0)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").astype(int), picture, atol=6)


@pytest.mark.parametrize("extension", ["gif", "png", "tiff", "webp"])
def test_the_first_frame_of_several(tmp_path, extension):
    frames = [Image.new("RGB", (8, 6), color) for color in ("#ff0000", "#00ff00", "#0000ff")]
    path = tmp_path / f"a.{extension}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_image(path), np.full((6, 8, 3), [255, 0, 0]), atol=2)


def png_with_header(width, height):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("size", [(9000, 9000), (10000, 10000), (60000, 60000)])
def test_bombs_are_refused_from_their_header(tmp_path, monkeypatch, size):
    # Below Pillow's warning, between its warning and its error, and beyond.
    (tmp_path / "bomb.png").write_bytes(png_with_header(*size))

    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(ImageError, match=r"bomb\.png.*pixels"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_of_pixels_is_the_callers(tmp_path, picture):
    write_png(tmp_path / "a.png", picture)
    assert read_image(tmp_path / "a.png", max_pixels=960).shape == (24, 40, 3)
    with pytest.raises(ImageError, match="40 x 24 pixels are more than the 959"):
        read_image(tmp_path / "a.png", max_pixels=959)


@pytest.mark.parametrize("extension", ["png", "jpg", "gif", "tiff", "webp", "bmp", "jp2"])
@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.9])
def test_truncated_files_are_an_error(tmp_path, extension, kept):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    path = tmp_path / f"cut.{extension}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert f"cut.{extension}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_image_no_file_a_folder(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    for path, reason in [
        (tmp_path / "a.png", "not an image of a known format"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "is a directory"),
    ]:
        with pytest.raises(ImageError, match=reason):
            read_image(path)


def test_damaged_files_raise_nothing_else(tmp_path, picture):
    rng = np.random.default_rng(0)
    for extension in ("png", "jpg", "gif", "tiff", "bmp", "webp", "ppm"):
        path = tmp_path / f"a.{extension}"
        Image.fromarray(picture).save(path)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            damaged[rng.integers(0, min(len(damaged), 200), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            try:
                image = read_image(path, max_pixels=10**6)
            except ImageError:
                continue
            assert image.dtype == np.uint8
            assert image.shape[2] == 3


def test_conversion_is_its_own_inverse_on_every_level():
    levels = np.arange(256, dtype=np.uint8)
    values = to_float(levels)
    assert values.dtype == np.float32
    assert values[0] == -1
    assert values[-1] == 1
    np.testing.assert_array_equal(to_uint8(values), levels)
    np.testing.assert_array_equal(to_uint8(jnp.asarray(values)), levels)


def test_values_beyond_the_range():
    values = np.array([-np.inf, -1.3, 1.3, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 255, 255, 0])


def test_rounding_is_to_the_nearest_level():
    np.testing.assert_array_equal(to_uint8(np.array([0.4, 0.6]) / 127.5 - 1), [0, 1])


def test_png_npz_and_json_come_back(tmp_path, picture):
    write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    save_npz(tmp_path / "a.npz", {"styles": jnp.ones((2, 3)), "noise": np.arange(3)})
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["styles"], np.ones((2, 3)))
        np.testing.assert_array_equal(arrays["noise"], np.arange(3))
    save_json(tmp_path / "a.json", {"name": "Zoë", "loss": float("inf"), "terms": (np.float32(1),)})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {
        "name": "Zoë",
        "loss": None,
        "terms": [1.0],
    }
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.npz", "a.png"]


def test_json_text_is_one_line_without_nan():
    text = json_text({"a": [float("nan"), {"b": np.float32("inf")}], "c": True})
    assert text == '{"a": [null, {"b": null}], "c": true}'


def test_equal_arrays_give_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_npz(tmp_path / name, {"w": np.arange(5.0)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_new_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, step, no_space)
    with pytest.raises(WriteError, match=r"cannot write .*a \(no space left on device\); free"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_disk_that_fills_within_a_file(tmp_path):
    def content(file):
        file.write(b"half")
        no_space()

    with pytest.raises(WriteError):
        write_atomically(tmp_path / "a", content)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def content(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", content)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_missing_or_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, reason in [
        (tmp_path / "none" / "a", "no such file or directory"),
        (tmp_path / "file" / "a", "not a directory"),
    ]:
        with pytest.raises(WriteError, match=reason):
            write_atomically(path, b"")
