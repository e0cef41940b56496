"""The Wiener projection: known blur, noise and error are found again, and the error is removed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft

from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.restoration.projections.blur_fit import (
    blur_response,
    cosine_matrix,
    fit_damage,
    frequencies,
    rings_of,
)
from perceptual_jax.restoration.projections.wiener import WienerProjection
from perceptual_jax.types import Given

project = jax.jit(lambda projection, given, image: projection(given, image))
SIDE = 48


def coloured(seed, size, slope, deviation):
    """Noise whose power falls as f^-slope, in float64."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.arange(size), np.arange(size)))
    coefficients = rng.normal(size=(size, size, 3)) * np.maximum(frequency, 1)[..., None] ** (
        -slope / 2
    )
    coefficients[0, 0] = 0
    values = fft.idctn(coefficients, axes=(0, 1), norm="ortho")
    return values * deviation / values.std()


def blurred(picture, width):
    size = len(picture)
    response = np.asarray(blur_response(frequencies(size, size), width), np.float64)
    coefficients = fft.dctn(picture, axes=(0, 1), norm="ortho") * response[:, :, None]
    return fft.idctn(coefficients, axes=(0, 1), norm="ortho")


def enlarged(picture, factor=2):
    """A picture whose area downscale is the given one."""
    return jnp.asarray(np.kron(picture, np.ones((factor, factor, 1))), jnp.float32)


def shown(image, side=SIDE):
    return np.asarray(downscale(image, (side, side), filter="area"), np.float64)


def angle(size, error):
    """Angle between truth and result at each frequency: a search knows large structures best."""
    frequency = np.hypot(*np.meshgrid(np.arange(size), np.arange(size)))[..., None] / size
    return np.minimum(error * (0.2 + 4 * frequency), np.pi / 2)


def case(*, width, noise, error=0.5, grain=0.0, size=SIDE, everywhere=False):
    """Truth, a search's result and a degraded image: natural pictures, in [-1, 1].

    The result is wrong in places, as a search is; or `everywhere`, in its small structures.
    """
    truth, other = (coloured(seed, size, 2.5, 0.3) for seed in (0, 1))
    mixed = np.cos(angle(size, error)) * fft.dctn(truth, axes=(0, 1), norm="ortho")
    mixed += np.sin(angle(size, error)) * fft.dctn(other, axes=(0, 1), norm="ortho")
    result = fft.idctn(mixed, axes=(0, 1), norm="ortho")
    if not everywhere:
        y, x = np.mgrid[:size, :size] / size - 0.4
        result = truth + np.exp(-((y**2 + x**2) / 0.02))[:, :, None] * (result - truth)
    degraded = blurred(truth, width)
    degraded += np.random.default_rng(2).normal(scale=noise, size=truth.shape)
    if grain:
        degraded += coloured(3, size, 1.5, grain)
    return truth, result, jnp.asarray(degraded, jnp.float32)


@pytest.mark.parametrize(("size", "side"), [(8, 8), (12, 9)])
def test_the_cosine_transform_is_scipys(size, side):
    picture = np.random.default_rng(0).normal(size=(size,))
    expected = np.zeros(size)
    expected[:side] = fft.dct(picture[:side], norm="ortho")
    np.testing.assert_allclose(cosine_matrix(size, side) @ picture, expected, atol=1e-6)


def test_rings_hold_the_powers_of_all_coefficients_but_the_mean():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 10, 10, 3)).astype(np.float32)
    rings = rings_of(jnp.asarray(x), jnp.asarray(y), frequencies(10, 10))
    assert float(jnp.sum(rings.number)) == 99
    for got, product in ((rings.xx, x * x), (rings.xy, x * y), (rings.yy, y * y)):
        total = product.reshape(-1, 3)[1:].sum(axis=0)
        np.testing.assert_allclose(got @ rings.number, total, rtol=1e-4, atol=1e-4)
    some = np.asarray(rings.frequency)[np.asarray(rings.number) > 0]
    assert np.all(np.diff(some) > 0)
    assert some[0] == pytest.approx(0.05)
    assert some[-1] == pytest.approx(np.hypot(9, 9) / 20, rel=0.1)


@pytest.mark.parametrize("width", [0.6, 1.0, 2.0])
def test_blur_and_noise_are_found_again(width):
    _, result, degraded = case(width=width, noise=0.02, size=96, everywhere=True)
    coefficients = (fft.dctn(p, axes=(0, 1), norm="ortho") for p in (result, degraded))
    x, y = (jnp.asarray(c, jnp.float32) for c in coefficients)
    damage = fit_damage(rings_of(x, y, frequencies(96, 96)))
    assert float(damage.width) == pytest.approx(width, rel=0.2)
    np.testing.assert_allclose(np.sqrt(damage.noise), 0.02, rtol=0.25)


@pytest.mark.parametrize(("width", "left"), [(0.3, 0.4), (1.0, 0.8), (1.8, 0.95)])
def test_it_removes_the_error_as_far_as_the_blur_shows_it(width, left):
    truth, result, degraded = case(width=width, noise=0.005)
    moved = shown(project(WienerProjection("area"), Given(degraded), enlarged(result)))
    assert np.std(moved - truth) < left * np.std(result - truth)


def test_what_is_noise_is_not_copied():
    _, result, degraded = case(width=1.0, noise=0.3, error=0.01)
    moved = shown(project(WienerProjection("area"), Given(degraded), enlarged(result)))
    assert np.std(moved - result) < 0.05


def test_coarse_grain_is_not_copied_beyond_the_pictures_own_power():
    truth, result, degraded = case(width=0.5, noise=0.01, error=0.02, grain=0.3)
    moved = shown(project(WienerProjection("area"), Given(degraded), enlarged(result)))
    assert np.std(moved - truth) < 0.6 * np.std(np.asarray(degraded) - truth)


def test_what_the_degraded_image_has_lost_stays():
    """Above the blur's reach the detail of the result is untouched."""
    truth, result, degraded = case(width=3.0, noise=0.02)
    moved = shown(project(WienerProjection("area"), Given(degraded), enlarged(result)))
    changes = fft.dctn(moved - result, axes=(0, 1), norm="ortho")
    before = fft.dctn(result, axes=(0, 1), norm="ortho")
    assert np.std(changes[24:, 24:]) < 0.02 * np.std(before[24:, 24:])
    error = before - fft.dctn(truth, axes=(0, 1), norm="ortho")
    assert np.std(changes[:4, :4]) > 0.5 * np.std(error[:4, :4])


def test_faded_colours_are_not_faded_again():
    truth, result, _ = case(width=0.5, noise=0.0, error=1.5)
    matrix = 0.5 * np.eye(3) + 0.1
    faded = blurred(truth, 0.5) @ matrix.T + 0.2
    faded += np.random.default_rng(5).normal(scale=0.003, size=faded.shape)
    given = Given(jnp.asarray(faded, jnp.float32))
    moved = shown(project(WienerProjection("area", colours=True), given, enlarged(result)))
    assert np.std(moved - truth) < 0.75 * np.std(result - truth)
    np.testing.assert_allclose(moved.mean((0, 1)), result.mean((0, 1)), atol=1e-3)


def test_strength_is_the_fraction_of_the_way():
    _, result, degraded = case(width=1.0, noise=0.02)
    image, given = enlarged(result), Given(degraded)
    whole = project(WienerProjection(), given, image) - image
    half = project(WienerProjection(strength=0.5), given, image) - image
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


@pytest.mark.parametrize("colours", [False, True])
def test_a_canvas_changes_nothing(colours):
    """Up to the place of the rings, which are counted on the canvas."""
    _, result, degraded = case(width=1.0, noise=0.02)
    projection, image = WienerProjection(colours=colours), enlarged(result)
    alone = project(projection, Given(degraded), image)
    padded = jnp.pad(degraded, ((0, 16), (0, 16), (0, 0)), mode="edge")
    moved = project(projection, Given(padded, side=jnp.int32(SIDE)), image)
    assert float(jnp.std(alone - image)) > 0.01
    assert float(jnp.std(moved - alone)) < 0.003


@pytest.mark.parametrize("value", [0.25, np.nan])
@pytest.mark.parametrize("colours", [False, True])
def test_a_flat_and_a_broken_image_leave_a_finite_picture(colours, value):
    image = enlarged(case(width=1.0, noise=0.02)[1])
    flat = jnp.full((SIDE, SIDE, 3), value, jnp.float32)
    assert bool(
        jnp.all(jnp.isfinite(project(WienerProjection(colours=colours), Given(flat), image)))
    )


def test_a_picture_smaller_than_the_input_is_not_moved():
    image = enlarged(coloured(0, 8, 2.0, 0.3))
    given = Given(jnp.zeros((32, 32, 3)))
    np.testing.assert_array_equal(project(WienerProjection(), given, image), image)
