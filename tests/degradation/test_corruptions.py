import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation import corruptions
from perceptual_jax.degradation.corruptions import KINDS, degrade
from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.io.images import to_float
from tests.helpers.pictures import picture

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize("kind", ["sr16", "sr32", "sr64", "sr24", "jpeg10", "blur3", "noise25"])
def test_every_kind_is_8_bit_and_the_same_for_the_same_seed(image, kind):
    before = image.copy()
    degraded = degrade(image, kind, seed=3)
    assert degraded.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(degraded, degrade(image, kind, seed=3))


def test_downscale_is_that_of_the_data_term(image):
    expected = downscale(jnp.asarray(to_float(image)), (16, 16), filter="bicubic")
    # Rounding to 8 bits moves a value by half a level at most.
    np.testing.assert_allclose(to_float(degrade(image, "sr16")), expected, atol=0.5 / 127.5 + 1e-5)


def test_downscale_clips_what_the_kernel_overshoots():
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 34:] = 255
    line = downscale(jnp.asarray(to_float(edge)), (16, 16), filter="bicubic")[0, :, 0]
    reduced = degrade(edge, "sr16")[0, :, 0]
    assert line.min() < -1.01
    assert line.max() > 1.01
    np.testing.assert_array_equal(reduced[line < -1], 0)
    np.testing.assert_array_equal(reduced[line > 1], 255)


def test_downscale_keeps_the_proportions():
    assert degrade(np.zeros((60, 120, 3), np.uint8), "sr32").shape == (16, 32, 3)
    assert degrade(np.zeros((1, 64, 3), np.uint8), "sr16").shape == (1, 16, 3)


def test_enlarging_is_refused(image):
    with pytest.raises(ValueError, match="sr128 needs an image of at least 128 pixels, got 64"):
        degrade(image, "sr128")


def test_downscale_to_the_same_size_changes_nothing(image):
    np.testing.assert_array_equal(degrade(image, "sr64"), image)


def test_jpeg_is_worse_at_lower_quality(image):
    smooth = np.asarray(Image.fromarray(image[:8, :8]).resize((64, 64), Image.Resampling.BICUBIC))
    errors = [
        np.square(degrade(smooth, f"jpeg{q}").astype(float) - smooth).mean() for q in (5, 20, 95)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


def test_blur_spreads_a_step_by_its_deviation():
    step = np.zeros((41, 41, 3), np.uint8)
    step[:, 21:] = 255
    profile = np.diff(degrade(step, "blur3")[20, :, 0].astype(float))
    at = np.arange(40) - 20
    assert profile.sum() == 255
    # Box blurs and 8 bits: near the Gaussian's deviation, not at it.
    assert np.sqrt((profile * at**2).sum() / 255) == pytest.approx(3, abs=0.2)


def test_noise_has_its_deviation_and_differs_by_seed():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noise = degrade(grey, "noise10", seed=1).astype(float) - 128
    assert noise.std() == pytest.approx(10, rel=0.03)  # 12,288 draws: standard error 0.6 %
    assert abs(noise.mean()) < 0.4
    assert (degrade(grey, "noise10", seed=2) != noise + 128).any()


@pytest.mark.parametrize(
    "kind", ["sr", "32", "sr0", "jpeg101", "jpeg-5", "fog3", "sr32.5", "", "SR32"]
)
def test_unknown_kinds_name_the_valid_ones(image, kind):
    with pytest.raises(ValueError, match="kind must be one of") as caught:
        degrade(image, kind)
    assert all(f"{name}N" in str(caught.value) for name in KINDS)
    assert repr(kind) in str(caught.value)


def psnr(image, other):
    return 10 * np.log10(255**2 / np.square(image - 1.0 * other).mean())


@pytest.mark.parametrize(("subsampling", "number"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_jpeg_tells_what_its_file_holds(subsampling, number):
    clean = picture(1, 40, 56)
    file = corruptions.jpeg(clean, quality=17, subsampling=subsampling)
    assert file.header.subsampling == number
    np.testing.assert_array_equal(file.header.tables, standard_tables(17))
    with Image.open(io.BytesIO(file.encoded)) as stored:
        assert stored.format == "JPEG"
        np.testing.assert_array_equal(np.array(stored), file.image)
    assert file.image.shape == clean.shape


def test_a_progressive_jpeg_is_another_file_of_the_same_pixels():
    options = {"quality": 30, "subsampling": "4:2:0"}
    plain = corruptions.jpeg(picture(1), **options)
    other = corruptions.jpeg(picture(1), **options, progressive=True)
    np.testing.assert_array_equal(other.image, plain.image)
    with (
        Image.open(io.BytesIO(other.encoded)) as stored,
        Image.open(io.BytesIO(plain.encoded)) as p,
    ):
        assert stored.info.get("progressive")
        assert not p.info.get("progressive")


@pytest.mark.parametrize(
    ("codec", "worse", "better"),
    [
        (corruptions.jpeg2000, {"rate": 100}, {"rate": 10}),
        (corruptions.jpeg2000_decibels, {"decibels": 22}, {"decibels": 35}),
        (corruptions.webp, {"quality": 5}, {"quality": 80}),
        (corruptions.avif, {"quality": 10}, {"quality": 80}),
    ],
)
def test_every_codec_is_lossy_and_obeys_its_number(codec, worse, better):
    clean = picture(3, 72, 64)
    low, high = (codec(clean, **options) for options in (worse, better))
    assert low.shape == high.shape == clean.shape
    assert psnr(low, clean) + 3 < psnr(high, clean) < 60


@pytest.mark.parametrize("decibels", [25, 33])
def test_jpeg_2000_reaches_the_decibels_asked_for(decibels):
    clean = picture(3, 128, 128)
    reached = psnr(corruptions.jpeg2000_decibels(clean, decibels=decibels), clean)
    # The encoder estimates the error from its wavelets; hard edges throw it off by some decibels.
    assert reached == pytest.approx(decibels, abs=2.5)


@pytest.mark.parametrize(
    ("codec", "options", "side"),
    [
        (corruptions.jpeg, {"quality": 9, "subsampling": "4:2:0"}, 65_500),
        (corruptions.webp, {"quality": 9}, 16_383),
        (corruptions.avif, {"quality": 9}, 32_768),
    ],
)
def test_what_a_format_cannot_hold_is_refused_in_words(codec, options, side):
    with pytest.raises(ValueError, match=f"up to {side} pixels, got {side + 1} x 1"):
        codec(np.zeros((1, side + 1, 3), np.uint8), **options)


def test_the_longest_sides_that_formats_hold():
    for codec, options, side in (
        (lambda image, **o: corruptions.jpeg(image, **o).image, {"subsampling": "4:2:0"}, 65_500),
        (corruptions.webp, {}, 16_383),
    ):
        long = np.full((1, side, 3), 90, np.uint8)
        assert codec(long, quality=9, **options).shape == long.shape


def test_a_pillow_without_avif_is_told(image, monkeypatch):
    monkeypatch.setattr(corruptions.features, "check", lambda name: name != "avif")
    with pytest.raises(ValueError, match="cannot write AVIF; install one that can"):
        corruptions.avif(image, quality=30)


@pytest.mark.parametrize("filter", sorted(corruptions.FILTERS))
def test_every_filter_resizes_to_height_and_width(filter):
    flat = np.full((24, 36, 3), (10, 100, 200), np.uint8)
    small = corruptions.resize(flat, (8, 18), filter=filter)
    assert small.shape == (8, 18, 3)
    np.testing.assert_array_equal(small, flat[:8, :18])


def test_area_and_nearest_are_what_they_say(image):
    blocks = image.reshape(16, 4, 16, 4, 3).astype(np.float64)
    area = corruptions.resize(image, (16, 16), filter="area")
    # Pillow rounds after each direction.
    np.testing.assert_allclose(area, blocks.mean(axis=(1, 3)), atol=1.01)
    nearest = corruptions.resize(image, (32, 32), filter="nearest")
    np.testing.assert_array_equal(nearest, image[1::2, 1::2])


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_grey_noise_is_one_draw_for_all_channels(noise):
    flat = np.full((32, 32, 3), 120, np.uint8)

    def draw(channels, seed=0):
        rng = np.random.default_rng(seed)
        if noise == "gaussian":
            return corruptions.gaussian_noise(flat, rng, sigma=10, channels=channels)
        return corruptions.poisson_noise(flat, rng, scale=1, channels=channels)

    grey, colour = draw("grey"), draw("colour")
    assert np.ptp(grey, axis=2).max() == 0
    assert np.abs(np.diff(colour.astype(int), axis=2)).mean() > 5
    np.testing.assert_array_equal(draw("colour"), colour)
    assert (draw("colour", seed=1) != colour).any()


def test_shot_noise_grows_with_the_root_of_the_light():
    for level in (25, 100):
        flat = np.full((128, 128, 3), level, np.uint8)
        rng = np.random.default_rng(level)
        noisy = corruptions.poisson_noise(flat, rng, scale=1.5, channels="colour")
        # 49,152 draws: standard error of the deviation 0.3 %, of the mean below 0.07.
        assert noisy.std() == pytest.approx(1.5 * np.sqrt(level), rel=0.02)
        assert noisy.mean() == pytest.approx(level, abs=0.3)


def test_grey_is_luma_in_all_channels(image):
    luma = np.rint(image @ LUMA)
    np.testing.assert_array_equal(corruptions.grey(image), np.repeat(luma[..., None], 3, axis=2))


def test_fading_takes_contrast_and_saturation_and_warms(image):
    same = corruptions.fade(image, contrast=1, saturation=1, warmth=0)
    np.testing.assert_array_equal(same, image)
    colourless = corruptions.fade(image, contrast=1, saturation=0, warmth=0)
    np.testing.assert_array_equal(colourless, corruptions.grey(image))
    flatter = corruptions.fade(image, contrast=0.5, saturation=1, warmth=0)
    np.testing.assert_allclose(flatter, 75 + image / 2, atol=0.51)
    calm = np.full((4, 4, 3), 120, np.uint8)
    warm = corruptions.fade(calm, contrast=1, saturation=1, warmth=20)
    np.testing.assert_array_equal(warm[0, 0], [140, 126, 100])


def test_shifted_colours_move_whole_channels():
    flat = np.full((8, 8, 3), 128, np.uint8)
    moved = corruptions.shift_colours(flat, np.random.default_rng(1), amount=20)
    assert np.ptp(moved.reshape(-1, 3), axis=0).max() == 0
    expected = 128 + np.random.default_rng(1).uniform(-20, 20, 3)
    np.testing.assert_allclose(moved[0, 0], expected, atol=0.5)
