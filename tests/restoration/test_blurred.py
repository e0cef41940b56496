"""`BlurredL2` against a float64 loop over widths, on canvases, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.restoration.data_terms.blurred import WIDTHS, BlurredL2
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.types import Given


def picture(seed, side):
    rng = np.random.default_rng(seed)
    small = jnp.asarray(rng.uniform(-1, 1, (side // 4, side // 4, 3)), jnp.float32)
    return downscale(small, (side, side), filter="bicubic")


def blurred(image, width):
    """Separable Gaussian, renormalised at the borders, by loops in float64."""
    image = np.asarray(image, np.float64)
    side = len(image)
    matrix = np.array(
        [[np.exp(-((i - j) ** 2) / (2 * width**2)) for j in range(side)] for i in range(side)]
    )
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.einsum("ai,bj,ijc->abc", matrix, matrix, image)


@jax.jit
def evaluate(given, image):
    term = BlurredL2()
    cache = term.prepare(given, image.shape[0])
    return term.evaluate(cache, image), term.fitted(cache, image)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_finds_the_width_and_the_noise(width):
    image = picture(0, 64)
    small = blurred(downscale(image, (16, 16), filter="bicubic"), width)
    noise = np.random.default_rng(1).normal(size=small.shape) * 2 * 0.01
    given = Given(jnp.asarray(small + noise, jnp.float32))
    (value, errors), (found, level) = evaluate(given, image)
    assert float(found) == pytest.approx(width)
    np.testing.assert_allclose(level, 0.01, rtol=0.15)
    np.testing.assert_allclose(jnp.mean(errors), value, rtol=1e-5)
    np.testing.assert_allclose(value, np.mean((noise / 2) ** 2), rtol=0.02)


def test_agrees_with_loops_over_all_widths():
    image, y = picture(2, 64), picture(3, 16)
    small = downscale(image, (16, 16), filter="bicubic")
    expected = [np.mean(((small - y) / 2) ** 2)]
    expected += [np.mean(((blurred(small, w) - np.asarray(y)) / 2) ** 2) for w in WIDTHS[1:]]
    (value, _), (width, _) = evaluate(Given(y), image)
    np.testing.assert_allclose(value, min(expected), rtol=1e-4)
    assert float(width) == pytest.approx(WIDTHS[int(np.argmin(expected))])


def test_a_sharp_picture_gets_no_blur_and_the_plain_error():
    image = picture(4, 64)
    sharp = downscale(image, (16, 16), filter="bicubic") + 0.02
    (value, _), (width, _) = evaluate(Given(sharp), image)
    plain = DownscaleL2()
    expected, _ = plain.evaluate(plain.prepare(Given(sharp), 64), image)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert width == 0


def test_a_canvas_changes_nothing():
    image = picture(5, 64)
    small = jnp.asarray(blurred(downscale(image, (12, 12), filter="bicubic"), 1.0), jnp.float32)
    (alone, _), (width, _) = evaluate(Given(small), image)
    padded = jnp.pad(small, ((0, 4), (0, 4), (0, 0)), mode="edge")
    (value, _), (same, _) = evaluate(Given(padded, side=jnp.int32(12)), image)
    np.testing.assert_allclose(value, alone, atol=1e-6)
    assert width == same


def test_a_draft_smaller_than_the_input():
    image = picture(6, 64)
    y = jnp.asarray(blurred(image, 2.8), jnp.float32)
    (value, _), (width, _) = evaluate(Given(y), downscale(image, (32, 32), filter="area"))
    assert value < 1e-3
    assert width in (jnp.float32(1.4), jnp.float32(2.0), jnp.float32(2.8))


def test_gradient():
    given = Given(jnp.asarray(blurred(picture(7, 8), 1.0), jnp.float32))
    term = BlurredL2()
    cache = term.prepare(given, 16)
    check_grads(
        lambda x: 100 * term.evaluate(cache, jnp.asarray(x))[0],
        (picture(8, 16),),
        1,
        ["rev"],
        atol=1e-2,
        rtol=1e-2,
    )


@jax.jit
def evaluate_faded(given, image):
    term = BlurredL2(colours=True)
    return term.evaluate(term.prepare(given, image.shape[0]), image)[0]


def test_faded_colours_are_explained():
    image = picture(9, 64)
    small = np.asarray(downscale(image, (16, 16), filter="bicubic"))
    matrix = np.array([[0.6, 0.1, 0.0], [0.05, 0.5, 0.1], [0.1, 0.0, 0.4]])
    faded = jnp.asarray(small @ matrix.T + np.array([0.2, 0.1, -0.1]), jnp.float32)
    plain, free = evaluate(Given(faded), image)[0][0], evaluate_faded(Given(faded), image)
    assert free < 0.01 * plain
    # Another picture is not explained by its colours.
    other = evaluate_faded(Given(faded), picture(10, 64))
    assert other > 20 * free
    padded = jnp.pad(faded, ((0, 0), (0, 0), (0, 0)))
    on_canvas = evaluate_faded(Given(padded, side=jnp.int32(16)), image)
    np.testing.assert_allclose(on_canvas, free, atol=1e-6)


def test_colours_are_those_of_ridge_regression():
    x, y = np.asarray(picture(11, 16), np.float64), np.asarray(picture(12, 16), np.float64)
    x0, y0 = (a.reshape(-1, 3) - a.reshape(-1, 3).mean(axis=0) for a in (x, y))
    ridge = 0.01 * np.eye(3)
    matrix = (y0.T @ x0 / len(x0) + ridge) @ np.linalg.inv(x0.T @ x0 / len(x0) + ridge)
    expected = np.mean(((x0 @ matrix.T - y0) / 2) ** 2)
    term = BlurredL2(widths=(0.0,), colours=True)
    given = Given(jnp.asarray(y, jnp.float32))
    value, _ = term.evaluate(term.prepare(given, 16), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
