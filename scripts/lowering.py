"""Lowers whole searches for TPU and CUDA without either, checks them, and counts their costs.

    python scripts/lowering.py [--out FILE] [--sizes 32 128] [--terms l2 jpeg] [--resolution 1024]

Each search is that of the default config, in shapes alone (no network is computed, nothing is
compiled), exported for both platforms at once, its batch sharded over eight devices. The table
counts the whole batch, in the jaxpr, see `restoration.lowering`. Ends with 1 if a program would
call the host, holds float64, or has a product of float32 in a bfloat16 search that is not one of
those that are meant.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config
from perceptual_jax.likelihood.models import NOT_LEARNED, load_model
from perceptual_jax.restoration.lowering import Lowered, abstract, lower
from perceptual_jax.restoration.presets import abstract_search

DTYPES: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
PLATFORMS = ("tpu", "cuda")
HEAD = (
    "| generator | term | px | dtype | TFLOP | of float32 | GB of products | live GB, at most "
    "| lines |"
    "\n|---|---|---|---|---|---|---|---|---|"
)

MEANT = {
    "degradation/resampling.resample": "images stay float32",
    "degradation/jpeg_codec._transform": "a JPEG's box is in float32",
    "prior/mmd._squared_distances": "latents stay float32",
    "prior/geodesic.cross_loss": "latents stay float32",
    "generator/layers.dense": "styles stay float32",
    "generator/layers.modulated_conv": "demodulation stays float32; convolutions are elsewhere",
    "generator/layers.to_rgb": "the image and its gradient stay float32",
    "restoration/projections/feasible.right_inverse": "images stay float32",
    "restoration/projections/wiener.__call__": "images stay float32",
    "restoration/projections/blur_fit.cost": "images stay float32",
    "likelihood/layers._correlate": "the head of the likelihood stays float32",
}
"""Functions whose products are of float32 in a bfloat16 search, and why."""

NEGLIGIBLE = 1e-3
"""Share of the FLOPs up to which a product may be of float32 anywhere."""


def unmeant(lowered: Lowered, dtype: str) -> list[str]:
    """What a program should not have."""
    found = [f"calls {name}" for name in lowered.callbacks()]
    if lowered.has_f64():
        found.append("float64")
    if dtype == "bfloat16":
        most = NEGLIGIBLE * sum(lowered.costs.flops.values())
        others = {k: v for k, v in lowered.costs.float32.items() if k not in MEANT}
        found += [f"float32 in {place}" for place, flops in others.items() if flops > most]
    return found


def make_generator(name: str, resolution: int, dtype: Literal["float32", "bfloat16"]) -> Any:
    """The shapes of the default generator, or of a StyleGAN2."""
    if name == "mobilestylegan":
        return abstract(load_generator("mobilestylegan-ffhq", report=print, dtype=dtype))
    config = dataclasses.replace(StyleGAN2Config.config_f(resolution), dtype=dtype)
    return jax.eval_shape(lambda: StyleGAN2.init(jax.random.key(0), config))


def main(
    out: Path | None = None,
    generators: tuple[str, ...] = ("mobilestylegan", "stylegan2"),
    terms: tuple[str, ...] = ("l2", "blur", "dct_box", "jpeg"),
    sizes: tuple[int, ...] = (32, 128, 256),
    batch: int = 8,
    devices: int = 8,
    resolution: int = 1024,
) -> None:
    """Writes the table.

    Args:
        resolution: Of the StyleGAN2.
    """
    lines, wrong = [HEAD], []
    for name in generators:
        for dtype in DTYPES:
            generator = make_generator(name, resolution, dtype)
            for term in terms:
                learned = None if term in NOT_LEARNED else abstract(load_model(term, dtype=dtype))
                config = dataclasses.replace(RestoreConfig(), dtype=dtype, degradation=term)
                for size in sizes:
                    start = time.monotonic()
                    search = abstract_search(config, generator, size, likelihood=learned)
                    done = lower(search, size, batch=batch, devices=devices, platforms=PLATFORMS)
                    row = [name, term, str(size), dtype, *numbers(done)]
                    lines.append(f"| {' | '.join(row)} |")
                    print(lines[-1], f"{time.monotonic() - start:.0f} s", flush=True)
                    wrong += [f"{' '.join(row[:4])}: {one}" for one in unmeant(done, dtype)]
                    if out is not None:
                        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if wrong:
        sys.exit("\n".join(wrong))


def numbers(lowered: Lowered) -> list[str]:
    costs = lowered.costs
    return [
        f"{sum(costs.flops.values()) / 1e12:.1f}",
        f"{100 * lowered.float32_share():.1f} %",
        f"{costs.bytes / 1e9:.0f}",
        f"{costs.memory / 1e9:.1f}",
        f"{lowered.stablehlo.count(chr(10)):,}",
    ]


if __name__ == "__main__":
    tyro.cli(main)
