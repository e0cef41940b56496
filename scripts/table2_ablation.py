"""The paper's Table 2 and Figure 6 on a folder of clean faces, restored from JPEGs of them.

    python scripts/table2_ablation.py FACES --out DIR [--limit 24] [--rows mean_mmd_sphere ...]
        [--rankiqa FILE] [--v1 STYLEGAN1] [--early MODEL] [--late MODEL]
        [--set search.draft=256 search.coarse_fraction=0]

Each row is a config of `configs/table2.toml`. Rows without a likelihood compare pixels (l2), as
PULSE does; the others have the paper's coefficient. Faces are reduced to `--compress-at` pixels and
compressed there: the paper names neither quality nor size. Interrupted, the same command goes on
where it stopped; rows can be added.

    DIR/original, DIR/compressed     the faces, and their JPEGs
    DIR/rows/ROW                     the job of a row
    DIR/scored/ROW                   its pictures at the size of the originals
    DIR/table2.md, .csv, .json       means: no-reference scores first, then all of `evaluate`
    DIR/figure6.png                  compressed, some rows, original

No-reference scores are taken at one size for all, `--side`. The first four are the paper's by
RankIQA where its weights are given, else by rank-vgg (ours), whose numbers cannot be compared with
the paper's: only their order can.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from PIL import Image

import perceptual_jax as pj
from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import load_config, override, parse_setting
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.evaluation.metrics.metric_list import (
    METRICS,
    RANK_VGG,
    RANKIQA,
    USUAL,
    usual_metrics,
)
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import save_json, write_atomically
from perceptual_jax.io.images import read_image, reduce_picture, write_png
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.scoring.evaluate import evaluate_files
from perceptual_jax.jobs.status import read_results, write_csv


class Row(NamedTuple):
    """A row of the paper's table."""

    config: str
    """Row of `configs/table2.toml`."""
    settings: str
    """StyleGAN, mean init, MMD, spherical."""
    coefficient: str
    epoch: str
    steps: int
    paper: tuple[float, float, float, float]
    """The paper's RankIQA: mean, median, and both resized."""


ROWS = {
    "v1": Row("random_sphere", "v1 N N Y", "-", "-", 100, (33.21, 33.12, 17.17, 17.25)),
    "random_sphere": Row("random_sphere", "v2 N N Y", "-", "-", 100, (31.82, 32.15, 17.87, 17.93)),
    "mean_sphere": Row("mean_sphere", "v2 Y N Y", "-", "-", 100, (35.11, 34.94, 21.33, 21.32)),
    "random_mmd_sphere": Row(
        "random_mmd_sphere", "v2 N Y Y", "-", "-", 100, (35.66, 35.20, 20.23, 20.22)
    ),
    "mean_mmd_sphere": Row(
        "mean_mmd_sphere", "v2 Y Y Y", "-", "-", 100, (30.17, 30.34, 9.78, 9.74)
    ),
    "mean_mmd_sphere_1000": Row(
        "mean_mmd_sphere", "v2 Y Y Y", "-", "-", 1000, (31.55, 31.54, 11.94, 11.91)
    ),
    "mean_mmd_free": Row("mean_mmd_free", "v2 Y Y N", "-", "-", 100, (32.85, 32.67, 15.05, 15.10)),
    "pixelcnn_1_early": Row(
        "pixelcnn_1", "v2 Y Y Y", "1", "early", 100, (31.40, 31.37, 10.28, 10.14)
    ),
    "pixelcnn_1": Row("pixelcnn_1", "v2 Y Y Y", "1", "late", 100, (30.41, 30.64, 11.15, 11.11)),
    "pixelcnn_1_1000": Row(
        "pixelcnn_1", "v2 Y Y Y", "1", "late", 1000, (31.79, 31.65, 11.69, 11.60)
    ),
    "pixelcnn_10_early": Row(
        "pixelcnn_10", "v2 Y Y Y", "10", "early", 100, (30.57, 30.69, 9.37, 9.23)
    ),
    "pixelcnn_10": Row("pixelcnn_10", "v2 Y Y Y", "10", "late", 100, (29.41, 29.97, 10.04, 10.05)),
    "pixelcnn_50": Row("pixelcnn_50", "v2 Y Y Y", "50", "late", 100, (29.84, 30.69, 10.56, 10.53)),
}
PICTURES = {
    "original": Row("", "Original - - -", "-", "-", 0, (45.61, 45.75, 13.67, 13.65)),
    "compressed": Row("", "Compressed - - -", "-", "-", 0, (59.47, 59.81, 54.57, 54.62)),
}
FIGURE = {"v1": "PULSE, v1", "random_sphere": "PULSE, v2", "pixelcnn_10": "ours"}
"""Rows of Figure 6, with their headings."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What rows are run with."""

    generator: str = "mobilestylegan-ffhq"
    """The StyleGAN of version 2."""
    v1: str | None = None
    """A generator for the row of version 1; without one it is left out."""
    late: str = "jpeg"
    """The likelihood of the late checkpoint: a shipped one's name, or a file."""
    early: str | None = None
    """That of the early checkpoint; without one its rows are left out."""
    steps: int | None = None
    """Steps in place of 100, and ten times as many in place of 1000."""
    set: tuple[str, ...] = ()
    """Settings of all rows, NAME=VALUE; the table says so."""


def config_of(name: str, options: Options) -> RestoreConfig | None:
    """The config of a row; None if its checkpoint is not given."""
    row = ROWS[name]
    generator = options.v1 if name == "v1" else options.generator
    model = {"-": "l2", "early": options.early, "late": options.late}[row.epoch]
    if generator is None or model is None:
        return None
    steps = row.steps if options.steps is None else options.steps * row.steps // 100
    settings = {"generator": generator, "degradation": model, "search.steps": steps}
    settings |= {"data.detail": 0} | dict(parse_setting(text) for text in options.set)
    return override(load_config(f"table2:{row.config}"), settings)


def resized(image: np.ndarray, side: int) -> np.ndarray:
    if image.shape[0] >= side:
        return reduce_picture(image, side)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def at_side(files: list[Path], folder: Path, side: int) -> Path:
    """A folder of the pictures at one size, written where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = folder / f"{file.stem}.png"
        if not path.exists():
            write_png(path, resized(read_image(file), side))
    return folder


def inputs_of(faces: list[Path], out: Path, side: int, at: int, quality: int) -> list[Path]:
    """The compressed faces, written once with the originals."""
    at_side(faces, out / "original", side)
    folder = out / "compressed"
    folder.mkdir(exist_ok=True)
    for face in faces:
        path = folder / f"{face.stem}.jpg"
        if not path.exists():
            small = resized(read_image(face), at)
            write_atomically(path, jpeg(small, quality=quality, subsampling="4:2:0").encoded)
    return [folder / f"{face.stem}.jpg" for face in faces]


def check_terms(name: str, records: Iterable[dict[str, Any]]) -> None:
    """Refuses a row of a likelihood that was searched without it."""
    for record in records:
        if ROWS[name].coefficient != "-" and record["degradation"]["term"] == "l2":
            raise SystemExit(
                f"the row {name} was searched by l2: {record['degradation']['reason']}; "
                "expected drafts of the JPEGs' size, such as search.draft=0 or search.draft=256 "
                "with search.coarse_fraction=0"
            )


def means_of(evaluation) -> dict[str, dict[str, Any]]:
    (method,) = evaluation.methods
    found = {name: summary._asdict() for name, summary in method.summaries.items()}
    return found | {name: {"mean": value} for name, value in method.sets.items()}


def scores_of(name: str, out: Path, rankiqa: Path | None) -> dict[str, dict[str, Any]]:
    """All scores of a row, or of the originals or the compressed faces themselves."""
    ranks = RANKIQA if rankiqa else RANK_VGG
    alone = [*ranks, "niqe", "brisque"]
    shown = out / "original" if name == "original" else out / "scored" / name
    found = means_of(evaluate_files(shown, metrics=alone, rankiqa=rankiqa, report=print))
    if name == "original":
        return found
    compared = [m for m in usual_metrics() if m not in alone]
    if name == "compressed":
        compared = [m for m in compared if METRICS[m].needs.startswith("original")]
    folder = out / "compressed" if name == "compressed" else out / "rows" / name
    return found | means_of(
        evaluate_files(folder, original=out / "original", metrics=compared, report=print)
    )


def records_of(name: str, metrics: list[str], report: dict[str, Any]) -> dict[str, Any]:
    """A line of the table by the headings of its columns."""
    row = (ROWS | PICTURES)[name]
    keys = ("StyleGAN", "mean init", "MMD", "spherical")
    line: dict[str, Any] = {"row": name} | dict(zip(keys, row.settings.split(), strict=True))
    line |= {"coefficient": row.coefficient, "checkpoint": row.epoch}
    line |= {"steps": report["steps"] or "-", "faces": report["faces"]}
    scores = report["scores"]
    line |= {METRICS[m].shown: scores[m]["mean"] if m in scores else None for m in metrics}
    line |= {"s a face": report.get("seconds")}
    heads = ("mean", "median", "mean, 256 px", "median, 256 px")
    return line | {f"paper's RankIQA, {h}": x for h, x in zip(heads, row.paper, strict=True)}


def write_tables(out: Path, reports: dict[str, Any], about: dict[str, Any]) -> str:
    """Writes the three files; returns the markdown."""
    there = {metric for report in reports.values() for metric in report["scores"]}
    metrics = [m for m in dict.fromkeys([*RANKIQA, *RANK_VGG, *USUAL]) if m in there]
    lines = [records_of(name, metrics, report) for name, report in reports.items()]
    heads = list(lines[0])

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
        return "" if value is None else str(value)

    rows = [[cell(line[head]) for head in heads] for line in lines]
    text = "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])
    text += f"\n\n{', '.join(f'{key} {value}' for key, value in about.items() if value)}.\n"
    write_atomically(out / "table2.md", text.encode())
    write_atomically(out / "table2.csv", lambda file: write_csv(file, heads, lines))
    save_json(out / "table2.json", {"about": about, "rows": reports})
    return text


def draw_figure(out: Path, faces: list[Path], done: list[str]) -> None:
    """Figure 6: compressed, PULSE with both versions, ours, original."""
    shown = {name: head for name, head in FIGURE.items() if name in done}
    shown = shown or {name: name for name in done[-1:]}
    folders = [out / "scored" / "compressed", *(out / "scored" / x for x in shown)]
    cells = [
        [
            reduce_picture(read_image(folder / f"{face.stem}.png"), 256)
            for folder in [*folders, out / "original"]
            if (folder / f"{face.stem}.png").exists()
        ]
        for face in faces
    ]
    sheet = contact_sheet(cells, headings=["compressed", *shown.values(), "original"])
    write_png(out / "figure6.png", np.asarray(sheet))


def main(
    folder: str,
    /,
    *,
    out: Path,
    limit: int = 24,
    long_limit: int = 8,
    rows: tuple[str, ...] = (),
    options: tyro.conf.OmitArgPrefixes[Options] = Options(),
    rankiqa: Path | None = None,
    quality: int = 10,
    compress_at: int = 256,
    side: int = 512,
    figure: int = 6,
    batch_size: int | None = None,
) -> None:
    """Restores the faces by each row, scores them, and writes the tables and the figure.

    Args:
        folder: The clean faces.
        out: Folder of everything that is written.
        limit: Number of faces, the last by name.
        long_limit: Number of faces of the rows of 1000 steps.
        rows: Rows of the table by their names; empty runs all whose checkpoints are given.
        options: What rows are run with.
        rankiqa: RankIQA's weights; without them rank-vgg (ours) takes its columns.
        quality: Quality of the JPEGs.
        compress_at: Pixels of a side of the faces when they are compressed.
        side: Pixels of a side at which pictures are scored without an original.
        figure: Number of faces in Figure 6.
        batch_size: Faces searched at once; None takes as many as fit in memory.
    """
    unknown = set(rows) - ROWS.keys()
    if unknown:
        raise SystemExit(f"no row is called {', '.join(unknown)}; rows are {', '.join(ROWS)}")
    out.mkdir(parents=True, exist_ok=True)
    collected, _ = collect_inputs([folder])
    faces = [Path(str(x.path)) for x in collected[-limit:]]
    inputs = inputs_of(faces, out, side, compress_at, quality)
    at_side(inputs, out / "scored" / "compressed", side)
    about = {"faces": len(faces), "JPEG quality": quality, "compressed at": compress_at}
    about |= {"scored at": side, "generator": options.generator, "changed": " ".join(options.set)}
    reports: dict[str, Any] = {}
    for name in rows or ROWS:
        config = config_of(name, options)
        if config is None:
            missing = "--v1" if name == "v1" else "--early"
            if rows:
                raise SystemExit(f"the row {name} needs a checkpoint: {missing}")
            print(f"without {name}: no {missing}")
            continue
        some = inputs[-long_limit:] if ROWS[name].steps > 100 else inputs
        target = out / "rows" / name
        summary = pj.restore_files(some, target, config, pj.JobOptions(batch_size=batch_size))
        for failure in summary.failed:
            print(f"{name}: {failure.source}: {failure.reason}")
        records = {r["name"]: r for r in read_results(target) if "files" in r}
        check_terms(name, records.values())
        done = [target / f"{path.stem}.png" for path in some if path.stem in records]
        at_side(done, out / "scored" / name, side)
        seconds = float(np.median([record["seconds"] for record in records.values()]))
        reports[name] = {"steps": config.search.steps, "faces": len(done), "seconds": seconds}
        reports[name]["scores"] = scores_of(name, out, rankiqa)
        print(write_tables(out, reports, about), flush=True)
    ran = list(reports)
    for name in PICTURES:
        scores = scores_of(name, out, rankiqa)
        reports[name] = {"steps": 0, "faces": len(faces), "scores": scores}
    print(write_tables(out, reports, about))
    draw_figure(out, faces[-figure:], ran)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
