"""What a job's folder costs with 1,000 to 100,000 inputs: seconds and peak memory of each step.

    python scripts/measure_growth.py [--counts 1000 10000 100000]

One picture is restored by a narrow generator; its files are then the recorded results of all inputs
of a job, which differ in their names. Each step runs in a process of its own:

    list      the folder of inputs is listed
    resume    the job is started again and finds all of it restored, by the hashes of its inputs
    status    `job status`
    merge     `job merge`: the tables of all results
    report    `report`: the page, with the pictures of its rows
"""

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image

import perceptual_jax as pj
from perceptual_jax.config import (
    FeaturesConfig,
    FinishConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
)
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.pages.report import write_report
from perceptual_jax.jobs.status import merge, overview

CONFIG = dataclasses.replace(
    RestoreConfig(degradation="l2"),
    prior=PriorConfig(bank_size=100),
    search=SearchConfig(steps=1, draft=0),
    features=FeaturesConfig(resolution=0),
    finish=FinishConfig(steps=0),
)

_NAMES = 30_000
"""Most names of one file; file systems allow some 60,000."""


def restore(folder: Path, out: Path) -> None:
    """Runs the job with a narrow generator."""
    config = StyleGAN2Config((16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=2)
    generator = StyleGAN2.init(jax.random.key(0), config)
    pj.restore_files(folder, out, CONFIG, generator=generator)


STEPS: dict[str, Callable[[Path, Path], object]] = {
    "list": lambda folder, out: collect_inputs([folder]),
    "resume": restore,
    "status": lambda folder, out: list(overview(out).lines()),
    "merge": lambda folder, out: merge(out),
    "report": lambda folder, out: write_report(out),
}


def make_job(root: Path, count: int) -> tuple[Path, Path]:
    """The inputs and the folder of a job that has restored all of them."""
    first, out = root / "in", root / "out"
    first.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(first / "000000.png")
    restore(first, out)
    record = (out / "000000.json").read_text()
    others = [path for path in out.iterdir() if path.stem == "000000" and path.suffix != ".json"]
    with open(out / "results.jsonl", "a") as results:
        for number in range(1, count):
            name = f"{number:06d}"
            own = json.loads(record.replace("000000", name))
            (out / f"{name}.json").write_text(json.dumps(own))
            results.write(json.dumps(own) + "\n")
            for path in (first / "000000.png", *others):
                same_as(path, path.with_stem(name), number)
    return first, out


def same_as(path: Path, new: Path, number: int) -> None:
    """The file under the name of an input, copied now and then (`_NAMES`)."""
    generation = number // _NAMES
    source = path if generation == 0 else path.with_stem(f"{generation * _NAMES:06d}")
    if source == new:
        shutil.copyfile(path, new)
    else:
        os.link(source, new)


def measure(step: str, folder: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB (Linux) of a step, in this process."""
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        STEPS[step](folder, out)
    seconds = time.monotonic() - start
    # Not getrusage, whose peak is that of the parent where this process began as its copy.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return seconds, int(peak[1]) / 1e3 if peak else float("nan")


def main(*, counts: tuple[int, ...] = (1000, 10_000, 100_000)) -> None:
    """Prints a row for each number of inputs.

    Args:
        counts: Numbers of inputs.
    """
    print(f"| inputs | {' | '.join(f'{step}, s; MB' for step in STEPS)} |")
    print("|---" * (len(STEPS) + 1) + "|")
    spawn = multiprocessing.get_context("spawn")
    for count in counts:
        with tempfile.TemporaryDirectory() as root:
            job = make_job(Path(root), count)
            cells = []
            for step in STEPS:
                with spawn.Pool(1) as pool:
                    seconds, memory = pool.apply(measure, (step, *job))
                cells.append(f"{seconds:.1f}; {memory:.0f}")
            print(f"| {count:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
