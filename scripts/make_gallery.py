"""Makes the README's picture: the examples, what they are restored to, and what they were.

    perceptual-jax restore examples --out restored
    python scripts/make_gallery.py restored

All faces are the generator's own samples (see `make_examples.py`), so of no real person. All of
the examples are shown, the less good restorations too.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import perceptual_jax as pj

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "gallery.jpg"
PSI = 0.8
"""The truncation that `make_examples.py` draws its faces with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("restored", type=Path, help="the folder of `perceptual-jax restore`")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    examples = sorted((ROOT / "examples").glob("face*.png"))
    generator = pj.load_generator("mobilestylegan-ffhq", report=print)
    sample = jax.jit(pj.sample_image, static_argnames="psi")

    def original(seed: int) -> np.ndarray:
        return pj.to_uint8(np.asarray(sample(generator, jax.random.key(seed), psi=PSI)))

    sheet = pj.contact_sheet(
        [
            [pj.read_image(path) for path in examples],
            [pj.read_image(args.restored / path.name) for path in examples],
            [original(int(path.stem.removeprefix("face"))) for path in examples],
        ],
        headings=[""] * len(examples),
        captions=[
            "given: 32 x 32 pixels",
            "restored: 1024 x 1024 pixels, here reduced",
            "original: what the inputs were made from; the search never sees it",
        ],
        cell=160,
    )
    # The sheet keeps a line for headings, and these columns have none.
    first_row = int(np.argmin(np.asarray(sheet).min(axis=(1, 2)) == 255))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.crop((0, first_row - 8, *sheet.size)).save(args.out, quality=88, optimize=True)


if __name__ == "__main__":
    main()
