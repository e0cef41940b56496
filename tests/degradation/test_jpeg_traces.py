import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.jpeg import quality_of, standard_tables
from perceptual_jax.degradation.jpeg_traces import find_header, find_traces
from tests.helpers.pictures import picture


def cut(image, row, column, side=128):
    return image[row : row + side, column : column + side]


@pytest.mark.parametrize("quality", [5, 12, 35, 75, 92])
@pytest.mark.parametrize(
    ("subsampling", "number", "period"),
    [("4:4:4", 0, (8, 8)), ("4:2:2", 1, (8, 16)), ("4:2:0", 2, (16, 16))],
)
def test_a_decoded_jpeg_shows_its_header(quality, subsampling, number, period):
    image = jpeg(picture(5, 160, 160), quality=quality, subsampling=subsampling).image
    for row, column in [(0, 0), (3, 13), (9, 2)]:
        header = find_header(cut(image, row, column))
        assert quality_of(header.tables) == quality
        assert header.subsampling == number
        assert tuple(header.phase) == (row % period[0], column % period[1])


@pytest.mark.parametrize(("quarters", "phase"), [(1, (11, 3)), (2, (13, 11)), (3, (5, 13))])
def test_a_turned_jpeg_has_turned_tables(quarters, phase):
    # Rows 3 to 130 and columns 5 to 132 of a grid of 16 pixels.
    image = cut(jpeg(picture(5, 160, 160), quality=30, subsampling="4:2:0").image, 3, 5)
    header = find_header(np.rot90(image, quarters))
    tables = standard_tables(30)
    assert (header.tables == (tables if quarters == 2 else tables.transpose(0, 2, 1))).all()
    assert header.subsampling == 2
    assert tuple(header.phase) == phase


def test_the_coarser_of_two_compressions_is_found():
    once = jpeg(picture(4, 128, 128), quality=20, subsampling="4:2:0").image
    twice = jpeg(once, quality=75, subsampling="4:2:0").image
    assert quality_of(find_header(twice).tables) == 20


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_that_was_no_jpeg_has_none(seed):
    original = picture(seed, 160, 160)
    noisy = original + np.random.default_rng(seed).normal(0, 5, original.shape)
    for image in (original, original[::2, ::2], noisy.clip(0, 255).astype(np.uint8)):
        assert find_header(image) is None
        assert find_traces(image)[0].score < 3


def test_resizing_takes_the_traces_away():
    image = jpeg(picture(5, 160, 160), quality=20, subsampling="4:2:0").image
    resized = np.asarray(Image.fromarray(image).resize((141, 141), Image.Resampling.BICUBIC))
    assert find_header(image) is not None
    assert find_header(resized) is None


def test_a_grey_picture_is_taken_to_have_half_the_chroma():
    grey = picture(6, 128, 128)[:, :, :1].repeat(3, axis=2)
    header = find_header(jpeg(grey, quality=30, subsampling="4:4:4").image)
    assert quality_of(header.tables) == 30
    assert header.subsampling == 2


@pytest.mark.parametrize("side", [1, 8, 31])
def test_small_pictures_and_flat_ones_have_none(side):
    assert find_header(np.full((side, side, 3), 99, np.uint8)) is None
    assert find_header(np.full((64, 64, 3), 99, np.uint8)) is None
