"""Settings under which every test runs: silent mistakes of JAX programs become errors.

Compiling takes most of the time, so the processes of a run share what they compile: pytest's
workers, and the scripts and notebooks that tests start.
"""

import atexit
import dataclasses
import os
import shutil
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # JAX reads both when it is imported.
    _compiled = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax
import numpy as np
import pytest

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""Doctests are looked for in every module, and modules of one name cannot be imported twice."""

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def key():
    """A fresh PRNG key, the same in every run."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def narrow_path(tmp_path_factory):
    """The weights file of a StyleGAN2 at 32 px with random weights, for whole runs in seconds."""
    from perceptual_jax.checkpoints import store
    from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config, weight_shapes

    config = StyleGAN2Config(channels=(8, 8, 8, 8), z_dim=16, w_dim=16, mapping_layers=2)
    rng = np.random.default_rng(1)
    arrays = {}
    for name, shape in weight_shapes(config).items():
        fan_in = shape[0] if len(shape) == 2 and name.endswith(".weight") else 1
        arrays[name] = rng.normal(size=shape, scale=fan_in**-0.5).astype(np.float32)
        if name.endswith("bias"):
            arrays[name] = np.full(shape, name.endswith("affine.bias"), np.float32)
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    store.save(path, arrays, {"architecture": "stylegan2", "config": dataclasses.asdict(config)})
    return path
