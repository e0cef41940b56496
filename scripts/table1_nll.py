"""The paper's Table 1: bits/dim of JPEGs given their original, and given another picture.

    python scripts/table1_nll.py FOLDER [FOLDER...] [--model jpeg] [--count 20] [--unknown]

Pictures are reduced to 256 px and cropped to a square. For each quality: paired and unpaired
bits/dim, with the quantisation tables known and, with `--unknown`, under the exact marginal over
standard qualities; the ratio of the paired bits to those of the JPEG file's own data; and how
often the true original is preferred to another picture, to one moved by 2 pixels, and to one
blurred by a pixel. The paper has 0.39 and 2.26 bits/dim, of a quality that it does not name.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.data.images import to_float
from perceptual_jax.data.sources import open_sources
from perceptual_jax.degradation.corruptions import JpegFile, jpeg
from perceptual_jax.degradation.jpeg import JpegHeader, standard_tables
from perceptual_jax.degradation.likelihood import Likelihood
from perceptual_jax.degradation.models import load_model
from perceptual_jax.degradation.ranking import PAIRED, decoys

SIZE = 256
SHOWN = (PAIRED, "another", "shift2", "blur")
GUESSES = tuple(range(5, 61))


@jax.jit
def bits_of(model: Likelihood, degraded: Any, header: JpegHeader, conditions: Any) -> Any:
    cache = model.prepare(degraded, header)
    return jax.lax.map(lambda x: model.evaluate(cache, x)[0], conditions)


def file_bits(file: JpegFile) -> float:
    """Bits/dim of a JPEG's entropy-coded data: what follows its start-of-scan marker."""
    return 8 * (len(file.encoded) - file.encoded.index(b"\xff\xda")) / file.image.size


def marginal(model: Likelihood, degraded: Any, header: JpegHeader, conditions: Any) -> Any:
    """-log2 of the mean over guessed qualities of p(degraded | condition, quality), per dim."""
    dims = degraded.size
    bits = np.stack(
        [
            np.asarray(
                bits_of(model, degraded, header._replace(tables=standard_tables(q)), conditions),
                np.float64,
            )
            for q in GUESSES
        ]
    )
    least = bits.min(axis=0)
    return least - np.log2(np.exp2(-(bits - least) * dims).mean(axis=0)) / dims


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", help="with a slice at the end or not: faces[-100:]")
    parser.add_argument("--model", default="jpeg")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--qualities", nargs="+", type=int, default=[5, 10, 20, 40, 60])
    parser.add_argument("--unknown", action="store_true", help="of the quality; 56 times slower")
    args = parser.parse_args()
    source = open_sources(args.folders, size=SIZE)
    chosen = np.linspace(0, len(source) - 1, args.count).round().astype(int)
    pictures = [source[int(i)][:SIZE, :SIZE] for i in np.unique(chosen)]
    originals = jnp.stack([jnp.asarray(to_float(picture)) for picture in pictures])
    conditions = jnp.stack([decoys(originals)[name] for name in SHOWN], axis=1)
    model, measure = load_model(args.model), marginal if args.unknown else bits_of
    print("| quality | paired | unpaired | shift 2 | blur 1 | file | paired / file | ranking |")
    print("|---|---|---|---|---|---|---|---|")
    for quality in args.qualities:
        files = [jpeg(picture, quality=quality, subsampling="4:2:0") for picture in pictures]
        bits = np.stack(
            [
                measure(model, jnp.asarray(to_float(file.image)), file.header, one)
                for file, one in zip(files, conditions, strict=True)
            ]
        )
        own = np.mean([file_bits(file) for file in files])
        ranking = " ".join(f"{share:.0%}" for share in (bits[:, :1] < bits[:, 1:]).mean(axis=0))
        paired, *others = (f"{x:.3f}" for x in bits.mean(axis=0))
        ratio = bits[:, 0].mean() / own
        cells = [str(quality), paired, *others, f"{own:.3f}", f"{ratio:.1f}", ranking]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
