"""The paper's Figure 3: how trainings of the degradation model went.

    python scripts/figure3_training.py TRAINING [TRAINING...] --out curve.png

Held-out bits/dim, and ranking accuracy as the share of decoys told apart, from each `log.jsonl`.
"""

import argparse
import json
from pathlib import Path

from perceptual_jax.data.images import write_png
from perceptual_jax.evaluation.curves import draw_curves


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("trainings", nargs="+", type=Path, help="folders of train-degradation")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    curves = {}
    for folder in args.trainings:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        records = [record for record in map(json.loads, lines) if "bits" in record]
        for name in ("bits", "ranking"):
            curves[f"{folder.name} {name}"] = [(r["step"], r[name]) for r in records]
        best = max(records, key=lambda record: record["ranking"])
        print(f"{folder.name}: step {best['step']} ranks best, {best['ranking']:.1%}")
    write_png(args.out, draw_curves(curves, x="step", y="bits/dim; share"))


if __name__ == "__main__":
    main()
