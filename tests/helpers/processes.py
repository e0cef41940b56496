"""Processes that tests start: they import this checkout, and compile as the tests do."""

import os
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]
"""The checkout."""

COMPILE_FAST = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Flags of XLA. One compiling thread each: the workers of pytest keep the cores busy."""


def environment(**variables):
    """The variables of a process that runs this checkout, without XLA's costly optimisations.

    What it compiles is then what the tests compile, so that each takes it from the other.

    Args:
        **variables: More of them, or others' values.
    """
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {"PYTHONPATH": os.pathsep.join(folders), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    found["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
    if jax.__version_info__ < (0, 12):  # see the tests' settings
        found["XLA_FLAGS"] = COMPILE_FAST
    return os.environ | found | variables
