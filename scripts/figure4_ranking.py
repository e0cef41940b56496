"""The paper's Figure 4: ranks several restorations by the degradation model.

    python scripts/figure4_ranking.py DEGRADED RESTORED RESTORED... --out sheet.png

Prints bits/dim of the degraded image given each restoration, and draws each one with its map,
which is bright where the restoration contradicts the degraded image.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import read_image, to_float
from perceptual_jax.jobs.reading import inspect_header
from perceptual_jax.likelihood.models import NOT_LEARNED, load_model
from perceptual_jax.types import Given


def main(degraded: Path, restored: tuple[Path, ...], /, *, out: Path, model: str = "auto") -> None:
    """Ranks the restorations.

    Args:
        degraded: The degraded image.
        restored: Restorations of it.
        out: PNG file of the sheet.
        model: Name of a likelihood, or its file; auto is the choice of `restore`.
    """
    pixels = read_image(degraded)
    info = inspect_header(degraded, model, max_size=max(pixels.shape))
    name = "blind" if info.degradation in NOT_LEARNED else info.degradation
    likelihood = load_model(name)
    print(f"model {name} ({info.reason})")
    cache = jax.jit(lambda m, x: m.prepare(Given(x, info.header)))(
        likelihood, jnp.asarray(to_float(pixels))
    )
    evaluate = jax.jit(lambda m, c, x: m.evaluate(c, x))
    images, values, maps = [pixels], [], []
    for path in restored:
        images.append(read_image(path))
        value, where = evaluate(likelihood, cache, jnp.asarray(to_float(images[-1])))
        values.append(float(value))
        maps.append(np.asarray(where))
        print(f"{path.name}: {value:.4f} bits/dim")
    print(f"preferred: {restored[int(np.argmin(values))].name}")
    white = max(float(np.quantile(np.stack(maps), 0.99)), 1e-6)
    grey = [np.clip(255 * one / white, 0, 255).astype(np.uint8) for one in maps]
    rows = [images, [None, *(np.repeat(one[:, :, None], 3, axis=2) for one in grey)]]
    headings = ["degraded"]
    headings += [f"{v:.3f} bits/dim" for v in values]
    sheet = contact_sheet(rows, headings=headings)
    write_atomically(out, lambda file: sheet.save(file, "PNG"))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
