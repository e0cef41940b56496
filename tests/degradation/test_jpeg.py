import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from PIL import Image

from perceptual_jax.degradation import jpeg_codec as module
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.jpeg import quality_of, read_header, standard_tables
from perceptual_jax.degradation.jpeg_codec import (
    blocks_dct,
    from_ycc,
    off_grid,
    on_grid,
    subsample,
    to_ycc,
    triangle_upsample,
)
from perceptual_jax.types import JpegHeader, unknown_header
from tests.helpers.pictures import as_float, picture

requantise = jax.jit(module.requantise)

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
    with pytest.raises(ValueError, match="from 1 to 100, got 0"):
        standard_tables(0)


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(64, 64), (50, 69)])
def test_nearly_all_pixels_are_a_decoders(quality, sampling, size):
    image = picture(3, *size)
    file = jpeg(image, quality=quality, subsampling=sampling)
    shown = requantise(jnp.asarray(as_float(image)), file.header)
    levels = (np.asarray(shown) + 1) * 127.5
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    away = np.abs(levels - file.image)
    # The rest are blocks of a coefficient so near a half that libjpeg's own errors decide.
    assert np.mean(away < 1.5) > 0.92
    assert np.mean(away < 2.5) > 0.945
    # The tables read the wrong way round show another picture.
    turned = file.header._replace(tables=file.header.tables.transpose(0, 2, 1))
    other = requantise(jnp.asarray(as_float(image)), turned)
    assert np.abs((np.asarray(other) + 1) * 127.5 - file.image).mean() > 1.5 * away.mean()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_inside_a_crop_nearly_all_pixels_are_a_decoders(sampling):
    image = picture(5, 96, 96)
    file = jpeg(image, quality=50, subsampling=sampling)
    header = file.header._replace(phase=np.array([7, 13], np.int32))
    crop = jnp.asarray(as_float(image[7:87, 13:93]))
    levels = (np.asarray(requantise(crop, header)) + 1) * 127.5
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
    blocks = np.asarray(plane).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3)
    expected = scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(blocks_dct(plane), expected, atol=1e-5)
    phase = jnp.array([5, 11])
    whole = on_grid(image, phase)
    np.testing.assert_array_equal(off_grid(whole, phase, (64, 64)), image)
    np.testing.assert_array_equal(whole[5 + 3, 11 + 4], image[3, 4])


def softly_requantised(image, table):
    """4:2:0 without any rounding but that of coefficients, which is a smooth staircase."""

    def coded(plane, steps):
        steps = jnp.asarray(steps)[None, None]
        c = blocks_dct(plane) / steps
        c = steps * (c - jnp.sin(2 * jnp.pi * c) / (2 * jnp.pi))
        blocks = jax.scipy.fft.idctn(c, axes=(2, 3), norm="ortho")
        return blocks.transpose(0, 2, 1, 3).reshape(plane.shape)

    luma, *chromas = jnp.moveaxis(to_ycc(image), -1, 0)
    planes = [coded(luma, table[0])]
    for chroma in chromas:
        half = coded(subsample(chroma, 2, 2), table[1])
        planes.append(triangle_upsample(triangle_upsample(half, 0), 1))
    return jnp.clip(from_ycc(jnp.stack(planes, axis=-1)), -1, 1)


def test_the_slope_is_that_of_a_smooth_staircase():
    header = JpegHeader(standard_tables(20), np.int32(2), np.zeros(2, np.int32))
    image = jnp.asarray(as_float(picture(2, 32, 32))) * 0.8
    weight = jnp.asarray(np.random.default_rng(0).normal(size=image.shape), jnp.float32)
    got = jax.grad(lambda x: jnp.sum(weight * requantise(x, header)))(image)
    softly = jax.jit(softly_requantised)
    expected = jax.grad(lambda x: jnp.sum(weight * softly(x, header.tables)))(image)
    # The slopes are borrowed, of a picture that is rounded between the stages as well.
    cosine = jnp.sum(got * expected) / jnp.linalg.norm(got) / jnp.linalg.norm(expected)
    assert cosine > 0.8
