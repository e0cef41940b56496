"""Compares searches on degraded faces: a table with paired wins, and a sheet of each kind.

    python scripts/compare_searches.py FACES --out DIR [--limit 32] [--kinds sr32 jpeg10@256]
        [--searches styles default default+features.weight=5]

A kind is a degradation (`sr32`, `jpeg10`, `jpeg10-png`: saved again without its header) or a
profile (`old_photo`), after @ the side in pixels to which the faces are reduced before. A search is
a preset or a config file, after each + a setting with its value. Interrupted, the same command goes
on where it stopped; faces, kinds and searches can be added.

    DIR/originals@256/FACE.png       DIR/inputs/KIND/FACE.*       DIR/SEARCH/KIND/FACE.png
    DIR/table.md, table.json         means, and faces on which a search beats the first one
    DIR/KIND.png                     input, each search, original

Scores here are PSNR and SSIM at 256 px and the consistency of the record. Programs outside the
project judge the same folders.
"""

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

import perceptual_jax as pj
from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import load_config, override, parse_setting
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.evaluation.metrics.similarity import psnr, ssim
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import save_json, write_atomically
from perceptual_jax.io.images import read_image, reduce_picture, to_float, write_png
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.degrade import degrade_files

KINDS = ("sr32", "sr64", "sr128", "jpeg5@256", "jpeg10@256", "jpeg20@256", "old_photo@512")
SEARCHES = ("styles", "default")
SIDE = 256
METRICS = ("psnr", "ssim", "consistency", "seconds")


def config_of(search: str) -> RestoreConfig:
    name, *settings = search.split("+")
    return override(load_config(name), dict(parse_setting(text) for text in settings))


def reduced_faces(out: Path, faces: list[Path], side: int) -> list[Path]:
    """The faces at one size, written once."""
    folder = out / f"originals@{side}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{face.stem}.png" for face in faces]
    for face, path in zip(faces, paths, strict=True):
        if not path.exists():
            write_png(path, reduce_picture(read_image(face), side))
    return paths


def inputs_of(out: Path, faces: list[Path], kind: str) -> list[Path]:
    """The degraded faces of one kind, written once."""
    name, _, side = kind.partition("@")
    clean = reduced_faces(out, faces, int(side or 512))
    folder = out / "inputs" / kind
    there = {path.stem: path for path in folder.glob("*.*") if path.suffix in (".png", ".jpg")}
    missing = [path for path in clean if path.stem not in there]
    as_jpeg = re.fullmatch(r"jpeg(\d+)(-png)?", name)
    if missing and as_jpeg:
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            file = jpeg(read_image(path), quality=int(as_jpeg[1]), subsampling="4:2:0")
            there[path.stem] = folder / f"{path.stem}.{'png' if as_jpeg[2] else 'jpg'}"
            if as_jpeg[2]:
                write_png(there[path.stem], file.image)
            else:
                write_atomically(there[path.stem], file.encoded)
    elif missing:
        exact = name[-1].isdecimal()
        kind_or_none, profile = (name, None) if exact else (None, name)
        degraded = degrade_files(
            missing, folder, kind=kind_or_none, profile=profile, overwrite=True
        )
        there |= {path.stem: path for path in degraded.written}
    return [there[path.stem] for path in clean]


def score(folder: Path, original: Path) -> dict[str, float]:
    record = json.loads((folder / f"{original.stem}.json").read_text())
    truth = jnp.asarray(to_float(read_image(original)))
    picture = reduce_picture(read_image(folder / f"{original.stem}.png"), SIDE)
    image = jnp.asarray(to_float(picture))
    return {
        "psnr": float(psnr(image, truth)),
        "ssim": float(ssim(image, truth)),
        "consistency": record["restorations"][0]["consistency_psnr"],
        "seconds": record["seconds"],
    }


def table_of(scores: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Markdown: a row for each kind and search, with wins against the first search in brackets."""
    lines = [
        f"| kind | search | n | {' | '.join(METRICS)} |",
        "|---" * (3 + len(METRICS)) + "|",
    ]
    for kind, searches in scores.items():
        first = next(iter(searches.values()))
        for search, rows in searches.items():
            cells = []
            for metric in METRICS:
                mean = np.mean([row[metric] for row in rows])
                wins = sum(a[metric] > b[metric] for a, b in zip(rows, first, strict=True))
                shown = f"{mean:.3f}" if metric == "ssim" else f"{mean:.1f}"
                against = "" if rows is first or metric == "seconds" else f" ({wins})"
                cells.append(shown + against)
            lines.append(f"| {kind} | {search} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    folder: str,
    /,
    *,
    out: Path,
    limit: int = 32,
    step: int = 1,
    skip: int = 0,
    kinds: tuple[str, ...] = KINDS,
    searches: tuple[str, ...] = SEARCHES,
    batch_size: int = 4,
) -> None:
    """Degrades the faces, restores them by each search, and compares.

    Args:
        folder: The clean faces, of at least 512 px.
        out: Folder of everything that is written.
        limit: Number of faces.
        step: Every how many-th face is taken, from the last by name backwards.
        skip: Number of faces at the end that are left out.
        kinds: Degradations or profiles.
        searches: Presets or config files, with changed settings.
        batch_size: Faces per batch.
    """
    everything, _ = collect_inputs([folder])
    faces = [Path(str(x.path)) for x in everything[::-1][skip::step][:limit]][::-1]
    scores: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        inputs = inputs_of(out, faces, kind)
        originals = reduced_faces(out, faces, SIDE)
        columns = [[read_image(path) for path in inputs]]
        for search in searches:
            target = out / search / kind
            options = pj.JobOptions(batch_size=batch_size)
            pj.restore_files(inputs, target, config_of(search), options)
            rows = [score(target, original) for original in originals]
            scores.setdefault(kind, {})[search] = rows
            columns.append([read_image(target / f"{path.stem}.png") for path in originals])
            save_json(out / "table.json", {"faces": [x.stem for x in faces], "scores": scores})
            (out / "table.md").write_text(table_of(scores))
            print(table_of({kind: scores[kind]}), flush=True)
        columns.append([read_image(path) for path in originals])
        cells = [[reduce_picture(image, SIDE) for image in column] for column in columns]
        sheet = contact_sheet(
            [list(row) for row in zip(*cells, strict=True)],
            headings=[kind, *searches, "original"],
        )
        write_png(out / f"{kind}.png", np.asarray(sheet))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
