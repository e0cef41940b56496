"""Settings under which every test runs: silent mistakes of JAX programs become errors."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def key():
    """A fresh PRNG key, the same in every run."""
    return jax.random.key(0)
