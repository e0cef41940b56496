"""`Whitening`: inverse maps, white samples, and streaming against all samples at once."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from perceptual_jax.prior import whitening as module
from perceptual_jax.prior.whitening import Whitening

fit_whitening = jax.jit(module.fit_whitening, static_argnames="covariance")
fit_whitening_from_mapping = jax.jit(
    module.fit_whitening_from_mapping,
    static_argnames=("mapping", "z_dim", "samples", "chunk", "covariance"),
)

FORMS = ["diagonal", "full"]
D = 6


def unbend(w):
    return np.where(w < 0, 5 * np.float64(w), w)


def mixing():
    """Correlates; the covariance it makes has condition 27."""
    return np.random.default_rng(7).normal(size=(D, D)) + 4 * np.eye(D)


def mapping(z):
    """A stand-in for a mapping network, for which whitened W is exactly Gaussian."""
    return jax.nn.leaky_relu(jnp.array(mixing(), jnp.float32) @ z + jnp.linspace(-1, 1, D), 0.2)


def samples(n=500):
    z = np.random.default_rng(0).normal(size=(n, D))
    return jax.vmap(mapping)(jnp.array(z, jnp.float32))


@pytest.mark.parametrize("covariance", FORMS)
def test_maps_are_inverse_to_each_other(covariance):
    w = samples()
    whitening = fit_whitening(w, covariance=covariance)
    # Unbent samples reach 18, and the root has condition 5: some 20 roundings of 18.
    np.testing.assert_allclose(whitening.unwhiten(whitening.whiten(w)), w, rtol=1e-5, atol=5e-5)
    z = jnp.array(np.random.default_rng(1).normal(size=(50, D)), jnp.float32)
    np.testing.assert_allclose(whitening.whiten(whitening.unwhiten(z)), z, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("covariance", FORMS)
def test_whitened_samples_are_white(covariance):
    w = samples()
    z = np.float64(fit_whitening(w, covariance=covariance).whiten(w))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.var(axis=0), 1, rtol=1e-5)
    off_diagonal = np.abs(np.cov(z.T, bias=True) - np.diag(z.var(axis=0))).max()
    assert off_diagonal < 1e-5 if covariance == "full" else off_diagonal > 0.1


def test_diagonal_is_the_formula_of_pulse():
    w = np.asarray(samples())
    v = unbend(w)
    whitening = fit_whitening(jnp.array(w))
    np.testing.assert_allclose(whitening.mean, v.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whitening.root, v.std(axis=0), rtol=1e-5)
    z = np.random.default_rng(1).normal(size=(18, D))
    v = v.std(axis=0) * z + v.mean(axis=0)
    expected = np.where(v < 0, 0.2 * v, v)
    unwhitened = whitening.unwhiten(jnp.array(z, jnp.float32))
    np.testing.assert_allclose(unwhitened, expected, rtol=1e-5, atol=1e-5)


def test_full_root_is_the_symmetric_root_of_the_covariance():
    w = samples()
    whitening = fit_whitening(w, covariance="full")
    np.testing.assert_allclose(whitening.root, whitening.root.T, atol=1e-5)
    assert (np.linalg.eigvalsh(np.float64(whitening.root)) > 0).all()
    expected = np.cov(unbend(w).T, bias=True)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(whitening.root @ whitening.root, expected, atol=1e-5 * scale)


def test_without_correlations_both_forms_agree():
    v = np.array([[1, 2], [-1, 2], [1, -2], [-1, -2]], np.float32)
    w = jnp.array(np.where(v < 0, 0.2 * v, v), jnp.float32)
    diagonal, full = (fit_whitening(w, covariance=form) for form in FORMS)
    np.testing.assert_allclose(full.root, np.diag(diagonal.root), atol=1e-5)


@pytest.mark.parametrize("covariance", FORMS)
def test_one_vector_and_many_give_the_same(covariance):
    w = samples()
    whitening = fit_whitening(w, covariance=covariance)
    single = [whitening.whiten(row) for row in w[:3]]
    np.testing.assert_allclose(whitening.whiten(w)[:3], single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("covariance", FORMS)
def test_constant_and_dependent_coordinates_stay_finite(covariance):
    w = np.array(samples(40))
    w[:, 0] = 0.5
    w[:, 1] = w[:, 2]
    whitening = fit_whitening(jnp.array(w), covariance=covariance)
    z = whitening.whiten(jnp.array(w))
    assert np.isfinite(z).all()
    # The floor on the variance bounds the condition of the root by 1000: 1000 eps.
    np.testing.assert_allclose(whitening.unwhiten(z), w, atol=1e-4 * np.abs(unbend(w)).max())


@pytest.mark.parametrize("covariance", FORMS)
def test_chunks_give_what_all_samples_at_once_give(covariance, key):
    keys = jax.random.split(jax.random.clone(key), 4)
    z = jnp.concatenate([jax.random.normal(chunk_key, (25, D)) for chunk_key in keys])
    expected = fit_whitening(jax.vmap(mapping)(z), covariance=covariance)
    streamed = fit_whitening_from_mapping(
        mapping, key, z_dim=D, samples=90, chunk=25, covariance=covariance
    )
    for x, y in zip(streamed, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_chunks_far_from_the_origin_keep_their_precision(key):
    # A sum of squares in float32 would lose this variance: 1e4^2 + 1 rounds to 1e4^2.
    whitening = fit_whitening_from_mapping(
        lambda z: z + 1e4, key, z_dim=3, samples=20_000, chunk=500
    )
    np.testing.assert_allclose(whitening.root, 1, rtol=0.03)
    np.testing.assert_allclose(whitening.mean, 1e4, rtol=1e-5)


def test_full_fit_recovers_the_gaussian_it_was_drawn_from(key):
    whitening = fit_whitening_from_mapping(
        mapping, key, z_dim=D, samples=40_000, chunk=1000, covariance="full"
    )
    expected = mixing() @ mixing().T
    # Standard error of a covariance: sqrt(2 / 40000) = 0.7 % of its scale; four of them.
    error = np.abs(np.float64(whitening.root) @ whitening.root - expected).max()
    assert error < 0.03 * np.abs(expected).max()


def test_gradients_pass_through_and_vmap_works():
    whitening = fit_whitening(samples(), covariance="full")
    z = jnp.ones((2, 3, D))
    batch = jax.jit(jax.vmap(whitening.unwhiten))(z)
    np.testing.assert_allclose(batch[0], whitening.unwhiten(z[0]), rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        exact = Whitening(*(jnp.array(leaf, jnp.float64) for leaf in whitening))
        point = jnp.array(np.random.default_rng(3).normal(size=(2, D)))
        check_grads(
            lambda z: exact.unwhiten(jnp.asarray(z)),
            (point,),
            order=1,
            modes=["rev"],
            atol=1e-6,
            rtol=1e-6,
        )


def test_errors_say_what_is_needed(key):
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        fit_whitening(jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 2 samples, got 0"):
        fit_whitening_from_mapping(mapping, key, z_dim=D, samples=0)
    # Without the type checks of the tests, as users call it.
    with pytest.raises(ValueError, match="one of diagonal, full, got 'dense'"):
        inspect.unwrap(module.fit_whitening)(jnp.zeros((4, 3)), covariance="dense")
