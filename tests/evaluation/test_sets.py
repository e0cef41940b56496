import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from perceptual_jax.evaluation.metrics.permutation import permutation_test
from perceptual_jax.evaluation.metrics.sets import frechet_distance, kernel_distance
from perceptual_jax.prior.mmd import make_prior_bank, mmd2


def features(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).gamma(2.0, size=(n, d)) + shift


def test_the_frechet_distance_is_that_of_the_matrix_root():
    x, y = features(60, 7, 0), features(50, 7, 1, shift=0.5)
    root = linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2)
    expected += np.trace(np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * root)
    got = frechet_distance(jnp.asarray(x), jnp.asarray(y))
    assert float(got) == pytest.approx(expected, rel=1e-3)


def test_sets_smaller_than_their_features_are_no_obstacle():
    x = jnp.asarray(features(5, 40, 0))
    assert float(frechet_distance(x, x)) == pytest.approx(0, abs=1e-3)
    moved = frechet_distance(x, x + 2.0)
    assert float(moved) == pytest.approx(160, rel=1e-4)


def test_the_kernel_distance_pair_by_pair():
    x, y = features(6, 4, 0), features(5, 4, 1)
    scale = np.sqrt(np.mean(y**2))

    def kernel(a, b):
        return (np.dot(a / scale, b / scale) / 4 + 1) ** 3

    def within(z):
        return np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    expected = within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    got = kernel_distance(jnp.asarray(x), jnp.asarray(y))
    assert float(got) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_kernel_distance_of_one_distribution_is_about_zero():
    distances = [
        float(kernel_distance(*(jnp.asarray(features(40, 6, 2 * s + i)) for i in (0, 1))))
        for s in range(12)
    ]
    error = np.std(distances) / np.sqrt(len(distances))
    assert abs(np.mean(distances)) < 4 * error
    assert min(distances) < 0


def test_one_picture_is_no_set():
    one, two = jnp.zeros((1, 3)), jnp.ones((2, 3))
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(ValueError, match="at least 2 pictures, got 1 and 2"):
            distance(one, two)


def test_the_permutation_test_has_the_discrepancy_and_uniform_p_values():
    samples = jax.random.normal(jax.random.key(0), (40, 5))

    def p_value(key):
        of_styles, of_test = jax.random.split(key)
        styles = jax.random.normal(of_styles, (6, 5))
        bank = make_prior_bank(samples, bandwidth=10.0)
        found = permutation_test(styles, bank, of_test, permutations=99)
        return found.p_value, found.mmd2, mmd2(styles, samples, bandwidth=10.0)

    keys = jax.random.split(jax.random.key(1), 60)
    p_values, values, expected = jax.jit(jax.vmap(p_value))(keys)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    # The samples are the same each time, so the p-values are only about uniform.
    assert 0.3 < np.mean(p_values) < 0.7
    assert np.mean(p_values <= 0.1) < 0.3


def test_styles_of_one_vector_are_no_sample_of_the_prior():
    samples = jax.random.normal(jax.random.key(0), (200, 8))
    tiled = jnp.tile(samples[:1], (12, 1))
    bank = make_prior_bank(samples[1:], bandwidth="median")
    found = permutation_test(tiled, bank, jax.random.key(1), permutations=199)
    assert float(found.p_value) == pytest.approx(1 / 200)
