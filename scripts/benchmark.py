"""Measures speed and memory of the generators and of a whole search, on the device there is.

    python scripts/benchmark.py [--out FILE] [--dtype bfloat16] [--resolutions 128] [--batches 1]

For each generator, resolution (a draft, where the generator's own is higher) and batch: a forward
pass, and a step (forward + backward with respect to the styles, in a scan of dependent steps).
XLA counts the operations of the program before it optimises it. Plain matrix products are timed
between the repeats, so that a busy machine slows both. Of all repeats the fastest counts. The
likelihood and its samplers are measured as `benchmark_likelihood.py` does, with the paper's network
for the samples.
"""

import argparse
import dataclasses
import datetime
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_likelihood  # the script beside this one
import jax
import jax.numpy as jnp

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import load_config, override
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.io.files import save_json
from perceptual_jax.jobs.generate import sample_image
from perceptual_jax.jobs.writing import environment
from perceptual_jax.restoration.presets import default_prior, restore_batch

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
    """The compiled function, and the seconds that tracing and compiling took."""
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
    """Most memory in use so far: of the device where it tells, else of this process."""
    device = jax.local_devices()[0].memory_stats() or {}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux
    return device.get("peak_bytes_in_use", kilobytes * 1024) / 1e9


def measure_network(
    generator: Any, resolution: int, batch: int, repeats: int, matmul: Callable[[], float]
) -> dict[str, float]:
    """One row of the table of networks."""

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


def measure_search(generator: Any, args: Any, matmul: Callable[[], float]) -> dict[str, float]:
    """The default preset on 32-px inputs: compiled by a first call, measured in a second."""
    config = override(
        load_config("default"), {"search.steps": args.steps, "finish.steps": args.finish_steps}
    )
    keys = jax.random.split(jax.random.key(0), args.search_batch)
    prior = default_prior(generator, config.prior)

    def small(key):
        return downscale(sample_image(generator, key, psi=0.7), (32, 32), filter="bicubic")

    degraded = jax.lax.map(small, jax.random.split(jax.random.key(1), args.search_batch))

    def restore() -> Any:
        return restore_batch(
            generator, degraded, config, keys=keys, prior=prior, batch_size=args.search_batch
        ).image

    first, before, second, after = seconds(restore), matmul(), seconds(restore), matmul()
    return {
        "batch": args.search_batch,
        "draft steps": config.search.steps,
        "finish steps": config.finish.steps,
        "compile s": first - second,
        "s a face": second / args.search_batch,
        "faces a minute": 60 * args.search_batch / second,
        "matmul": max(before, after),
        "peak GB": peak_gb(),
    }


def show(row: dict[str, Any], *, heading: bool) -> None:
    widths = {name: max(len(name), 6) for name in row}
    if heading:
        print(" | ".join(name.rjust(width) for name, width in widths.items()))
    cells = [f"{x:.3g}" if isinstance(x, float) and x < 1000 else f"{x:.0f}" for x in row.values()]
    print(" | ".join(x.rjust(w) for x, w in zip(cells, widths.values(), strict=True)), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--generators", nargs="*", default=[DEFAULT, RANDOM])
    parser.add_argument("--resolutions", nargs="+", type=int, default=[128, 256, 512, 1024])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--search-batch", type=int, default=4, help="0: no search")
    parser.add_argument("--likelihood-size", type=int, default=256, help="0: no likelihood")
    parser.add_argument("--steps", type=int, help="of the search, in place of the preset's")
    parser.add_argument("--finish-steps", type=int)
    return parser.parse_args()


def main() -> None:
    args = parse()
    report = environment() | {"date": datetime.date.today().isoformat(), "dtype": args.dtype}
    print(json.dumps(report))
    matmul = make_matmul(args.dtype)
    report |= {"networks": [], "skipped": []}
    # The search goes first: the peak of a process never falls.
    if args.search_batch:
        report["search"] = measure_search(make_generator(DEFAULT, 0, args.dtype), args, matmul)
        show(report["search"], heading=True)
    if args.likelihood_size:
        generator, size = make_generator(DEFAULT, 0, args.dtype), args.likelihood_size
        report["likelihood"] = benchmark_likelihood.measure(
            generator, size=size, sample_size=size, paper=True
        )
        benchmark_likelihood.show(report["likelihood"])
    for name in args.generators:
        print(name)
        heading = True
        for resolution in args.resolutions:
            generator = make_generator(name, resolution, args.dtype)
            for batch in args.batches:
                case = {"px": resolution, "batch": batch}
                try:
                    if on_cpu() and batch > 1 and batch * resolution**2 > CPU_PIXELS:
                        raise ValueError("takes too long on a CPU")
                    row = measure_network(generator, resolution, batch, args.repeats, matmul)
                except (ValueError, jax.errors.JaxRuntimeError) as error:
                    reason = str(error).split("\n")[0][:100]
                    print(f"{resolution} px, batch {batch}: skipped, {reason}")
                    report["skipped"].append({"generator": name, **case, "reason": reason})
                    continue
                show(case | row, heading=heading)
                heading = False
                report["networks"].append({"generator": name, **case, **row})
    if args.out:
        save_json(args.out, report)


if __name__ == "__main__":
    main()
