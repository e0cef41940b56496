"""Compares the rate of a whole job with that of the bare search on its device, with memory.

    python scripts/benchmark_job.py --pictures 1000 [--generator NAME] [--batch-size 16]

Without --generator a narrow StyleGAN2 of 32 px with random weights is used, so that thousands of
pictures take minutes. The bare loop restores batches of the same size from memory, before and after
the job, because the speed of machines varies. On a CPU the threads that read and write compete
with the device: XLA_FLAGS=--xla_cpu_multi_thread_eigen=false with NPROC=1 leaves them a core.
Prints pictures per second of both, those of each tenth of the job, the seconds of each stage, and
resident memory after a tenth of the job and at its end.
"""

import dataclasses
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from PIL import Image

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import FinishConfig, PriorConfig, RestoreConfig, SearchConfig
from perceptual_jax.degradation.canvas import on_canvases
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.processes import states
from perceptual_jax.restoration.batch import run_batch
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.presets import build_search
from perceptual_jax.types import unknown_header


def make_generator(name: str | None) -> Any:
    if name is not None:
        return load_generator(name, report=print)
    config = StyleGAN2Config((16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=2)
    return StyleGAN2.init(jax.random.key(0), config)


def resident_mb() -> float:
    """Resident memory of this process in megabytes, on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def bare_rate(generator: Any, config: RestoreConfig, pixels: np.ndarray, batch: int) -> float:
    """Pictures per second of the device alone, after compilation."""
    prior = default_prior(generator, config)
    # The same shapes as in the job, which then finds this program compiled.
    given = on_canvases(list(pixels[:batch]), [unknown_header()] * batch)
    search = build_search(config, generator, given.size, prior=prior)
    rounds, start = max(1, min(20, len(pixels) // batch)), 0.0
    for run in range(rounds + 1):
        keys = jax.random.split(jax.random.key(run), batch)
        if run == 1:
            start = time.monotonic()
        run_batch(search, given, keys, batch_size=batch)
    return rounds * batch / (time.monotonic() - start)


def main(
    *,
    pictures: int = 1000,
    generator: str | None = None,
    size: int = 16,
    steps: int = 100,
    batch_size: int = 16,
) -> None:
    """Measures and prints the rates.

    Args:
        pictures: Number of inputs of the job.
        generator: A name or a file; None is a narrow StyleGAN2 with random weights.
        size: Pixels per side of the inputs.
        steps: Steps of a search.
        batch_size: Pictures per batch.
    """
    network = make_generator(generator)
    config = dataclasses.replace(
        RestoreConfig(degradation="l2"),
        prior=PriorConfig(bank_size=100),
        search=SearchConfig(steps=steps, draft=0),
        finish=FinishConfig(steps=0),
    )
    shape = (pictures, size, size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    bare = [bare_rate(network, config, pixels, batch_size)]
    tenths: list[tuple[float, float, float]] = []

    def progress(done: float, total: int) -> None:
        if done * 10 >= total * len(tenths):
            tenths.append((time.monotonic(), done, resident_mb()))

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(source / f"{i:06d}.png")
        summary = restore_files(
            source,
            Path(folder, "out"),
            config,
            JobOptions(batch_size=batch_size),
            generator=network,
            progress=progress,
        )
        seconds = states(Path(folder, "out"))[0]["seconds"]
    bare.append(bare_rate(network, config, pixels, batch_size))
    device = ("wait for input", "search", "wait for output")
    loop = sum(seconds[stage] for stage in device)
    rate = pictures / loop
    mean = sum(bare) / 2
    print(
        f"bare loop {bare[0]:.2f} before and {bare[1]:.2f} after, job {rate:.2f} pictures a second"
    )
    print(f"the job has {rate / mean:.1%} of the bare loop's rate")
    pairs = itertools.pairwise(tenths)
    rates = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs]
    print("pictures a second in each tenth: " + " ".join(f"{rate:.1f}" for rate in rates))
    print(f"whole call {summary.seconds:.1f} s, its loop {loop:.1f} s")
    print(", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items()))
    print(f"outside the device {1 - seconds['search'] / loop:.2%} of the loop")
    early, late = tenths[1][2], tenths[-1][2]
    print(f"memory {early:.0f} MB after a tenth, {late:.0f} MB at the end: {late / early - 1:+.1%}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
