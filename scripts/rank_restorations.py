"""How often a data term prefers the better of two restorations of one input.

    python scripts/rank_restorations.py INPUTS ORIGINALS RUN RUN... [--terms l2 dct_box jpeg blind]

A run is a job's folder; its pictures, samples included, are the candidates of the input of their
name. Restorations of one search are near one another, which is where a search needs its data term
to tell them apart. Of each two candidates a term prefers the one with the lower value; the better
one is the one nearer to the original by each judge, which no term contains. A judge's row is the
mean over faces of the share of pairs on which both agree, in %, with its 95 % interval.

Terms are those of `auto` and learned likelihoods; `blind` and `l2` know no tables.
"""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from perceptual_jax.degradation.jpeg import quality_of
from perceptual_jax.evaluation.metrics.metric_list import METRICS
from perceptual_jax.evaluation.scores import Scorer, Subject
from perceptual_jax.evaluation.summary import summarise
from perceptual_jax.io.images import read_image, to_float
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.reading import inspect_header
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.restoration.data_terms.blurred import BlurredL2
from perceptual_jax.restoration.data_terms.dct_box import DctBox
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.types import DataTerm, Given

JUDGES = ("lpips_alex", "identity", "psnr", "ssim")


def term_of(name: str) -> DataTerm:
    """A data term by its name, narrowed as the search narrows it."""
    exact: dict[str, DataTerm] = {
        "l2": DownscaleL2(),
        "blur": BlurredL2(),
        "dct_box": DctBox(0.5),
        "whole_box": DctBox(1.0),
    }
    return exact[name] if name in exact else load_model(name)


@jax.jit
def value_of(term: DataTerm, given: Given, image: jax.Array) -> jax.Array:
    return term.evaluate(term.prepare(given, image.shape[0]), image)[0]


def agreements(values: np.ndarray, scores: np.ndarray) -> float:
    """Share of the pairs that two lists order alike, lower first; ties count half."""
    pairs = itertools.combinations(range(len(values)), 2)
    signs = [np.sign(values[i] - values[j]) * np.sign(scores[i] - scores[j]) for i, j in pairs]
    return float(np.mean((1 + np.array(signs)) / 2))


def main(
    inputs: Path,
    originals: Path,
    runs: tuple[Path, ...],
    /,
    *,
    terms: tuple[str, ...] = ("l2", "dct_box", "jpeg", "blind"),
) -> None:
    """Prints the table.

    Args:
        inputs: The degraded pictures.
        originals: Their originals.
        runs: Folders of results.
        terms: Data terms; names of likelihoods, or their files, are learned ones.
    """
    scorer, loaded = Scorer(JUDGES), {name: term_of(name) for name in terms}
    found: dict[tuple[str, str], list[float]] = {}
    sources, _ = collect_inputs([str(inputs)])
    for source in sources:
        name, pixels = Path(source.name).name, read_image(Path(str(source.path)))
        candidates = [p for run in runs for p in sorted(run.glob(f"{name}*.png"))]
        images = [read_image(p) for p in candidates if not p.stem.endswith(("_nll", "_spread"))]
        if len(images) < 2:
            print(f"{name}: left out, fewer than two restorations")
            continue
        info = inspect_header(source, "jpeg", max_size=max(pixels.shape), pixels=pixels)
        original = read_image(originals / f"{name}.png")
        judged = [scorer.score(Subject(image, original)).scores for image in images]
        given = Given(jnp.asarray(to_float(pixels)), info.header)
        quality = quality_of(info.header.tables) if info.header.tables.any() else "-"
        print(f"{name}: {len(images)} restorations, quality {quality}", flush=True)
        for term, data_term in loaded.items():
            values = [value_of(data_term, given, jnp.asarray(to_float(x))) for x in images]
            for judge in JUDGES:
                sign = 1 if METRICS[judge].lower_is_better else -1
                scores = sign * np.array([scores[judge] for scores in judged])
                share = 100 * agreements(np.array(values), scores)
                found.setdefault((judge, term), []).append(share)
    print(f"| judge | {' | '.join(terms)} |\n|{'---|' * (len(terms) + 1)}")
    for judge in JUDGES:
        cells = []
        for term in terms:
            summary = summarise(found[judge, term])
            assert summary is not None
            cells.append(f"{summary.mean:.0f} ({summary.low:.0f} to {summary.high:.0f})")
        print(f"| {judge} | {' | '.join(cells)} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
