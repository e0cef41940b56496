"""The paper's Figure 3: how trainings of the degradation model went.

    python scripts/figure3_training.py TRAINING [TRAINING...] --out curve.png

From each `log.jsonl`: bits/dim in training and of held-out pictures, and ranking accuracy as the
share of decoys told apart. Prints which evaluation was kept as the model.
"""

import argparse
import json
from pathlib import Path

from perceptual_jax.io.images import write_png
from perceptual_jax.training.curves import draw_curves
from perceptual_jax.training.evaluation import best_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("trainings", nargs="+", type=Path, help="folders of train-degradation")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    curves = {}
    unique = len({folder.name for folder in args.trainings}) == len(args.trainings)
    for folder in args.trainings:
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
    write_png(args.out, draw_curves(curves, x="step", y="bits/dim; share"))


if __name__ == "__main__":
    main()
