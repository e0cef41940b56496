import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from perceptual_jax.evaluation.metrics.similarity import ms_ssim, psnr, ssim


def pair(seed, shape=(24, 30, 3), noise=0.2):
    rng = np.random.default_rng(seed)
    a = np.clip(np.cumsum(rng.normal(size=shape), axis=1) / 5, -1, 1)
    b = np.clip(a + noise * rng.normal(size=shape), -1, 1)
    return a.astype(np.float32), b.astype(np.float32)


def ssim_in_float64(a, b):
    """Wang's formula with a two-dimensional window, on images mapped to [0, 255]."""
    a, b = ((np.asarray(x, np.float64) + 1) * 127.5 for x in (a, b))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def means(x):
        return signal.convolve2d(x, window, mode="valid")

    channels = []
    for x, y in zip(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), strict=True):
        mx, my = means(x), means(y)
        vx, vy, cov = means(x * x) - mx**2, means(y * y) - my**2, means(x * y) - mx * my
        index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        channels.append(index.mean())
    return np.mean(channels)


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_ssim_is_wangs(noise):
    a, b = pair(0, noise=noise)
    # Variances are differences of float32 squares.
    expected = ssim_in_float64(a, b)
    assert float(ssim(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("noise", "decibels", "similarity"),
    [
        (0.02, 40.42227332244913, 0.9992931194167024),
        (0.2, 20.69591080875808, 0.9368688207412462),
        (1.0, 9.036918932522486, 0.43811281662012086),
    ],
)
def test_metrics_are_those_of_scikit_image(noise, decibels, similarity):
    # scikit-image 0.26.0 in float64: peak_signal_noise_ratio, and structural_similarity with
    # gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.
    a, b = map(jnp.asarray, pair(0, noise=noise))
    assert float(psnr(a, b)) == pytest.approx(decibels, abs=1e-4)
    assert float(ssim(a, b)) == pytest.approx(similarity, abs=1e-6)


def test_ssim_of_equal_images_is_one_and_of_negatives_is_low():
    a, _ = pair(1)
    assert float(ssim(jnp.asarray(a), jnp.asarray(a))) == pytest.approx(1, abs=1e-6)
    assert float(ssim(jnp.asarray(a), jnp.asarray(-a))) < 0


def test_ssim_of_flat_images_is_the_luminance_term():
    black, white = jnp.full((11, 11, 3), -1.0), jnp.full((11, 11, 3), 1.0)
    assert float(ssim(black, white)) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-3)


def test_metrics_are_symmetric_and_batch_by_vmap():
    pairs = [pair(seed) for seed in range(3)]
    a, b = (jnp.stack(images) for images in zip(*pairs, strict=True))
    for metric in (psnr, ssim):
        values = jax.vmap(metric)(a, b)
        np.testing.assert_allclose(values, jax.vmap(metric)(b, a), rtol=1e-5)
        np.testing.assert_allclose(values[1], metric(a[1], b[1]), rtol=1e-5)


def test_psnr_is_that_of_8_bit_images():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    expected = 20 * np.log10(255) - 10 * np.log10(np.mean((a - b) ** 2, dtype=np.float64))
    got = psnr(*(jnp.asarray(x / 127.5 - 1) for x in (a, b)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_psnr_of_equal_images_is_infinite():
    image = jnp.zeros((4, 4, 3))
    assert psnr(image, image) == jnp.inf


def test_images_smaller_than_a_window_are_refused():
    image = jnp.zeros((11, 10, 3))
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 11 x 10"):
        ssim(image, image)


def ms_ssim_in_float64(a, b):
    """Wang's formula, scale by scale, for one channel at a time."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    values = []
    for x, y in zip(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), strict=True):
        x, y, value = (x.astype(np.float64) + 1) / 2, (y.astype(np.float64) + 1) / 2, 1.0
        for scale, weight in enumerate(weights):
            mx, my = (signal.convolve2d(z, window, mode="valid") for z in (x, y))
            xx, yy, xy = (signal.convolve2d(p, window, mode="valid") for p in (x * x, y * y, x * y))
            index = (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)
            if scale == 4:
                index = index * (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
            value *= max(index.mean(), 0) ** weight
            h, w = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
            x, y = (sum(z[i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)) / 4 for z in (x, y))
        values.append(value)
    return np.mean(values)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_ms_ssim_is_wangs(noise):
    a, b = pair(2, shape=(179, 190, 3), noise=noise)
    got = float(ms_ssim(jnp.asarray(a), jnp.asarray(b)))
    assert got == pytest.approx(ms_ssim_in_float64(a, b), abs=1e-5)
    assert float(ms_ssim(jnp.asarray(a), jnp.asarray(-a))) == 0
    with pytest.raises(ValueError, match="ms_ssim needs images of at least 176 x 176"):
        ms_ssim(jnp.zeros((175, 200, 3)), jnp.zeros((175, 200, 3)))
