"""The paper's Figure 5: samples of the degradation model given clean images.

    python scripts/figure5_samples.py --out sheet.png [--seeds 0 1] [--quality 10] [--size 128]

Faces of the default generator, their true JPEG, and exact samples of the model at temperatures 1
and 0.7.
"""

from pathlib import Path

import jax
import numpy as np
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import reduce_picture, to_float, to_uint8
from perceptual_jax.jobs.generate import sample_image
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.likelihood.sampling import sample_degraded


def main(
    *,
    out: Path,
    generator: str = "mobilestylegan-ffhq",
    model: str = "jpeg",
    seeds: tuple[int, ...] = (0, 1),
    quality: int = 10,
    size: int = 128,
) -> None:
    """Draws the samples.

    Args:
        out: PNG file of the sheet.
        generator: Name or file of the generator of the faces.
        model: Name of a likelihood, or its file.
        seeds: Seeds of the faces and of their samples.
        quality: JPEG quality.
        size: Pixels per side.
    """
    network, likelihood = load_generator(generator, report=print), load_model(model)
    face = jax.jit(lambda generator, key: sample_image(generator, key, psi=0.7))
    rows = []
    for seed in seeds:
        clean = reduce_picture(to_uint8(face(network, jax.random.key(seed))), size)
        file = jpeg(clean, quality=quality, subsampling="4:2:0")
        row = [clean, file.image]
        for temperature in (1.0, 0.7):
            drawn = sample_degraded(
                likelihood,
                to_float(clean),
                jax.random.key(seed),
                header=file.header,
                temperature=temperature,
            )
            row.append(to_uint8(drawn))
            error = np.abs(row[-1].astype(float) - file.image).mean()
            print(f"seed {seed}, temperature {temperature}: {error:.2f} levels from the true JPEG")
        rows.append(row)
    headings = ["original", f"JPEG of quality {quality}", "sample", "at temperature 0.7"]
    sheet = contact_sheet(rows, headings=headings)
    write_atomically(out, lambda file: sheet.save(file, "PNG"))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
