"""Trains `rank-vgg (ours)` on ladders of distortions, and measures it on pictures it never saw.

    python scripts/train_rank_vgg.py --data "faces512[:-100]@256" photos/bsds500 \
        photos/debian_wallpapers --held-out "faces512[-100:]@256" photos/kodak24 \
        --cache DIR --out HEAD.safetensors

A source is a folder, with a slice or not, and after @ the pixels of the shorter side that its
pictures are reduced to. Of each training picture a crop of 224 px gets the ladders of some
distortions, drawn for each picture; of each held-out one those of all, and of distortions that
were not trained on. The features of VGG16 take the time (0.17 s a crop on a CPU core); each
picture's are kept in DIR, so the same command goes on where it was interrupted.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from perceptual_jax.checkpoints.measures import load_measure
from perceptual_jax.degradation.ladders import TRAINED, UNSEEN, ladder
from perceptual_jax.evaluation.metrics.rank_vgg import (
    load_head,
    rank_features,
    save_head,
    score_features,
)
from perceptual_jax.evaluation.metrics.rankiqa import PATCH
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import to_float
from perceptual_jax.training.ranking import fit_head, measure_ranking
from perceptual_jax.training.sources import open_sources

EVERY = {**TRAINED, **UNSEEN}
GRID = 16
"""A JPEG's grid may lie anywhere under a crop: ladders are made of squares so much larger."""


def crops_of(source: str, count: int, rng: np.random.Generator):
    """Yields names and squares of pictures drawn from a source, each picture as often as others."""
    path, _, reduced = source.rpartition("@")
    if not reduced.isdecimal():
        path, reduced = source, "8192"
    pictures = open_sources(path, size=int(reduced))
    side, order = PATCH + GRID, np.arange(0)
    for number in range(count):
        if number % len(pictures) == 0:
            order = rng.permutation(len(pictures))
        index = int(order[number % len(pictures)])
        picture = pictures[index]
        if min(picture.shape[:2]) < side:
            raise SystemExit(f"{pictures.name(index)} of {source} has less than {side} px")
        top, left = (int(rng.integers(0, n - side + 1)) for n in picture.shape[:2])
        yield f"{pictures.name(index)}-{top}-{left}", picture[top : top + side, left : left + side]


def ladders_of(square: np.ndarray, names: list[str], rng: np.random.Generator) -> np.ndarray:
    """Crops of the ladders [distortions rungs 224 224 3] of a square, all at one place."""
    top, left = rng.integers(0, GRID + 1, 2)
    seeds = rng.integers(0, 2**31, len(names))
    found = [
        ladder(square, EVERY[name], seed=int(seed)) for name, seed in zip(names, seeds, strict=True)
    ]
    return np.stack(found)[:, :, top : top + PATCH, left : left + PATCH]


def features_of(sources, count, kinds, each, cache: Path, seed: int, network):
    """Features [pictures ladders rungs d] of `count` pictures a source, and names of the ladders.

    Args:
        sources: The sources.
        count: Pictures of each.
        kinds: Distortions to draw from.
        each: Ladders of each picture.
        cache: Folder of the features.
        seed: Seed of all draws.
        network: The arrays of VGG16.
    """

    @jax.jit
    def extract(network, images):
        return jax.lax.map(lambda x: rank_features(network, x), images)

    cache.mkdir(parents=True, exist_ok=True)
    features, drawn = [], []
    for source in sources:
        rng = np.random.default_rng(seed)
        for number, (name, square) in enumerate(crops_of(source, count, rng), 1):
            own = rng.spawn(1)[0]
            names = [kinds[i] for i in sorted(own.permutation(len(kinds))[:each])]
            path = cache / f"{'_'.join(name.split('/'))}-{'-'.join(names)}.npy"
            if not path.exists():
                crops = ladders_of(square, names, own)
                # The undistorted rung is the same in all ladders.
                flat = np.concatenate([crops[:1, 0], crops[:, 1:].reshape(-1, *crops.shape[2:])])
                found = np.asarray(extract(network, jnp.asarray(to_float(flat))))
                rungs = found[1:].reshape(each, -1, found.shape[1])
                first = np.broadcast_to(found[:1], (each, *found[:1].shape))
                whole = np.concatenate([first, rungs], axis=1).astype(np.float16)
                write_atomically(path, lambda file, whole=whole: np.save(file, whole))
            features.append(np.load(path).astype(np.float32))
            drawn.append(names)
            if number % 10 == 0 or number == count:
                print(f"{source}: features of {number} of {count} pictures", flush=True)
    return np.stack(features), drawn


def main(
    *,
    data: tuple[str, ...],
    held_out: tuple[str, ...],
    cache: Path,
    out: Path,
    pictures: int = 63,
    ladders: int = 3,
    tests: int = 12,
    steps: int = 1500,
    hidden: int = 64,
    seed: int = 0,
) -> None:
    """Trains and measures.

    Args:
        data: Sources of training pictures.
        held_out: Sources of pictures for the measurement.
        cache: Folder for the features.
        out: File of the head.
        pictures: Crops from each source of training pictures.
        ladders: Distortions of each, drawn from those that are trained on.
        tests: Crops from each held-out source, with all distortions.
        steps: Steps of the optimiser.
        hidden: Width of the head.
        seed: Seed of all draws.
    """
    network = jax.device_put(dict(load_measure("lpips-vgg", report=print)))
    kinds = list(TRAINED)
    train, _ = features_of(data, pictures, kinds, ladders, cache / "train", seed, network)
    test, _ = features_of(
        held_out, tests, list(EVERY), len(EVERY), cache / "test", seed + 1, network
    )
    report = lambda step, loss: print(f"step {step}: loss {loss:.4f}", flush=True)  # noqa: E731
    head = fit_head(train, hidden=hidden, steps=steps, seed=seed, report=report)
    about = {"steps": steps, "seed": seed, "pictures": len(train), "ladders": ladders}
    about |= {"data": [Path(source).name for source in data]}
    about |= {"levels": {name: TRAINED[name].levels for name in kinds}}
    save_head(out, head, about)
    stored = load_head(out)  # what is measured is the file, in float16
    scores = np.asarray(
        jax.jit(jax.vmap(lambda x: score_features(stored, x)))(test.reshape(-1, test.shape[-1]))
    ).reshape(test.shape[:3])
    print("| distortion | trained on | Spearman | the worst | pairs in order | between pictures |")
    print("|---|---|---|---|---|---|")
    for i, name in enumerate(EVERY):
        found = measure_ranking(scores[:, i])
        cells = [f"{x:.3f}" for x in found[:2]] + [f"{100 * x:.1f} %" for x in found[2:]]
        print(f"| {name} | {'yes' if name in TRAINED else 'no'} | {' | '.join(cells)} |")
    means = ", ".join(f"{x:.1f}" for x in scores[:, : len(kinds)].mean(axis=(0, 1)))
    print(f"mean score by rung, of the distortions that were trained on: {means}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
