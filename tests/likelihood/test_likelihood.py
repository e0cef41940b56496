import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.arrays import named_params
from perceptual_jax.likelihood.models import load_model, model_path, save_model, shipped_models
from perceptual_jax.likelihood.pixelcnn import weight_shapes
from perceptual_jax.training.step import batch_bits
from perceptual_jax.types import Given
from tests.helpers.networks import CONFIGS, FAST, PAPER, batch, network


@jax.jit
def prepare(model, degraded, header):
    return model.prepare(Given(degraded, header))


@jax.jit
def evaluate(model, cache, restored):
    return model.evaluate(cache, restored)


def first(data):
    return data.degraded[0], data.restored[0], jax.tree.map(lambda x: x[0], data.header)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cache_changes_nothing(name):
    model = network(CONFIGS[name])
    degraded, restored, header = first(batch())
    cache = prepare(model, degraded, header)
    value, where = evaluate(model, cache, restored)
    whole = jax.jit(lambda m, d, r: m.evaluate(m.prepare(Given(d, header)), r))
    np.testing.assert_allclose(value, whole(model, degraded, restored)[0], rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(where), value, rtol=1e-5)
    assert where.shape == degraded.shape[:2]
    together = jax.jit(batch_bits)(model.network, batch())
    np.testing.assert_allclose(together[0], value, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_into_the_restored_image_are_those_of_differences(name):
    model = network(CONFIGS[name])
    degraded, restored, header = first(batch())
    # Without tables nothing is rounded: hard rounding has no true slope.
    header = header._replace(tables=jnp.zeros((2, 8, 8)))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), model)
        wide = dataclasses.replace(wide, dtype="float64")
        x = jnp.asarray(np.asarray(restored), jnp.float64)
        cache = prepare(wide, jnp.asarray(np.asarray(degraded), jnp.float64), header)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))
        value = jax.jit(lambda x: wide.evaluate(cache, x)[0])
        slope = jnp.sum(jax.jit(jax.grad(value))(x) * direction)
        e = 1e-6
        difference = (value(x + e * direction) - value(x - e * direction)) / (2 * e)
        np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-9)


def test_no_gradient_goes_into_the_degraded_image():
    model = network(PAPER)
    degraded, restored, header = first(batch())
    cache = prepare(model, degraded, header)
    value = jax.jit(lambda c: model.evaluate(c, restored)[0])
    gradient = jax.grad(value, allow_int=True)(cache)
    streams = jax.tree.leaves(gradient.context.streams)
    assert all(float(jnp.abs(x).max()) == 0 for x in streams)


def test_larger_and_smaller_pictures_are_brought_to_size():
    model = network(FAST)
    degraded, restored, header = first(batch())
    cache = prepare(model, degraded, header)
    large = jnp.repeat(jnp.repeat(restored, 2, axis=0), 2, axis=1)
    own, _ = evaluate(model, cache, restored)
    np.testing.assert_allclose(evaluate(model, cache, large)[0], own, rtol=1e-4)
    assert np.isfinite(evaluate(model, cache, restored[::2, ::2])[0])
    with pytest.raises(ValueError, match="at least 8 x 8 pixels, got 4 x 32; use the l2"):
        model.prepare(Given(degraded[:4]))


def test_tempering_bounds_the_pull_of_a_pixel():
    model = network(FAST)
    degraded, restored, header = first(batch())
    far = jnp.clip(restored + 0.5, -1, 1)
    peaks = []
    for floor in (-10.0, -2.0):
        tempered = dataclasses.replace(model, min_log_scale=floor)
        cache = prepare(tempered, degraded, header)
        mixture = jax.jit(lambda m, c, x: m.mixture(c, x))(tempered, cache, far)
        assert float(mixture.log_scales.min()) >= floor
        slope = jax.grad(lambda x, m=tempered, c=cache: evaluate(m, c, x)[0])(far)
        peaks.append(float(jnp.abs(slope).max()))
    assert peaks[1] < peaks[0]


def test_bfloat16_changes_little_and_the_mixture_stays_float32():
    model = network(FAST)
    degraded, restored, header = first(batch())
    low = dataclasses.replace(model, dtype="bfloat16")
    cache = prepare(low, degraded, header)
    assert cache.context.streams["joined"].dtype == jnp.bfloat16
    mixture = jax.eval_shape(lambda cache, x: low.mixture(cache, x), cache, restored)
    assert mixture.means.dtype == jnp.float32
    exact, _ = evaluate(model, prepare(model, degraded, header), restored)
    np.testing.assert_allclose(evaluate(low, cache, restored)[0], exact, rtol=0.02)


def test_images_of_a_batch_are_independent():
    model, data = network(FAST), batch()

    def one(degraded, restored, header):
        return model.evaluate(model.prepare(Given(degraded, header)), restored)[0]

    together = jax.jit(jax.vmap(one))(data.degraded, data.restored, data.header)
    np.testing.assert_allclose(together[0], jax.jit(one)(*first(data)), rtol=1e-4)


def test_models_are_stored_whole(tmp_path):
    model = network(FAST)
    save_model(tmp_path / "own.safetensors", model, {"steps": 3})
    again = load_model(tmp_path / "own.safetensors")
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.network, model.network)
    assert store.inspect(tmp_path / "own.safetensors")["about"] == {"steps": 3}


def test_files_that_do_not_fit_are_refused(tmp_path, narrow_path):
    with pytest.raises(WeightsError, match="holds a stylegan2, not a degradation model"):
        load_model(narrow_path)
    path = tmp_path / "own.safetensors"
    model = network(FAST)
    save_model(path, model, {})
    arrays, metadata = store.load(path)
    store.save(path, arrays | {"head.b": arrays["head.b"][:-1]}, metadata)
    with pytest.raises(WeightsError, match=r"head.b should be \(30,\), got \(29,\)"):
        load_model(path)
    store.save(path, arrays, metadata | {"config": {"channel": 3}})
    with pytest.raises(WeightsError, match="unknown key 'channel'"):
        load_model(path)
    with pytest.raises(UsageError, match="no degradation model is called 'none'"):
        model_path("none")


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_models_are_small_and_whole(name):
    assert shipped_models()[name].stat().st_size < 6_000_000
    model = load_model(name)
    assert model.config.injection == "late"
    assert isinstance(model.network.head.w[...], jax.Array)
    shapes = {name: x.shape for name, x in named_params(model.network).items()}
    assert shapes == weight_shapes(model.config)
