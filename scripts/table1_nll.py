"""The paper's Table 1: bits/dim of JPEGs given their original, and given another picture.

    python scripts/table1_nll.py FOLDER [FOLDER...] [--model jpeg] [--count 20] [--unknown-quality]

Of 256-px squares, by quality and by what is known of it (`WAYS`): bits/dim given the original,
another picture, the original moved by 2 pixels and blurred by one; those of the JPEG file's own
data; and how often the original is preferred to each of the other three. The paper has 0.39 and
2.26 bits/dim, of a quality that it does not name.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.degradation.corruptions import JpegFile, jpeg
from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.io.images import to_float
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.training.evaluation import PAIRED, decoys, ranking_accuracy
from perceptual_jax.training.sources import open_sources
from perceptual_jax.types import Given, JpegHeader, unknown_header

SIZE = 256
SHOWN = (PAIRED, "another", "shift2", "blur")
GUESSES = tuple(range(5, 61))


@jax.jit
def _bits(model: Likelihood, degraded: Any, header: JpegHeader, conditions: Any) -> Any:
    cache = model.prepare(Given(degraded, header))
    return jax.lax.map(lambda x: model.evaluate(cache, x)[0], conditions)


def known(model: Likelihood, file: JpegFile, conditions: Any, **hidden: Any) -> np.ndarray:
    """Bits/dim under each condition; `hidden` takes the place of parts of the header."""
    header, degraded = file.header._replace(**hidden), jnp.asarray(to_float(file.image))
    return np.asarray(_bits(model, degraded, header, conditions), np.float64)


def withheld(model: Likelihood, file: JpegFile, conditions: Any) -> np.ndarray:
    """Without the tables and, as in training whenever they are withheld, the subsampling."""
    tables, subsampling, _ = unknown_header()
    return known(model, file, conditions, tables=tables, subsampling=subsampling)


def guessed(model: Likelihood, file: JpegFile, conditions: Any) -> np.ndarray:
    """-log2 mean_q p(degraded | condition, q) over `GUESSES`, exactly."""
    tables = [standard_tables(quality) for quality in GUESSES]
    bits = np.stack([known(model, file, conditions, tables=table) for table in tables])
    least, dims = bits.min(axis=0), file.image.size
    return least - np.log2(np.exp2(-(bits - least) * dims).mean(axis=0)) / dims


WAYS = {"known": known, "withheld": withheld, "guessed": guessed}


def file_bits(file: JpegFile) -> float:
    """Bits/dim of a JPEG's entropy-coded data: all that follows the header of its scan."""
    at, kind = 2, 0
    while kind != 0xDA:
        kind = file.encoded[at + 1]
        at += 2 + int.from_bytes(file.encoded[at + 2 : at + 4], "big")
    return 8 * (len(file.encoded) - at) / file.image.size


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", help="with a slice at the end or not: faces[-100:]")
    parser.add_argument("--model", default="jpeg")
    parser.add_argument("--count", type=int, default=20, help="pictures, at equal distances")
    parser.add_argument("--qualities", nargs="+", type=int, default=[5, 10, 15, 20, 30, 40, 60])
    parser.add_argument("--unknown-quality", action="store_true", help="row `guessed`; slow")
    args = parser.parse_args()
    source = open_sources(args.folders, size=SIZE)
    chosen = np.unique(np.linspace(0, len(source) - 1, args.count).round().astype(int))
    if len(chosen) < 2:
        parser.error("at least 2 pictures are needed, for each is compared with the next")
    pictures = [source[int(i)] for i in chosen]
    side = min(SIZE, *(min(picture.shape[:2]) for picture in pictures))
    pictures = [middle(picture, side) for picture in pictures]
    others = decoys(jnp.stack([jnp.asarray(to_float(picture)) for picture in pictures]))
    conditions = jnp.stack([others[name] for name in SHOWN], axis=1)
    model = load_model(args.model)
    ways = [*WAYS] if args.unknown_quality else ["known", "withheld"]
    heads = ["quality", "tables", "paired", "unpaired", "shift 2", "blur 1", "file"]
    print(f"| {' | '.join([*heads, 'paired / file', 'ranking'])} |\n{'|---' * (len(heads) + 2)}|")
    for quality in args.qualities:
        files = [jpeg(picture, quality=quality, subsampling="4:2:0") for picture in pictures]
        own = float(np.mean([file_bits(file) for file in files]))
        for name in ways:
            pairs = zip(files, conditions, strict=True)
            bits = np.stack([WAYS[name](model, file, one) for file, one in pairs])
            mean = bits.mean(axis=0)
            accuracy = ranking_accuracy(dict(zip(SHOWN, bits.T, strict=True)))
            ranking = " ".join(f"{share:.0%}" for share in accuracy.values())
            cells = [str(quality), name, *(f"{x:.3f}" for x in (*mean, own))]
            print(f"| {' | '.join([*cells, f'{mean[0] / own:.2f}', ranking])} |", flush=True)


if __name__ == "__main__":
    main()
