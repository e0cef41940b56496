import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from perceptual_jax.evaluation.metrics.brisque import brisque
from perceptual_jax.evaluation.metrics.niqe import niqe
from perceptual_jax.evaluation.metrics.scene_statistics import fit, mscn
from tests.helpers import measures, reference_statistics


@pytest.mark.parametrize("shape", [(290, 200), (192, 288)])
def test_niqe_is_that_of_the_reference_in_float64(shape):
    image, pristine = measures.textured(shape), measures.pristine()
    expected = reference_statistics.niqe(image, pristine)
    assert float(niqe(jnp.asarray(image), pristine)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shape", [(64, 80), (97, 63)])
def test_brisque_is_that_of_the_reference_in_float64(shape):
    image, regression = measures.textured(shape), measures.regression()
    expected = reference_statistics.brisque(image, regression)
    assert float(brisque(jnp.asarray(image), regression)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 2.0])
def test_the_fit_finds_the_distribution(exponent):
    rng = np.random.default_rng(0)
    values = stats.gennorm.rvs(exponent, size=(300, 300), random_state=rng)
    values = np.where(values < 0, 2 * values, values).astype(np.float32)
    values = np.where(rng.uniform(size=values.shape) < 0.5, np.abs(values), -np.abs(values))
    values = np.where(values < 0, 2 * values, values).astype(np.float32)
    found = fit(jnp.asarray(values), zero_is_positive=False)
    assert found.left / found.right == pytest.approx(2, rel=0.05)
    values = stats.gennorm.rvs(exponent, size=(300, 300), random_state=rng).astype(np.float32)
    assert float(fit(jnp.asarray(values), zero_is_positive=True).shape) == pytest.approx(
        exponent, rel=0.03
    )


def test_coefficients_vanish_where_a_picture_is_flat():
    image = jnp.full((20, 20), 0.3).at[12:].set(0.7)
    z = mscn(image, constant=1 / 255, border="edge")
    assert (z[:9] == 0).all()
    assert (z[12] > 0).all()


def test_blocks_without_contrast_are_left_out_and_flat_pictures_have_no_value():
    image, pristine = measures.textured((192, 288)), measures.pristine()
    image[:96, :96] = -0.25
    expected = reference_statistics.niqe(image, pristine)
    assert float(niqe(jnp.asarray(image), pristine)) == pytest.approx(expected, rel=1e-2)
    flat = jnp.full((192, 288, 3), 0.5)
    assert np.isnan(niqe(flat, pristine))
    assert np.isnan(niqe(flat.at[:96, :96].set(image[96:, :96]), pristine))
    assert np.isnan(brisque(flat[:64, :80], measures.regression()))


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="2 x 1 blocks of 96 x 96 pixels, got 191 x 100"):
        niqe(jnp.zeros((191, 100, 3)), measures.pristine())
    with pytest.raises(ValueError, match="at least 16 x 16 pixels, got 15 x 20"):
        brisque(jnp.zeros((15, 20, 3)), measures.regression())


def test_batches_by_vmap():
    images = np.stack([measures.textured((192, 96), seed) for seed in range(2)])
    values = jax.vmap(niqe, in_axes=(0, None))(jnp.asarray(images), measures.pristine())
    one = niqe(jnp.asarray(images[1]), measures.pristine())
    np.testing.assert_allclose(values[1], one, rtol=1e-3)
