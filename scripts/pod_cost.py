"""Estimates the cost of a hundred thousand faces on accelerators from counted operations.

    python scripts/pod_cost.py [--faces 100000] [--utilization 0.1] [--size 32]

Operations are those that XLA counts for one step of each stage before optimisation; nothing is
run. The peaks are the vendors' for dense bfloat16. The utilization, the fraction of the peak that a
search reaches, is an assumption: nothing here was measured on such a device; use
`scripts/benchmark_job.py` for measurements.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import tyro

import perceptual_jax as pj
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config_files import load_config
from perceptual_jax.restoration import search as steps

PEAKS = {"TPU v5e": 197e12, "TPU v5p": 459e12, "H100 SXM": 989e12, "H200 SXM": 989e12}
"""FLOP/s, dense bfloat16: cloud.google.com/tpu/docs/v5e and /v5p, NVIDIA's data sheets."""


def flops_of_a_face(config: Any, size: int) -> dict[str, float]:
    """Operations of each stage and of the final image, for one face."""
    generator = load_generator(config.generator, report=print)
    search = pj.build_search(config, generator, size)
    given = pj.Given(jnp.zeros((size, size, 3)))
    state, noise = steps.init(search, jax.random.key(0))
    counts = {}
    for stage in search.stages:
        entered = jax.eval_shape(lambda s, t=stage: steps.enter(search, t, s), state)
        one_step = jax.jit(steps.advance, static_argnames=("stage", "steps"))
        lowered = one_step.lower(search, stage, given, noise, entered, 1)
        name = f"{stage.steps} steps at {stage.resolution} px"
        counts[name] = stage.steps * _flops(lowered)
    picture = jax.jit(lambda g, s, n: g.synthesis(s, n))
    styles = jnp.zeros((generator.num_styles, *generator.w_mean.shape))
    counts["final picture"] = _flops(picture.lower(generator, styles, generator.noise_maps()))
    return counts


def _flops(lowered: Any) -> float:
    return lowered.cost_analysis()["flops"]


def main(
    *, faces: int = 100_000, utilization: float = 0.1, size: int = 32, config: str = "default"
) -> None:
    """Prints the table.

    Args:
        faces: Number of faces.
        utilization: Fraction of the peak that a search reaches.
        size: Pixels per side of the inputs.
        config: Name of a preset, or a file.
    """
    counts = flops_of_a_face(load_config(config), size)
    print(json.dumps({name: f"{flops / 1e9:.0f} GFLOP" for name, flops in counts.items()}))
    whole = sum(counts.values())
    print(f"{whole / 1e12:.2f} TFLOP a face; {100 * utilization:.0f} % of the peak assumed\n")
    print(f"| device | peak, TFLOP/s | faces a minute | device hours for {faces:,} |")
    print("|---|---|---|---|")
    for name, peak in PEAKS.items():
        rate = peak * utilization / whole
        hours = faces / rate / 3600
        print(f"| {name} | {peak / 1e12:.0f} | {60 * rate:.0f} | {hours:.1f} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
