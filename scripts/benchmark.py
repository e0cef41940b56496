"""Measures speed and memory of the generators and of a whole search on the default device.

    python scripts/benchmark.py [--out FILE] [--dtype bfloat16] [--resolutions 128] [--batches 1]

For each generator, resolution (a draft if the generator's own is higher) and batch size it times a
forward pass, and a step (forward + backward with respect to the styles, in a loop of dependent
steps). Operations are those that XLA counts before optimisation. Plain matrix products are timed
between the repeats, so that a busy machine slows both. The fastest repeat is reported. The
likelihood and its samplers are measured as in `benchmark_likelihood.py`, with the paper's network
for the samples.
"""

import dataclasses
import datetime
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import benchmark_likelihood  # the script beside this one
import jax
import jax.numpy as jnp
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import load_config, override
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.io.files import save_json
from perceptual_jax.jobs.generate import sample_image
from perceptual_jax.jobs.writing import environment
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.presets import restore_batch

DEFAULT, RANDOM = "mobilestylegan-ffhq", "stylegan2"
CPU_PIXELS = 8 * 256**2
"""Largest batch x resolution^2 of several images on CPU, so that a whole run takes minutes."""
MATMUL_SIZE = 2048


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def seconds(function: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """The compiled function, and the seconds of tracing and compilation."""
    start = time.perf_counter()
    return jax.jit(function).lower(*args).compile(), time.perf_counter() - start


def make_matmul(dtype: str) -> Callable[[], float]:
    """A function that runs a chain of plain products and returns their GFLOP/s."""
    x = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE), dtype) / MATMUL_SIZE**0.5
    count = 2 if on_cpu() else 100
    chain, _ = compiled(lambda x: jax.lax.fori_loop(0, count, lambda _, y: x @ y, x), x)
    return lambda: 2e-9 * MATMUL_SIZE**3 * count / seconds(chain, x)


def make_generator(name: str, resolution: int, dtype: Any) -> Any:
    """The default generator, or a StyleGAN2 of this resolution with random weights."""
    if name == DEFAULT:
        return load_generator(name, report=print, dtype=dtype)
    config = dataclasses.replace(StyleGAN2Config.config_f(resolution), dtype=dtype)
    return StyleGAN2.init(jax.random.key(0), config)


def peak_gb() -> float:
    """Peak memory so far: that of the device if it reports one, else of this process."""
    device = jax.local_devices()[0].memory_stats() or {}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux
    return device.get("peak_bytes_in_use", kilobytes * 1024) / 1e9


def measure_network(
    generator: Any, resolution: int, batch: int, repeats: int, matmul: Callable[[], float]
) -> dict[str, float]:
    """Measures one row of the table of networks."""

    def forward(generator, styles):
        noise = generator.noise_maps()
        return jax.vmap(lambda one: generator.draft(one, noise, resolution))(styles)

    def step(generator, styles):
        def loss(styles):
            return jnp.sum(jnp.square(forward(generator, styles))) / resolution**2

        return styles - 1e-3 * jax.grad(loss)(styles)

    count = 2 if on_cpu() else 20

    def steps(generator, styles):
        return jax.lax.fori_loop(0, count, lambda _, x: step(generator, x), styles)

    z = jax.random.normal(jax.random.key(1), (batch, generator.num_styles, generator.z_dim))
    styles = jax.jit(jax.vmap(jax.vmap(generator.mapping)))(z)
    cost: Any = jax.jit(step).lower(generator, styles).cost_analysis()
    run_forward, compile_forward = compiled(forward, generator, styles)
    run_steps, compile_steps = compiled(steps, generator, styles)
    forwards, backwards, products = [], [], []
    for _ in range(repeats):
        products.append(matmul())
        forwards.append(seconds(run_forward, generator, styles))
        products.append(matmul())
        backwards.append(seconds(run_steps, generator, styles) / count)
    gflops = cost["flops"] / min(backwards) / 1e9
    return {
        "compile s": compile_forward + compile_steps,
        "forward s": min(forwards),
        "step s": min(backwards),
        "step/forward": min(backwards) / min(forwards),
        "GFLOP/s": gflops,
        "matmul": max(products),
        "share": gflops / max(products),
        "temp GB": run_steps.memory_analysis().temp_size_in_bytes / 1e9,
        "peak GB": peak_gb(),
    }


def measure_search(
    generator: Any, config: RestoreConfig, batch: int, matmul: Callable[[], float]
) -> dict[str, float]:
    """Measures a search for 32-px inputs: a first call compiles, a second is timed."""
    keys = jax.random.split(jax.random.key(0), batch)
    prior = default_prior(generator, config)

    def small(key):
        return downscale(sample_image(generator, key, psi=0.7), (32, 32), filter="bicubic")

    degraded = jax.lax.map(small, jax.random.split(jax.random.key(1), batch))

    def restore() -> Any:
        return restore_batch(
            generator, degraded, config, keys=keys, prior=prior, batch_size=batch
        ).image

    first, before, second, after = seconds(restore), matmul(), seconds(restore), matmul()
    return {
        "batch": batch,
        "draft steps": config.search.steps,
        "finish steps": config.finish.steps,
        "compile s": first - second,
        "s a face": second / batch,
        "faces a minute": 60 * batch / second,
        "matmul": max(before, after),
        "peak GB": peak_gb(),
    }


def show(row: dict[str, Any], *, heading: bool) -> None:
    widths = {name: max(len(name), 6) for name in row}
    if heading:
        print(" | ".join(name.rjust(width) for name, width in widths.items()))
    cells = [f"{x:.3g}" if isinstance(x, float) and x < 1000 else f"{x:.0f}" for x in row.values()]
    print(" | ".join(x.rjust(w) for x, w in zip(cells, widths.values(), strict=True)), flush=True)


def main(
    *,
    out: Path | None = None,
    generators: tuple[str, ...] = (DEFAULT, RANDOM),
    resolutions: tuple[int, ...] = (128, 256, 512, 1024),
    batches: tuple[int, ...] = (1, 4, 8),
    dtype: Literal["float32", "bfloat16"] = "float32",
    repeats: int = 2,
    search_batch: int = 4,
    likelihood_size: int = 256,
    steps: int | None = None,
    finish_steps: int | None = None,
) -> None:
    """Measures, prints the results, and writes them.

    Args:
        out: JSON file of the results.
        generators: The default generator, and StyleGAN2 with random weights.
        resolutions: Resolutions of the drafts in pixels.
        batches: Batch sizes.
        dtype: Dtype of the activations.
        repeats: Number of timings, of which the fastest is reported.
        search_batch: Batch size of the search; 0 measures no search.
        likelihood_size: Pixels per side for the likelihood; 0 measures no likelihood.
        steps: Steps of the search, in place of those of the preset.
        finish_steps: Steps of the finish, in place of those of the preset.
    """
    report: dict[str, Any] = environment()
    report |= {"date": datetime.date.today().isoformat(), "dtype": dtype}
    print(json.dumps(report))
    matmul = make_matmul(dtype)
    report |= {"networks": [], "skipped": []}
    # The search goes first: the peak of a process never falls.
    if search_batch:
        settings = {"search.steps": steps, "finish.steps": finish_steps}
        if steps is not None:
            settings["features.steps"] = steps // 20 * 10
        config = override(load_config("default"), settings)
        generator = make_generator(DEFAULT, 0, dtype)
        report["search"] = measure_search(generator, config, search_batch, matmul)
        show(report["search"], heading=True)
    if likelihood_size:
        generator, size = make_generator(DEFAULT, 0, dtype), likelihood_size
        report["likelihood"] = benchmark_likelihood.measure(
            generator, size=size, sample_size=size, paper=True
        )
        benchmark_likelihood.show(report["likelihood"])
    for name in generators:
        print(name)
        heading = True
        for resolution in resolutions:
            generator = make_generator(name, resolution, dtype)
            for batch in batches:
                case = {"px": resolution, "batch": batch}
                try:
                    if on_cpu() and batch > 1 and batch * resolution**2 > CPU_PIXELS:
                        raise ValueError("takes too long on a CPU")
                    row = measure_network(generator, resolution, batch, repeats, matmul)
                except (ValueError, jax.errors.JaxRuntimeError) as error:
                    reason = str(error).split("\n")[0][:100]
                    print(f"{resolution} px, batch {batch}: skipped, {reason}")
                    report["skipped"].append({"generator": name, **case, "reason": reason})
                    continue
                show(case | row, heading=heading)
                heading = False
                report["networks"].append({"generator": name, **case, **row})
    if out:
        save_json(out, report)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
