"""The paper's Figure 4: which of several restorations the degradation model prefers.

    python scripts/figure4_ranking.py DEGRADED RESTORED RESTORED... --out sheet.png

Prints bits/dim of the degraded picture given each restoration, and draws each one with its map:
bright is where the restoration contradicts the degraded picture.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import read_image, to_float
from perceptual_jax.jobs.reading import look_at
from perceptual_jax.likelihood.models import NOT_LEARNED, load_model
from perceptual_jax.types import Given


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("degraded", type=Path)
    parser.add_argument("restored", nargs="+", type=Path)
    parser.add_argument("--model", default="auto", help="auto: what restore would use")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    degraded = read_image(args.degraded)
    look = look_at(args.degraded, args.model, max_size=max(degraded.shape))
    name = "blind" if look.degradation in NOT_LEARNED else look.degradation
    model = load_model(name)
    print(f"model {name} ({look.reason})")
    cache = jax.jit(lambda m, x: m.prepare(Given(x, look.header)))(
        model, jnp.asarray(to_float(degraded))
    )
    evaluate = jax.jit(lambda m, c, x: m.evaluate(c, x))
    images, values, maps = [degraded], [], []
    for path in args.restored:
        images.append(read_image(path))
        value, where = evaluate(model, cache, jnp.asarray(to_float(images[-1])))
        values.append(float(value))
        maps.append(np.asarray(where))
        print(f"{path.name}: {value:.4f} bits/dim")
    print(f"preferred: {args.restored[int(np.argmin(values))].name}")
    white = max(float(np.quantile(np.stack(maps), 0.99)), 1e-6)
    grey = [np.clip(255 * one / white, 0, 255).astype(np.uint8) for one in maps]
    rows = [images, [None, *(np.repeat(one[:, :, None], 3, axis=2) for one in grey)]]
    headings = ["degraded"]
    headings += [f"{v:.3f} bits/dim" for v in values]
    sheet = contact_sheet(rows, headings=headings)
    write_atomically(args.out, lambda file: sheet.save(file, "PNG"))


if __name__ == "__main__":
    main()
