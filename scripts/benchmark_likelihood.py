"""Measures the likelihood and its samplers on the default device.

    python scripts/benchmark_likelihood.py [--size 256] [--sample-size 256] [--paper]

It times the step of a search (bits/dim and its gradient with respect to the restored image) with
and without the cache, and the step of a draft for comparison; then the samplers: the wavefront on
a whole image, and all three on one that is small enough for the slow ones. The fastest repeat is
reported, and a plain matrix product is timed for comparison.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import DataConfig
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.io.images import to_float
from perceptual_jax.jobs.generate import sample_image
from perceptual_jax.jobs.writing import environment
from perceptual_jax.likelihood.config import PRESETS
from perceptual_jax.likelihood.layers import fold
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.likelihood.pixelcnn import init_network
from perceptual_jax.likelihood.sampling import Method, sample_degraded
from perceptual_jax.types import Given, JpegHeader


def fastest(function: Callable[..., Any], *args: Any, repeats: int = 7) -> float:
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def matmul_gflops() -> float:
    x = jnp.ones((2048, 2048)) / 2048
    return 2e-9 * 2048**3 / fastest(jax.jit(lambda x: x @ x), x)


def paper_network(degraded: Any, restored: Any, header: JpegHeader) -> Likelihood:
    """The paper's network with random weights, on which its speed does not depend."""
    config = PRESETS["paper"]
    make = jax.jit(init_network, static_argnums=0)
    small = (degraded[None, :32, :32], restored[None, :32, :32])
    batched = JpegHeader(*(jnp.asarray(x)[None] for x in header))
    return Likelihood(fold(make(config, jax.random.key(0), *small, batched)))


def measure_step(model: Likelihood, degraded: Any, restored: Any, header: JpegHeader) -> Any:
    def value(model, cache, x):
        return jax.value_and_grad(lambda x: model.evaluate(cache, x)[0])(x)

    def whole(model, degraded, x):
        return jax.value_and_grad(
            lambda x: model.evaluate(model.prepare(Given(degraded, header)), x)[0]
        )(x)

    cache = jax.jit(lambda model, x: model.prepare(Given(x, header)))(model, degraded)
    cached = fastest(jax.jit(value), model, cache, restored)
    uncached = fastest(jax.jit(whole), model, degraded, restored)
    return {"cached s": cached, "uncached s": uncached, "ratio": uncached / cached}


def measure_draft(generator: Any, size: int) -> float:
    noise = generator.noise_maps()
    styles = jnp.repeat(generator.w_mean[None], generator.num_styles, axis=0)

    def loss(styles, generator):
        return jnp.mean(generator.draft(styles, noise, size) ** 2)

    return fastest(jax.jit(jax.grad(loss)), styles, generator)


def measure_sampling(
    model: Likelihood, restored: Any, header: JpegHeader, methods: tuple[Method, ...]
) -> dict[str, float]:
    row = {}
    for method in methods:
        for run in ("first", "second"):  # The first one compiles.
            start = time.perf_counter()
            key = jax.random.key(0)
            sample_degraded(model, np.asarray(restored), key, header=header, method=method)
            row[f"{method} s" if run == "second" else f"{method} first s"] = (
                time.perf_counter() - start
            )
    return row


def measure(
    generator: Any,
    *,
    model: str = "jpeg",
    size: int = 256,
    sample_size: int = 256,
    slow_size: int = 12,
    paper: bool = False,
) -> dict[str, Any]:
    """Measures all rows, also for `scripts/benchmark.py`."""
    face = np.asarray(sample_image(generator, jax.random.key(0), psi=0.7))
    step = face.shape[0] // size
    clean = np.rint((face[::step, ::step].clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    file = jpeg(clean, quality=10, subsampling="4:2:0")
    degraded, restored = jnp.asarray(to_float(file.image)), jnp.asarray(to_float(clean))
    likelihood, data = load_model(model), DataConfig()
    in_search = dataclasses.replace(
        likelihood, every=data.nll_rows, min_log_scale=data.min_log_scale
    )
    report: dict[str, Any] = {"px": size, "plain product GFLOP/s": matmul_gflops()}
    report["step, all rows"] = measure_step(likelihood, degraded, restored, file.header)
    row = measure_step(in_search, degraded, restored, file.header)
    draft = measure_draft(generator, size)
    row |= {"draft step s": draft, "share of a draft step": row["cached s"] / draft}
    report["step, as in a search"] = row
    sampled = paper_network(degraded, restored, file.header) if paper else likelihood
    large, small = restored[:sample_size, :sample_size], restored[:slow_size, :slow_size]
    report[f"sample of {sample_size} px"] = measure_sampling(
        sampled, large, file.header, ("wavefront",)
    )
    report[f"sample of {slow_size} px"] = measure_sampling(
        sampled, small, file.header, ("wavefront", "jacobi", "naive")
    )
    return report


def show(report: dict[str, Any]) -> None:
    for name, values in report.items():
        cells = values.items() if isinstance(values, dict) else [("", values)]
        print(f"{name}:", ", ".join(f"{key} {value:.3g}".strip() for key, value in cells))


def main(
    *,
    model: str = "jpeg",
    size: int = 256,
    sample_size: int = 256,
    slow_size: int = 12,
    paper: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """Prints the rows.

    Args:
        model: Name of a likelihood, or its file.
        size: Pixels per side for the steps.
        sample_size: Pixels per side of the sample by wavefront.
        slow_size: Pixels per side of the samples by jacobi and naive.
        paper: Sample with the paper's network.
    """
    print(json.dumps(environment()))
    generator = load_generator("mobilestylegan-ffhq", report=print)
    show(
        measure(
            generator,
            model=model,
            size=size,
            sample_size=sample_size,
            slow_size=slow_size,
            paper=paper,
        )
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
