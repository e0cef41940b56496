"""Makes `examples/`: degraded samples of the generator, which show no real person.

python scripts/make_examples.py
"""

import functools
from pathlib import Path

import jax
import numpy as np

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.degradation.corruptions import degrade
from perceptual_jax.io.images import to_uint8, write_png
from perceptual_jax.jobs.generate import sample_image

SEEDS = (11, 23, 36, 47, 58, 62)
PSI = 0.8
FOLDER = Path(__file__).parents[1] / "examples"


def main() -> None:
    generator = load_generator("mobilestylegan-ffhq", report=print)
    sample = jax.jit(functools.partial(sample_image, psi=PSI))
    FOLDER.mkdir(exist_ok=True)
    for seed in SEEDS:
        image = to_uint8(np.asarray(sample(generator, jax.random.key(seed))))
        write_png(FOLDER / f"face{seed}.png", degrade(image, "sr32"))


if __name__ == "__main__":
    main()
