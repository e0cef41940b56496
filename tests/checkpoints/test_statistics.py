import math

import numpy as np

from perceptual_jax.checkpoints.statistics import mean_of_w

D = 8
SAMPLES = 2**15


def test_w_mean_has_its_closed_form():
    """The mean of one layer that only bends."""
    mean = mean_of_w([np.eye(D, dtype=np.float32)], [np.zeros(D, np.float32)], samples=SAMPLES)
    first_coordinate = math.sqrt(D / math.pi) * math.gamma(D / 2) / math.gamma((D + 1) / 2)
    expected = math.sqrt(2) * 0.8 * first_coordinate / 2
    np.testing.assert_allclose(mean, np.full(D, expected), atol=0.03)


def test_agrees_with_a_plain_float64_mapping():
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(D, D)).astype(np.float32) / 3 for _ in range(3)]
    biases = [rng.normal(size=D).astype(np.float32) for _ in range(3)]
    found = mean_of_w(weights, biases, samples=1, seed=5)

    z = np.random.default_rng(5).standard_normal((2048, D), dtype=np.float32)
    w = []
    for x in z.astype(np.float64):
        x = x * math.sqrt(D) / np.linalg.norm(x)
        for weight, bias in zip(weights, biases, strict=True):
            x = x @ weight + bias
            x = math.sqrt(2) * np.where(x < 0, 0.2 * x, x)
        w.append(x)
    # float32 through three layers of values around 3.
    np.testing.assert_allclose(found, np.mean(w, axis=0), rtol=1e-5, atol=2e-5)
    assert found.dtype == np.float32
