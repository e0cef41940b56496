import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation import jpeg_codec as module
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.jpeg import is_standard, quality_of, read_header, standard_tables
from perceptual_jax.degradation.jpeg_codec import (
    blocks_dct,
    blocks_idct,
    from_ycc,
    off_grid,
    on_grid,
    soft_round,
    to_ycc,
)
from perceptual_jax.types import JpegHeader, unknown_header
from tests.helpers.pictures import as_float, picture

requantise = jax.jit(module.requantise, static_argnames="rounding")

requantise = jax.jit(module.requantise, static_argnames="rounding")

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def encoded(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return Image.open(file)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 100])
@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_headers_are_what_pillow_wrote(quality, sampling):
    header = read_header(encoded(picture(), quality=quality, subsampling=SAMPLINGS[sampling]))
    np.testing.assert_array_equal(header.tables, standard_tables(quality))
    assert int(header.subsampling) == sampling
    assert header.phase.tolist() == [0, 0]
    assert quality_of(header.tables) == quality
    assert is_standard(header.tables)


def test_progressive_grey_and_other_files():
    assert read_header(encoded(picture(), quality=30, progressive=True)) is not None
    grey = read_header(encoded(picture()[:, :, 0], quality=30))
    np.testing.assert_array_equal(grey.tables[0], standard_tables(30)[0])
    cmyk = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(cmyk, "JPEG")
    assert read_header(Image.open(cmyk)) is None
    for several in ({}, {"save_all": True, "append_images": [Image.fromarray(picture(1))]}):
        mpo = io.BytesIO()
        Image.fromarray(picture()).save(mpo, "MPO", quality=30, **several)
        np.testing.assert_array_equal(read_header(Image.open(mpo)).tables, standard_tables(30))
    # Planes of red, green and blue have no luma and chroma to speak of.
    assert read_header(encoded(picture(), quality=30, keep_rgb=True)) is None
    png = io.BytesIO()
    Image.fromarray(picture()).save(png, "PNG")
    assert read_header(Image.open(png)) is None
    assert read_header(encoded(picture()).convert("RGB")) is None


def test_tables_of_another_program_have_the_nearest_quality():
    tables = np.clip(np.rint(standard_tables(40) * 1.04), 1, 255)
    assert abs(quality_of(tables) - 40) <= 2
    assert not is_standard(tables)
    with pytest.raises(ValueError, match="from 1 to 100, got 0"):
        standard_tables(0)


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(64, 64), (50, 69)])
def test_with_coefficients_rounded_most_pixels_are_near_a_decoders(quality, sampling, size):
    image = picture(3, *size)
    file = jpeg(image, quality=quality, subsampling=sampling)
    shown = requantise(jnp.asarray(as_float(image)), file.header, rounding="hard")
    levels = np.rint((np.asarray(shown) + 1) * 127.5)
    # libjpeg rounds to whole numbers between its stages, so a few coefficients fall elsewhere.
    assert np.mean(np.abs(levels - file.image) <= 2) > 0.85
    raw = np.abs(image.astype(float) - file.image).mean()
    assert np.abs(levels - file.image).mean() < 0.45 * raw


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(64, 64), (50, 69)])
def test_with_whole_levels_nearly_all_pixels_are_a_decoders(quality, sampling, size):
    image = picture(3, *size)
    file = jpeg(image, quality=quality, subsampling=sampling)
    shown = requantise(jnp.asarray(as_float(image)), file.header, rounding="libjpeg")
    levels = (np.asarray(shown) + 1) * 127.5
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    away = np.abs(levels - file.image)
    # The rest are blocks of a coefficient so near a half that libjpeg's own errors decide.
    assert np.mean(away < 1.5) > 0.92
    assert np.mean(away < 2.5) > 0.945
    # The tables read the wrong way round show another picture.
    turned = file.header._replace(tables=file.header.tables.transpose(0, 2, 1))
    other = requantise(jnp.asarray(as_float(image)), turned, rounding="libjpeg")
    assert np.abs((np.asarray(other) + 1) * 127.5 - file.image).mean() > 1.5 * away.mean()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_inside_a_crop_nearly_all_pixels_are_a_decoders(sampling):
    image = picture(5, 96, 96)
    file = jpeg(image, quality=50, subsampling=sampling)
    header = file.header._replace(phase=np.array([7, 13], np.int32))
    crop = jnp.asarray(as_float(image[7:87, 13:93]))
    levels = (np.asarray(requantise(crop, header, rounding="libjpeg")) + 1) * 127.5
    # Whole cells of 16 pixels, less one pixel that the smooth chroma shares with its neighbour.
    away = np.abs(levels - file.image[7:87, 13:93])[10:72, 4:66]
    assert np.mean(away < 1.5) > 0.92
    assert np.mean(away < 2.5) > 0.945


def test_a_crop_has_its_own_phase():
    image = picture(5, 96, 96)
    file = jpeg(image, quality=15, subsampling="4:2:0")
    header = file.header._replace(phase=np.array([7, 13], np.int32))
    crop = jnp.asarray(as_float(image[7:, 13:]))[:64, :64]
    levels = (np.asarray(requantise(crop, header)) + 1) * 127.5
    inner = np.s_[9:41, 3:35]  # Whole cells of 16 pixels.
    wrong = (np.asarray(requantise(crop, file.header)) + 1) * 127.5
    there = file.image[7:71, 13:77].astype(float)
    assert np.abs(levels - there)[inner].mean() < 0.5 * np.abs(wrong - there)[inner].mean()


def test_an_unknown_header_changes_nothing():
    image = jnp.asarray(as_float(picture()))
    np.testing.assert_array_equal(requantise(image, unknown_header()), image)


def test_headers_may_be_traced_and_batched():
    images = jnp.stack([jnp.asarray(as_float(picture(i, 32, 32))) for i in range(3)])
    headers = JpegHeader(
        jnp.stack([jnp.asarray(standard_tables(q)) for q in (5, 30, 80)]),
        jnp.arange(3),
        jnp.array([[0, 0], [3, 9], [15, 1]]),
    )
    together = jax.jit(jax.vmap(requantise))(images, headers)
    for i in range(3):
        alone = requantise(images[i], JpegHeader(*(x[i] for x in headers)))
        np.testing.assert_allclose(together[i], alone, atol=1e-5)


def test_transforms_are_inverses():
    image = jnp.asarray(as_float(picture()))
    np.testing.assert_allclose(from_ycc(to_ycc(image)), image, atol=1e-5)
    plane = image[:, :, 0]
    np.testing.assert_allclose(blocks_idct(blocks_dct(plane)), plane, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(blocks_dct(plane) ** 2), jnp.sum(plane**2), rtol=1e-5)
    phase = jnp.array([5, 11])
    whole = on_grid(image, phase)
    np.testing.assert_array_equal(off_grid(whole, phase, (64, 64)), image)
    np.testing.assert_array_equal(whole[5 + 3, 11 + 4], image[3, 4])


def test_soft_rounding_has_a_slope_and_the_fixed_points_of_rounding():
    x = jnp.linspace(-3, 3, 601)
    y = soft_round(x)
    assert jnp.all(jnp.diff(y) >= -1e-6)
    np.testing.assert_allclose(soft_round(jnp.arange(-3.0, 4.0)), jnp.arange(-3.0, 4.0), atol=1e-5)
    assert jnp.abs(y - jnp.round(x)).max() <= 0.5 + 1e-5


def test_the_slope_of_soft_requantising_is_that_of_differences():
    header = JpegHeader(standard_tables(20), np.int32(2), np.zeros(2, np.int32))
    with jax.enable_x64(True):
        image = jnp.asarray(picture(2, 32, 32) / 127.5 - 1) * 0.8
        weight = jnp.asarray(np.random.default_rng(0).normal(size=image.shape))
        direction = jnp.asarray(np.random.default_rng(1).normal(size=image.shape))

        @functools.partial(jax.jit, static_argnames="rounding")
        def total(x, rounding="soft"):
            return jnp.sum(weight * requantise(x, header, rounding=rounding))

        soft, hard, library = (
            jax.grad(total)(image, rounding) for rounding in ("soft", "hard", "libjpeg")
        )
        slope = jnp.sum(soft * direction)
        e = 1e-6
        difference = (total(image + e * direction) - total(image - e * direction)) / (2 * e)
        np.testing.assert_allclose(slope, difference, rtol=1e-4)
        # Hard rounding borrows this slope, of the same picture.
        for other in (hard, library):
            cosine = jnp.sum(other * soft) / jnp.linalg.norm(other) / jnp.linalg.norm(soft)
            assert cosine > 0.8
