import math

import numpy as np
import pytest

from perceptual_jax.checkpoints.statistics import w_statistics

D = 8
SAMPLES = 2**15


@pytest.fixture(scope="module")
def statistics():
    """Of one layer that only bends: then v is sqrt(2) times a point on the sphere sqrt(D)."""
    return w_statistics([np.eye(D, dtype=np.float32)], [np.zeros(D, np.float32)], samples=SAMPLES)


def test_v_is_white_on_the_sphere(statistics):
    error = 6 * math.sqrt(2 / SAMPLES)
    np.testing.assert_allclose(statistics["v_mean"], np.zeros(D), atol=error)
    # Entries of v v^T have standard deviations below 2 sqrt(2).
    np.testing.assert_allclose(statistics["v_covariance"], 2 * np.eye(D), atol=2 * error)
    # |v|^2 = 2 D for every sample; the 1e-8 in the normalisation and float32 are below 1e-4.
    total = np.trace(statistics["v_covariance"]) + np.square(statistics["v_mean"]).sum()
    assert total == pytest.approx(2 * D, abs=1e-4)


def test_w_mean_has_its_closed_form(statistics):
    first_coordinate = math.sqrt(D / math.pi) * math.gamma(D / 2) / math.gamma((D + 1) / 2)
    expected = math.sqrt(2) * 0.8 * first_coordinate / 2
    np.testing.assert_allclose(statistics["w_mean"], np.full(D, expected), atol=0.03)
    assert 0.2 * math.sqrt(2 * D) < statistics["w_norm_mean"] < math.sqrt(2 * D)


def test_agrees_with_a_plain_float64_mapping():
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(D, D)).astype(np.float32) / 3 for _ in range(3)]
    biases = [rng.normal(size=D).astype(np.float32) for _ in range(3)]
    found = w_statistics(weights, biases, samples=1, seed=5)

    z = np.random.default_rng(5).standard_normal((2048, D), dtype=np.float32)
    w = []
    for x in z.astype(np.float64):
        x = x * math.sqrt(D) / np.linalg.norm(x)
        for weight, bias in zip(weights, biases, strict=True):
            x = x @ weight + bias
            x = math.sqrt(2) * np.where(x < 0, 0.2 * x, x)
        w.append(x)
    v = np.where(np.array(w) < 0, np.array(w) / 0.2, w)
    # float32 through three layers of values around 3.
    close = {"rtol": 1e-5, "atol": 2e-5}
    np.testing.assert_allclose(found["w_mean"], np.mean(w, axis=0), **close)
    np.testing.assert_allclose(found["w_norm_mean"], np.linalg.norm(w, axis=1).mean(), **close)
    np.testing.assert_allclose(found["v_mean"], v.mean(axis=0), **close)
    np.testing.assert_allclose(found["v_covariance"], np.cov(v.T, bias=True), rtol=1e-4, atol=1e-3)
    assert all(value.dtype == np.float32 for value in found.values())
