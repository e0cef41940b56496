"""The paper's Figure 3: training curves of the degradation model.

    python scripts/figure3_training.py TRAINING [TRAINING...] --out curve.png

From each `log.jsonl` it draws bits/dim in training and of held-out images, and the ranking
accuracy. Prints the evaluation whose weights became the model.
"""

import json
from pathlib import Path

import tyro

from perceptual_jax.io.images import write_png
from perceptual_jax.training.curves import draw_curves
from perceptual_jax.training.evaluation import best_of


def main(trainings: tuple[Path, ...], /, *, out: Path) -> None:
    """Draws the curves.

    Args:
        trainings: Output folders of train-degradation.
        out: PNG file of the curves.
    """
    curves = {}
    unique = len({folder.name for folder in trainings}) == len(trainings)
    for folder in trainings:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        records = list(map(json.loads, lines))
        for name, key in {"training": "loss", "held out": "bits", "ranking": "ranking"}.items():
            points = [(r["step"], r[key]) for r in records if key in r]
            curves[f"{folder.name if unique else folder} {name}"] = points
        if any("ranking" in record for record in records):
            best = best_of(records)
            print(f"{folder}: step {best['step']} ranks best, {best['ranking']:.1%}", end="; ")
            print(f"{best['bits']:.3f} bits/dim")
        else:
            print(f"{folder}: not evaluated yet")
    write_png(out, draw_curves(curves, x="step", y="bits/dim; share"))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
