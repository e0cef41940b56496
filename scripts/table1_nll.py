"""The paper's Table 1: bits/dim of JPEGs given their original, and given another picture.

    python scripts/table1_nll.py FOLDER [FOLDER...] [--model jpeg] [--count 20] [--unknown-quality]

For 256-px squares, by quality and by what is known of it (`TABLES`), the table has bits/dim given
the original, another picture, the original shifted by 2 pixels and blurred by one; the size of the
JPEG file's entropy-coded data; and how often the original is preferred to each of the other three.
The paper reports 0.39 and 2.26 bits/dim, without naming the quality.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

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
    """Bits/dim given each condition; `hidden` replaces fields of the header."""
    header, degraded = file.header._replace(**hidden), jnp.asarray(to_float(file.image))
    return np.asarray(_bits(model, degraded, header, conditions), np.float64)


def withheld(model: Likelihood, file: JpegFile, conditions: Any) -> np.ndarray:
    """Bits/dim without the tables and, as in training, without the subsampling."""
    tables, subsampling, _ = unknown_header()
    return known(model, file, conditions, tables=tables, subsampling=subsampling)


def guessed(model: Likelihood, file: JpegFile, conditions: Any) -> np.ndarray:
    """Bits/dim of the exact mixture over qualities: -log2 mean_q p(degraded | condition, q)."""
    tables = [standard_tables(quality) for quality in GUESSES]
    bits = np.stack([known(model, file, conditions, tables=table) for table in tables])
    least, dims = bits.min(axis=0), file.image.size
    return least - np.log2(np.exp2(-(bits - least) * dims).mean(axis=0)) / dims


TABLES = {"known": known, "withheld": withheld, "guessed": guessed}


def file_bits(file: JpegFile) -> float:
    """Bits/dim of a JPEG's entropy-coded data, which follow the header of the scan."""
    at, kind = 2, 0
    while kind != 0xDA:
        kind = file.encoded[at + 1]
        at += 2 + int.from_bytes(file.encoded[at + 2 : at + 4], "big")
    return 8 * (len(file.encoded) - at) / file.image.size


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def main(
    folders: tuple[str, ...],
    /,
    *,
    model: str = "jpeg",
    count: int = 20,
    qualities: tuple[int, ...] = (5, 10, 15, 20, 30, 40, 60),
    unknown_quality: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """Prints the table.

    Args:
        folders: Folders of pictures, optionally with a slice: faces[-100:].
        model: Name of a likelihood, or its file.
        count: Number of pictures, evenly spaced in the folders.
        qualities: JPEG qualities.
        unknown_quality: Adds the row `guessed`, which is slow.
    """
    source = open_sources(folders, size=SIZE)
    chosen = np.unique(np.linspace(0, len(source) - 1, count).round().astype(int))
    if len(chosen) < 2:
        raise SystemExit("at least 2 pictures are needed, for each is compared with the next")
    pictures = [source[int(i)] for i in chosen]
    side = min(SIZE, *(min(picture.shape[:2]) for picture in pictures))
    pictures = [middle(picture, side) for picture in pictures]
    others = decoys(jnp.stack([jnp.asarray(to_float(picture)) for picture in pictures]))
    conditions = jnp.stack([others[name] for name in SHOWN], axis=1)
    likelihood = load_model(model)
    tables = [*TABLES] if unknown_quality else ["known", "withheld"]
    heads = ["quality", "tables", "paired", "unpaired", "shift 2", "blur 1", "file"]
    print(f"| {' | '.join([*heads, 'paired / file', 'ranking'])} |\n{'|---' * (len(heads) + 2)}|")
    for quality in qualities:
        files = [jpeg(picture, quality=quality, subsampling="4:2:0") for picture in pictures]
        own = float(np.mean([file_bits(file) for file in files]))
        for name in tables:
            pairs = zip(files, conditions, strict=True)
            bits = np.stack([TABLES[name](likelihood, file, one) for file, one in pairs])
            mean = bits.mean(axis=0)
            accuracy = ranking_accuracy(dict(zip(SHOWN, bits.T, strict=True)))
            ranking = " ".join(f"{rate:.0%}" for rate in accuracy.values())
            cells = [str(quality), name, *(f"{x:.3f}" for x in (*mean, own))]
            print(f"| {' | '.join([*cells, f'{mean[0] / own:.2f}', ranking])} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
