import numpy as np
import pytest

from perceptual_jax.degradation import kernels
from tests.helpers.pictures import picture

KERNELS = {
    "gaussian": kernels.gaussian(1.5, 1.5, 0),
    "turned": kernels.gaussian(3, 1, 30),
    "generalised": kernels.gaussian(2, 1, 70, shape=0.6),
    "plateau": kernels.plateau(2, 1, -20, shape=1.5),
    "motion": kernels.motion(6.5, 25),
    "sinc": kernels.sinc(1.4),
}


def moments(kernel):
    """Covariance of x (to the right) and y (upwards) under a kernel."""
    reach = len(kernel) // 2
    down, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    y = -down
    return np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_odd_squares_of_sum_1_and_have_a_centre(name):
    kernel = KERNELS[name]
    assert kernel.shape[0] == kernel.shape[1]
    assert len(kernel) % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    # Half a turn gives the same, so that nothing moves.
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
    assert kernel.max() == pytest.approx(kernel[len(kernel) // 2, len(kernel) // 2])


def test_a_gaussian_has_its_deviations_along_its_angle():
    major, minor, angle = 3.0, 1.5, np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = turn @ np.diag([major**2, minor**2]) @ turn.T
    # Cut off at three deviations, which takes some 3 % of the variance.
    np.testing.assert_allclose(moments(kernels.gaussian(major, minor, 30)), expected, rtol=0.05)


def test_shapes_are_the_formulas_on_the_axis():
    offsets = np.arange(-6, 7)
    row = kernels.gaussian(2, 2, 0, shape=0.5)[6]
    np.testing.assert_allclose(row / row[6], np.exp(-0.5 * np.abs(offsets / 2)), rtol=1e-12)
    row = kernels.plateau(2, 2, 0, shape=2)[6]
    np.testing.assert_allclose(row / row[6], 1 / (1 + (offsets / 2) ** 4), rtol=1e-12)


def test_large_gaussians_are_cut_at_41_pixels():
    assert kernels.gaussian(10, 10, 0).shape == (41, 41)


@pytest.mark.parametrize("angle", [0, 40, 90])
def test_motion_is_a_line_of_its_length_and_angle(angle):
    length = 9.0
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    covariance = moments(kernels.motion(length, angle))
    # A uniform line's variance, and what bilinear sharing between pixels adds at most.
    assert direction @ covariance @ direction == pytest.approx(length**2 / 12, abs=0.5)
    across = np.array([-direction[1], direction[0]])
    assert across @ covariance @ across < 0.3


def test_sinc_passes_what_is_below_its_cutoff_only():
    cutoff = 1.5
    response = np.abs(np.fft.fft(kernels.sinc(cutoff, size=101).sum(axis=0), 256))
    frequency = 2 * np.pi * np.arange(129) / 256
    assert response[:129][frequency < cutoff - 0.2] == pytest.approx(1, abs=0.1)
    assert response[:129][frequency > cutoff + 0.2] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("name", KERNELS)
def test_convolution_is_the_sum_it_should_be(name):
    kernel, image = KERNELS[name], picture(0, 21, 13)
    reach = len(kernel) // 2
    padded = np.pad(image.astype(float), ((reach,) * 2, (reach,) * 2, (0, 0)), "symmetric")
    expected = np.zeros(image.shape)
    for i, j in np.ndindex(*kernel.shape):
        # The kernel is turned by half, as a convolution is.
        expected += kernel[-1 - i, -1 - j] * padded[i : i + 21, j : j + 13]
    result = kernels.convolve(image, kernel)
    assert result.dtype == np.uint8
    # A value near a half may round either way in single precision.
    np.testing.assert_allclose(result, np.clip(expected, 0, 255), atol=0.501)


def test_convolution_does_not_turn_a_kernel_and_leaves_flat_pictures():
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 200
    kernel = np.zeros((3, 3))
    kernel[0, 2] = 1
    moved = kernels.convolve(dot, kernel)
    assert moved[3, 5].tolist() == [200] * 3
    assert moved.sum() == 600
    flat = np.full((1, 2, 3), 77, np.uint8)
    np.testing.assert_array_equal(kernels.convolve(flat, kernels.gaussian(7, 7, 0)), flat)
