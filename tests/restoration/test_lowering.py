"""Whole searches lower for platforms that are not there, and compute in the dtypes that are meant.

`scripts/lowering.py` does the same for real sizes and all data terms.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from perceptual_jax.config import FeaturesConfig, FinishConfig, RestoreConfig, SearchConfig
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.restoration.lowering import Lowered, costs_of, lower
from perceptual_jax.restoration.presets import abstract_search
from scripts.lowering import MEANT, unmeant

CONFIG = RestoreConfig(
    search=SearchConfig(steps=4, draft=32, coarse=16),
    features=FeaturesConfig(steps=4, correct_every=2),
    finish=FinishConfig(steps=2),
)


@pytest.fixture(autouse=True)
def _products_have_places():
    """Products are named by their functions, which the settings of the tests leave out."""
    before = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 10)
    yield
    jax.config.update("jax_traceback_in_locations_limit", before)


@pytest.mark.parametrize(
    ("dtype", "term"),
    [pytest.param("float32", "dct_box", marks=pytest.mark.long), ("bfloat16", "blur")],
)
def test_a_search_lowers_for_tpu_and_cuda_over_eight_devices(dtype, term):
    config = StyleGAN2Config((64, 64, 64, 32, 32), z_dim=32, w_dim=32, dtype=dtype)
    generator = jax.eval_shape(lambda: StyleGAN2.init(jax.random.key(0), config))
    settings = dataclasses.replace(CONFIG, dtype=dtype, degradation=term)
    search = abstract_search(settings, generator, 32)
    done = lower(search, 32, batch=8, devices=8, platforms=("tpu", "cuda"))
    assert done.devices == 8
    assert not unmeant(done, dtype)
    assert set(done.costs.flops) <= {"float32", dtype}
    assert done.costs.memory > 8 * 64 * 64 * 3 * 4


def test_costs_are_those_of_a_program_by_hand():
    def program(x, y):
        return jax.lax.scan(lambda x, _: (x @ y, None), x, None, length=3)[0]

    shape = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    costs = costs_of(jax.jit(program).trace(shape, shape).jaxpr)
    assert costs.flops == {"float32": 3 * 2 * 4**3}
    assert costs.bytes == 3 * 3 * 4 * 16
    assert not costs.f64


def test_what_is_not_meant_is_found():
    costs = costs_of(jax.jit(jnp.dot).trace(jnp.ones((2, 2)), jnp.ones((2, 2))).jaxpr)
    text = "stablehlo.custom_call @xla_python_cpu_callback(%0) : tensor<2xf64>"
    found = unmeant(Lowered(text, 1, costs), "bfloat16")
    assert found[:2] == ["calls xla_python_cpu_callback", "float64"]
    assert any("float32 in" in one for one in found)
    assert not set(costs.float32) & set(MEANT)
