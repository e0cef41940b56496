"""The paper's Figure 5: what the degradation model thinks a picture degrades to.

    python scripts/figure5_samples.py --out sheet.png [--seeds 0 1] [--quality 10] [--size 128]

Faces of the default generator, their true JPEG, and exact samples of the model at temperatures 1
and 0.7.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import reduce_picture, to_float, to_uint8
from perceptual_jax.jobs.generate import sample_image
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.likelihood.sampling import sample_degraded


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--generator", default="mobilestylegan-ffhq")
    parser.add_argument("--model", default="jpeg")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--quality", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    generator, model = load_generator(args.generator, report=print), load_model(args.model)
    face = jax.jit(lambda generator, key: sample_image(generator, key, psi=0.7))
    rows = []
    for seed in args.seeds:
        clean = reduce_picture(to_uint8(face(generator, jax.random.key(seed))), args.size)
        file = jpeg(clean, quality=args.quality, subsampling="4:2:0")
        row = [clean, file.image]
        for temperature in (1.0, 0.7):
            drawn = sample_degraded(
                model,
                to_float(clean),
                jax.random.key(seed),
                header=file.header,
                temperature=temperature,
            )
            row.append(to_uint8(drawn))
            error = np.abs(row[-1].astype(float) - file.image).mean()
            print(f"seed {seed}, temperature {temperature}: {error:.2f} levels from the true JPEG")
        rows.append(row)
    headings = ["original", f"JPEG of quality {args.quality}", "sample", "at temperature 0.7"]
    sheet = contact_sheet(rows, headings=headings)
    write_atomically(args.out, lambda file: sheet.save(file, "PNG"))


if __name__ == "__main__":
    main()
