"""Compares data terms on JPEGs and old photographs of held-out faces.

    python scripts/compare_data_terms.py FOLDER --out DIR [--limit 4] [--kinds jpeg10 old_photo]
        [--terms l2 dct_box nll:10:30]

The last faces of a folder are reduced to 256 px and degraded. A term is `l2`, `dct_box` (JPEGs
only) or `nll:A:B`: the shipped likelihood with weight A on drafts and B in the finish. Prints means
over the faces (PSNR and SSIM at 64 and 256 px, bits/dim of the input and mmd2 of the
result) and writes a sheet of each kind.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig, load_config, override
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.profiles import Degradation, apply_profile, load_profile
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics import psnr, ssim
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import save_json
from perceptual_jax.io.images import read_image, reduce_picture, to_float, to_uint8, write_png
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.restoration.downscale import consistency_psnr
from perceptual_jax.restoration.presets import default_prior, restore_batch
from perceptual_jax.types import Given


def degraded_by(kind: str, clean: np.ndarray, number: int) -> Degradation:
    if kind.startswith("jpeg") and kind[4:].isdecimal():
        file = jpeg(clean, quality=int(kind[4:]), subsampling="4:2:0")
        return Degradation(file.image, (), file.header, file.encoded)
    return apply_profile(load_profile(kind), clean, np.random.default_rng(number))


def with_term(config: RestoreConfig, term: str, model: str) -> RestoreConfig:
    name, *weights = term.split(":")
    if not weights:
        return override(config, {"degradation": name})
    drafts, finish = map(float, weights)
    weights = {"data.nll_weight": drafts, "finish.nll_weight": finish}
    return override(config, {"degradation": model, **weights})


def main(
    folder: str,
    /,
    *,
    out: Path,
    limit: int = 4,
    kinds: tuple[str, ...] = ("jpeg5", "jpeg10", "jpeg20", "old_photo"),
    terms: tuple[str, ...] = ("l2", "dct_box", "nll:10:30"),
) -> None:
    """Restores the faces with each data term.

    Args:
        folder: The clean faces.
        out: Folder of the table and the sheets.
        limit: Number of faces, the last by name.
        kinds: Degradations: jpegQ for a JPEG of quality Q, or a profile.
        terms: Data terms.
    """
    out.mkdir(parents=True, exist_ok=True)
    inputs, _ = collect_inputs([folder])
    clean = [reduce_picture(read_image(x.path), 256) for x in inputs[-limit:]]
    base, generator = load_config("default"), load_generator("mobilestylegan-ffhq", report=print)
    prior = default_prior(generator, base)
    small = jax.jit(lambda x, size: downscale(x, (size, size), filter="area"), static_argnums=1)
    table = []
    for kind in kinds:
        files = [degraded_by(kind, image, number) for number, image in enumerate(clean)]
        headers = jax.tree.map(lambda *x: np.stack(x), *(file.header for file in files))
        stack = np.stack([to_float(file.image) for file in files])
        model = "jpeg" if files[0].encoded else "blind"
        likelihood = load_model(model)
        bits = jax.jit(lambda y, h, x, m=likelihood: m.evaluate(m.prepare(Given(y, h)), x)[0])
        columns = [[file.image for file in files]]
        possible = [t for t in terms if model == "jpeg" or t != "dct_box"]
        for term in possible:
            config = with_term(base, term, model)
            result = restore_batch(
                generator,
                stack,
                config,
                keys=jax.random.split(jax.random.key(0), len(stack)),
                headers=headers,
                likelihood=likelihood if ":" in term else None,
                prior=prior,
                batch_size=len(stack),
            )
            row: dict[str, float | str] = {"kind": kind, "term": term}
            for size in (64, 256):
                pairs = [
                    (small(x, size), small(to_float(y), size))
                    for x, y in zip(result.image, clean, strict=True)
                ]
                row[f"psnr{size}"] = float(np.mean([psnr(a, b) for a, b in pairs]))
                row[f"ssim{size}"] = float(np.mean([ssim(a, b) for a, b in pairs]))
            fits = [
                consistency_psnr(jnp.asarray(x), y, filter="bicubic")
                for x, y in zip(result.image, stack, strict=True)
            ]
            row["consistency"] = float(np.mean(fits))
            costs = [
                bits(y, file.header, x)
                for y, file, x in zip(stack, files, result.image, strict=True)
            ]
            row |= {"bits": float(np.mean(costs)), "mmd2": float(np.mean(result.terms["mmd2"]))}
            table.append(row)
            print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()), flush=True)
            columns.append([to_uint8(np.asarray(small(x, 256))) for x in result.image])
            save_json(out / "data_terms.json", {"faces": len(clean), "rows": table})
        rows = [list(row) for row in zip(*columns, clean, strict=True)]
        sheet = contact_sheet(rows, headings=[kind, *possible, "original"])
        write_png(out / f"{kind}.png", np.asarray(sheet))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
