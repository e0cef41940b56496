"""Makes the picture of the README: the examples, their restorations, and the originals.

    perceptual-jax restore examples --out restored
    python scripts/make_gallery.py restored

All faces are samples of the generator (see `make_examples.py`) and show no real person. All
examples are included, also the less good restorations.
"""

from pathlib import Path

import jax
import numpy as np
import tyro

import perceptual_jax as pj

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "gallery.jpg"
PSI = 0.8
"""Truncation of the faces of `make_examples.py`."""


def main(restored: Path, /, *, out: Path = OUT) -> None:
    """Draws the picture.

    Args:
        restored: Output folder of `perceptual-jax restore`.
        out: JPEG file of the picture.
    """
    examples = sorted((ROOT / "examples").glob("face*.png"))
    generator = pj.load_generator("mobilestylegan-ffhq", report=print)
    sample = jax.jit(pj.sample_image, static_argnames="psi")

    def original(seed: int) -> np.ndarray:
        return pj.to_uint8(np.asarray(sample(generator, jax.random.key(seed), psi=PSI)))

    sheet = pj.contact_sheet(
        [
            [pj.read_image(path) for path in examples],
            [pj.read_image(restored / path.name) for path in examples],
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
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.crop((0, first_row - 8, *sheet.size)).save(out, quality=88, optimize=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
