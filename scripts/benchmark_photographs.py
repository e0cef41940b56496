"""Memory and rate of a job over many photographs, by a narrow generator.

    python scripts/benchmark_photographs.py --photographs 1000 [--side 480]

Every photograph has one face of the README's picture, at another place and size. Faces are found by
the real networks (the extra `photos`), restored by a narrow generator in a few steps, and put back.
Prints photographs a second and resident memory (Linux) after each tenth of the job.
"""

import dataclasses
import tempfile
import time
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

GALLERY = Path(__file__).parents[1] / "docs" / "images" / "gallery.jpg"
FACE = (16, 160)
"""Left edge of the first face of its last row, and pixels of a side."""

CONFIG = dataclasses.replace(
    RestoreConfig(degradation="l2"),
    prior=PriorConfig(bank_size=100),
    search=SearchConfig(steps=2, draft=0),
    features=FeaturesConfig(resolution=0),
    finish=FinishConfig(steps=0),
)


def write_photographs(folder: Path, count: int, side: int) -> None:
    """JPEGs of blurred noise with a face each."""
    rng = np.random.default_rng(0)
    with Image.open(GALLERY) as gallery:
        left, cell = FACE
        top = gallery.height - 198
        face = gallery.convert("RGB").crop((left, top, left + cell, top + cell))
    folder.mkdir()
    for number in range(count):
        coarse = rng.integers(60, 200, (8, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        size = int(rng.integers(side // 4, side // 2))
        x, y = rng.integers(0, side - size, 2).tolist()
        picture.paste(face.resize((size, size), Image.Resampling.LANCZOS), (x, y))
        picture.save(folder / f"{number:05d}.jpg", quality=90)


def resident_mb() -> float:
    """Resident memory of this process in megabytes, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main(*, photographs: int = 1000, side: int = 480) -> None:
    """Runs the job and prints its memory and rate.

    Args:
        photographs: Number of photographs.
        side: Pixels of a side of each.
    """
    network = StyleGAN2Config((16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=2)
    generator = StyleGAN2.init(jax.random.key(0), network)
    tenths: list[float] = []

    def progress(done: float, total: int) -> None:
        if done * 10 >= total * (len(tenths) + 1):
            tenths.append(resident_mb())

    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder, "in"), photographs, side)
        start = time.monotonic()
        summary = pj.restore_photographs(
            Path(folder, "in"),
            Path(folder, "out"),
            CONFIG,
            pj.JobOptions(batch_size=16),
            generator=generator,
            progress=progress,
        )
        seconds = time.monotonic() - start
    rate = summary.restored / seconds
    print(f"{summary.restored} photographs, {len(summary.failed)} failed: {rate:.1f} a second")
    print("MB after each tenth: " + " ".join(f"{memory:.0f}" for memory in tenths))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
