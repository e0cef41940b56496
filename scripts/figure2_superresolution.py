"""The paper's Figure 2 on a folder of clean faces: 32 px -> full resolution, with and without MMD.

    python scripts/figure2_superresolution.py FOLDER --out DIR [--limit 20] [--size 32]

Writes a sheet (degraded | each preset | original) and a table of means over the folder:
consistency PSNR, PSNR and SSIM at 256 px, mmd2, and seconds per face after compilation.
"""

import dataclasses
import functools
import time
from pathlib import Path

import jax
import numpy as np
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import load_config
from perceptual_jax.degradation.corruptions import degrade
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics.similarity import psnr, ssim
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import save_json
from perceptual_jax.io.images import read_image, to_float, to_uint8, write_png
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.restoration.data_terms.downscale import consistency_psnr
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.presets import restore_batch


def without_mmd(config: RestoreConfig) -> RestoreConfig:
    return dataclasses.replace(config, prior=dataclasses.replace(config.prior, mmd_weight=0.0))


def main(
    folder: str,
    /,
    *,
    out: Path,
    limit: int = 20,
    size: int = 32,
    batch_size: int = 4,
    presets: tuple[str, ...] = ("default", "without-mmd", "pulse"),
) -> None:
    """Restores the faces with each preset.

    Args:
        folder: The clean faces.
        out: Folder of the sheet and the table.
        limit: Number of faces, the last by name.
        size: Pixels per side of the inputs.
        batch_size: Faces per batch.
        presets: Presets or config files; without-mmd is the default without its prior term.
    """
    out.mkdir(parents=True, exist_ok=True)
    inputs, _ = collect_inputs([folder])
    originals = [read_image(x.path) for x in inputs[-limit:]]
    degraded = [degrade(image, f"sr{size}") for image in originals]
    stack = np.stack([to_float(image) for image in degraded])
    generator = load_generator("mobilestylegan-ffhq", report=print)
    small = jax.jit(lambda x: downscale(x, (256, 256), filter="area"))
    clean = [small(to_float(image)) for image in originals]
    columns, table = [degraded], []
    for name in presets:
        default = load_config("default")
        config = without_mmd(default) if name == "without-mmd" else load_config(name)
        keys = jax.random.split(jax.random.key(0), len(stack))
        prior = default_prior(generator, config)
        run = functools.partial(restore_batch, prior=prior, batch_size=batch_size)
        first = slice(batch_size)
        run(generator, stack[first], config, keys=keys[first])  # compiles
        start = time.monotonic()
        result = run(generator, stack, config, keys=keys)
        seconds = (time.monotonic() - start) / len(stack)
        images = [small(image) for image in result.image]
        pairs = list(zip(images, clean, strict=True))
        consistency = [
            consistency_psnr(image, y, filter="bicubic")
            for image, y in zip(result.image, stack, strict=True)
        ]
        row = {
            "preset": name,
            "consistency": float(np.mean(consistency)),
            "psnr256": float(np.mean([psnr(a, b) for a, b in pairs])),
            "ssim256": float(np.mean([ssim(a, b) for a, b in pairs])),
            "mmd2": float(np.mean(result.terms["mmd2"])),
            "seconds": seconds,
        }
        table.append(row)
        columns.append([to_uint8(image) for image in result.image])
        print(" | ".join(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()))
    columns.append(originals)
    headings = ["degraded", *presets, "original"]
    sheet = contact_sheet([list(row) for row in zip(*columns, strict=True)], headings=headings)
    write_png(out / "figure2.png", np.asarray(sheet))
    save_json(out / "figure2.json", {"faces": len(stack), "size": size, "rows": table})


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
