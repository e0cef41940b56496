"""Effective resolution: pictures with the spectrum of faces, enlarged, blurred and with noise."""

import numpy as np
import pytest

from perceptual_jax.degradation.detail import (
    NATURAL_LOG_POWER,
    NATURAL_SLOPE,
    measure_detail,
    radial_power,
)
from perceptual_jax.degradation.resampling import resample_matrix


def natural(side, seed=0):
    """Noise whose power falls with frequency as that of sharp faces, in levels of 255."""
    rng = np.random.default_rng(seed)
    cycles = np.fft.fftfreq(side) * side
    radius = np.hypot(cycles[:, None], cycles[None, :])
    log_power = NATURAL_LOG_POWER + 2 * np.log(side / 256)
    gain = np.exp((log_power + NATURAL_SLOPE * np.log(np.maximum(radius, 3))) / 2)
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) * gain * 0.5
    return np.real(np.fft.ifft2(spectrum)) + 128


def grey(plane):
    return np.repeat(np.clip(np.rint(plane), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def resized(plane, side, filter="bicubic"):
    matrix = resample_matrix(len(plane), side, filter=filter)
    return matrix @ plane @ matrix.T


def test_white_noise_has_the_power_of_its_variance():
    plane = np.random.default_rng(0).normal(size=(128, 128)) * 3
    np.testing.assert_allclose(radial_power(plane)[10:].mean(), 9, rtol=0.05)


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_a_sharp_picture_fills_its_pixels(side):
    assert measure_detail(grey(natural(side))).size >= 0.6 * side


@pytest.mark.parametrize("small", [32, 64, 128])
def test_an_enlarged_picture_has_the_detail_of_the_small_one(small):
    enlarged = resized(resized(natural(256), small, "area"), 512)
    assert 0.7 * small <= measure_detail(grey(enlarged)).size <= 1.6 * small


def test_detail_falls_with_blur_and_noise_does_not_hide_it():
    rng, sharp = np.random.default_rng(1), natural(256)
    cycles = np.fft.fftfreq(256)
    sizes = []
    for width in (1.0, 2.0, 4.0):
        mtf = np.exp(-2 * np.pi**2 * width**2 * (cycles[:, None] ** 2 + cycles[None, :] ** 2))
        blurred = np.real(np.fft.ifft2(np.fft.fft2(sharp) * mtf))
        sizes.append(measure_detail(grey(blurred)).size)
        noisy = measure_detail(grey(blurred + rng.normal(size=sharp.shape) * 5))
        assert 0.7 * sizes[-1] <= noisy.size <= 1.4 * sizes[-1]
        assert 4 <= noisy.noise <= 6
    # MTF50 of a Gaussian blur is at 0.187 / width cycles a pixel.
    np.testing.assert_allclose(sizes, [96, 48, 24], rtol=0.4)


@pytest.mark.parametrize("side", [4, 16, 31, 33, 64])
def test_pictures_that_say_nothing_count_as_sharp(side):
    for value in (0, 128, 255):
        assert measure_detail(np.full((side, side, 3), value, np.uint8)).size == side
