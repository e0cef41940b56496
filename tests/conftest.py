"""Settings under which every test runs: silent mistakes of JAX programs become errors.

Compiling takes most of the time, so processes share what they compile: pytest's workers, the
scripts and notebooks that tests start, and the next run. Compiled programs take most of the
memory, so a process that has many drops them; what it needs again comes from the shared folder.
"""

import contextlib
import ctypes
import dataclasses
import gc
import os
import sys
import time
from pathlib import Path

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # JAX reads both when it is imported.
    _cache = Path(__file__).parents[1] / ".pytest_cache"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_cache / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

import jax
import numpy as np
import pytest

from tests.helpers.processes import COMPILE_FAST

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_traceback_in_locations_limit", 0)  # collecting them is a tenth of tracing
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    # Optimising takes longer here than it saves; processes that tests start run what users run.
    jax.config.update("jax_disable_most_optimizations", True)
    if jax.__version_info__ < (0, 12):  # An XLA that does not know a flag ends the process.
        _flags = os.environ.get("XLA_FLAGS")
        os.environ["XLA_FLAGS"] = f"{_flags or ''} {COMPILE_FAST}"
        jax.devices()  # reads the flags, once
        del os.environ["XLA_FLAGS"]
        if _flags is not None:
            os.environ["XLA_FLAGS"] = _flags


PEAKS = pytest.StashKey[dict[str, int]]()
"""Bytes that each process of the run held at most, by its name."""

WEEK_S = 7 * 24 * 3600.0
"""Age at which a compiled program is deleted."""

MUCH = 800e6
"""Bytes that a process may hold between two modules."""


def peak_memory():
    """Bytes that this process held at most."""
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def pytest_configure(config):
    config.stash[PEAKS] = {}


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # in a worker
        session.config.workeroutput["peak_memory"] = peak_memory()
        return
    for path in (session.config.rootpath / ".pytest_cache" / "compiled").glob("*"):
        if time.time() - path.stat().st_mtime > WEEK_S:
            path.unlink(missing_ok=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    if hasattr(node, "workeroutput"):  # not after a crash
        node.config.stash[PEAKS][node.gateway.id] = node.workeroutput["peak_memory"]


def pytest_terminal_summary(terminalreporter, config):
    peaks = config.stash[PEAKS] or {"main": peak_memory()}
    each = ", ".join(f"{name} {most / 1e9:.2f} GB" for name, most in sorted(peaks.items()))
    terminalreporter.write_line(f"peak memory: {each}")


def held_memory():
    """Bytes that this process holds now; infinite where that is not known."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")


@pytest.fixture(scope="module", autouse=True)
def _programs_are_dropped():
    """Gives the memory of compiled programs back after a module, where it has become much."""
    yield
    if held_memory() < MUCH:
        return
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps what is freed for itself
        ctypes.CDLL("libc.so.6").malloc_trim(0)


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
