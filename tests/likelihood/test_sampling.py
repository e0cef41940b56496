import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.arrays import named_params, with_params
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.sampling import sample_degraded
from tests.helpers.networks import CONFIGS, FAST, batch, network


def condition(height, width):
    data = batch(1, height, width)
    return np.asarray(data.restored[0]), jax.tree.map(lambda x: np.asarray(x[0]), data.header)


@pytest.mark.parametrize("name", CONFIGS)
def test_all_methods_give_the_same_picture_to_the_bit(name):
    model = network(CONFIGS[name])
    restored, header = condition(11, 18)
    header = header._replace(phase=np.array([5, 9], np.int32))
    naive, jacobi, wavefront = (
        sample_degraded(model, restored, jax.random.key(3), header=header, method=method)
        for method in ("naive", "jacobi", "wavefront")
    )
    np.testing.assert_array_equal(jacobi, naive)
    np.testing.assert_array_equal(wavefront, naive)
    levels = (naive + 1) * 127.5
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert naive.std() > 0.05


@pytest.mark.parametrize("size", [(8, 41), (33, 9)])
def test_narrow_pictures(size):
    model = network(FAST)
    restored, header = condition(*size)
    jacobi, wavefront = (
        sample_degraded(model, restored, jax.random.key(1), header=header, method=method)
        for method in ("jacobi", "wavefront")
    )
    np.testing.assert_array_equal(wavefront, jacobi)


def test_keys_and_temperature():
    model = network(FAST)
    restored, header = condition(16, 16)

    def draw(seed, temperature=1.0):
        key = jax.random.key(seed)
        return sample_degraded(model, restored, key, header=header, temperature=temperature)

    np.testing.assert_array_equal(draw(0), draw(0))
    assert np.mean(draw(0) != draw(1)) > 0.3
    # Without noise there is one picture only.
    np.testing.assert_array_equal(draw(0, 0.0), draw(1, 0.0))


def test_a_sample_is_a_fixed_point_of_what_the_network_expects():
    # A network of certainty: samples are what its anchors say, with scales far below a level.
    model = network(dataclasses.replace(FAST, mean="condition"))
    params = named_params(model.network)
    silent = {name: jnp.zeros_like(params[name]) for name in ("head.w", "head.b")}
    sure = Likelihood(with_params(model.network, params | silent))
    restored, header = condition(16, 16)
    header = header._replace(tables=np.zeros((2, 8, 8), np.float32))
    drawn = sample_degraded(sure, restored, jax.random.key(0), header=header, temperature=0.0)
    np.testing.assert_allclose(drawn, restored, atol=1e-6)
