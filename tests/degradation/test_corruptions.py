import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.data.images import to_float
from perceptual_jax.degradation.consistency import downscale
from perceptual_jax.degradation.corruptions import KINDS, degrade


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
