"""Makes the pictures of the documents: given, restored and, where there is one, the original.

    perceptual-jax restore examples --out restored
    python scripts/make_gallery.py examples restored         # docs/images/gallery.jpg
    python scripts/make_gallery.py strips --work DIR         # the others of docs/gallery.md
    python scripts/make_gallery.py photograph FILE --work DIR    # docs/images/photograph.jpg

The faces are samples of the generator (see `make_examples.py`) and show no real person, but for the
photograph: NASA's portrait of Eileen Collins, which scikit-image has as `data/astronaut.png`. None
is picked for its result: the seeds are those of `make_examples.py`. Interrupted, the same command
goes on where it stopped.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from PIL import Image

import perceptual_jax as pj
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.profiles import apply_profile, load_profile
from perceptual_jax.io.files import write_atomically
from perceptual_jax.io.images import reduce_picture, write_png

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PSI = 0.8
"""Truncation of the faces of `make_examples.py`."""
CELL = 200
"""Side in pixels of a picture of a strip."""
WIDE = 480
"""Side in pixels of a photograph."""


class Column(NamedTuple):
    """A face of a strip, and how it is degraded and restored."""

    heading: str
    seed: int
    kind: str
    """A degradation (`sr32`, `jpeg10`), a profile (`old_photo`) or a name of `DAMAGES`; after @ the
    side in pixels to which the face is reduced before."""
    fidelity: float = 0.5
    samples: int = 1

    @property
    def name(self) -> str:
        """Name of the column's files."""
        return f"face{self.seed}-{self.kind}"


STRIPS: dict[str, tuple[Column, ...]] = {
    "superresolution": tuple(
        Column(f"{side} x {side} pixels", seed, f"sr{side}")
        for seed, side in ((11, 16), (11, 64), (23, 64), (23, 128))
    ),
    "jpeg": tuple(
        Column(f"JPEG, quality {quality}", seed, f"jpeg{quality}@256")
        for seed, quality in ((36, 5), (36, 20), (47, 5), (47, 10))
    ),
    "old_photo": tuple(
        Column(f"old_photo, draw {seed}", seed, "old_photo@512") for seed in (11, 23, 36, 47)
    ),
    "samples": (Column("16 x 16 pixels", 62, "sr16", samples=3),),
    "fidelity": tuple(
        Column(f"fidelity {fidelity:g}", 47, "old_photo@512", fidelity)
        for fidelity in (0.0, 0.5, 1.0)
    ),
    "failures": (
        Column("8 x 8 pixels", 58, "sr8"),
        Column("turned by 60 degrees", 11, "turned@128"),
        Column("half covered", 23, "covered@128"),
    ),
}


def turned(image: np.ndarray) -> np.ndarray:
    """The face out of FFHQ's framing."""
    return np.asarray(Image.fromarray(image).rotate(60, Image.Resampling.BICUBIC))


def covered(image: np.ndarray) -> np.ndarray:
    """The face with its lower half behind a grey card."""
    image = image.copy()
    image[len(image) // 2 :] = 128
    return image


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"turned": turned, "covered": covered}


def write_degraded(original: np.ndarray, column: Column, folder: Path) -> Path:
    """Writes the degraded face of a column, a JPEG as its file."""
    kind, _, side = column.kind.partition("@")
    clean = reduce_picture(original, int(side)) if side else original
    if kind.startswith("jpeg"):
        path = folder / f"{column.name}.jpg"
        write_atomically(path, jpeg(clean, quality=int(kind[4:]), subsampling="4:2:0").encoded)
        return path
    path = folder / f"{column.name}.png"
    if kind in DAMAGES:
        degraded = DAMAGES[kind](clean)
    elif kind[-1].isdecimal():
        degraded = pj.degrade(clean, kind)
    else:
        rng = np.random.default_rng(column.seed)
        degraded = apply_profile(load_profile(kind), clean, rng).image
    write_png(path, degraded)
    return path


def save(sheet: Image.Image, path: Path) -> None:
    """Writes a sheet and prints its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85, optimize=True)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


@functools.cache
def sampler() -> Callable[[int], np.ndarray]:
    """The function from a seed to a sample of the generator."""
    generator = pj.load_generator("mobilestylegan-ffhq", report=print)
    sample = jax.jit(pj.sample_image, static_argnames="psi")
    return lambda seed: pj.to_uint8(sample(generator, jax.random.key(seed), psi=PSI))


def examples(restored: Path, /, *, out: Path = IMAGES / "gallery.jpg") -> None:
    """Draws the picture of the README: all examples, also the less good restorations.

    Args:
        restored: Output folder of `perceptual-jax restore examples`.
        out: JPEG file of the picture.
    """
    paths = sorted((ROOT / "examples").glob("face*.png"))
    sheet = pj.contact_sheet(
        [
            [pj.read_image(path) for path in paths],
            [pj.read_image(restored / path.name) for path in paths],
            [sampler()(int(path.stem.removeprefix("face"))) for path in paths],
        ],
        headings=[""] * len(paths),
        captions=[
            "given: 32 x 32 pixels",
            "restored: 1024 x 1024 pixels, here reduced",
            "original: what the inputs were made from; the search never sees it",
        ],
        cell=160,
    )
    # The sheet keeps a line for headings, and these columns have none.
    first_row = int(np.argmin(np.asarray(sheet).min(axis=(1, 2)) == 255))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.crop((0, first_row - 8, *sheet.size)).save(out, quality=88, optimize=True)


def strips(names: tuple[str, ...] = tuple(STRIPS), /, *, work: Path, out: Path = IMAGES) -> None:
    """Degrades, restores and draws the strips of the gallery.

    Args:
        names: The strips to draw.
        work: Folder for the inputs and the jobs.
        out: Folder of the pictures.
    """
    folder = work / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        columns = STRIPS[name]
        originals = [sampler()(column.seed) for column in columns]
        given = [
            write_degraded(original, column, folder)
            for original, column in zip(originals, columns, strict=True)
        ]
        jobs = [work / f"fidelity{column.fidelity:g}x{column.samples}" for column in columns]
        for job in dict.fromkeys(jobs):
            column = columns[jobs.index(job)]
            some = [path for path, own in zip(given, jobs, strict=True) if own == job]
            config = pj.override(pj.load_config("default"), {"fidelity": column.fidelity})
            options = pj.JobOptions(samples=column.samples)
            print(pj.restore_files(some, job, config, options, report=print))
        draw = draw_samples if columns[0].samples > 1 else draw_strip
        save(draw(columns, given, jobs, originals), out / f"{name}.jpg")


def draw_strip(
    columns: tuple[Column, ...], given: list[Path], jobs: list[Path], originals: list[np.ndarray]
) -> Image.Image:
    """A column for each face: given, restored, original."""
    restored = [job / f"{path.stem}.png" for path, job in zip(given, jobs, strict=True)]
    return pj.contact_sheet(
        [list(map(pj.read_image, given)), list(map(pj.read_image, restored)), originals],
        headings=[column.heading for column in columns],
        captions=["given", "restored", "original, which the search never sees"],
        cell=CELL,
    )


def draw_samples(
    columns: tuple[Column, ...], given: list[Path], jobs: list[Path], originals: list[np.ndarray]
) -> Image.Image:
    """A row for each face: given, its restorations, the map of their differences, original."""
    count = columns[0].samples
    names = [*(f"s{i:02d}" for i in range(count)), "spread"]
    rows = [
        [
            pj.read_image(path),
            *(pj.read_image(job / f"{path.stem}_{name}.png") for name in names),
            original,
        ]
        for path, job, original in zip(given, jobs, originals, strict=True)
    ]
    samples = [f"sample {i + 1}" for i in range(count)]
    headings = [columns[0].heading, *samples, "their differences", "original"]
    return pj.contact_sheet(rows, headings=headings, cell=CELL)


def photograph(file: Path, /, *, work: Path, out: Path = IMAGES / "photograph.jpg") -> None:
    """Degrades, restores and draws a photograph, before and after.

    Args:
        file: The photograph.
        work: Folder for the input and the job.
        out: JPEG file of the picture.
    """
    small = reduce_picture(pj.read_image(file), 256)
    given = work / "inputs" / f"{file.stem}.jpg"
    given.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given, jpeg(small, quality=30, subsampling="4:2:0").encoded)
    options = pj.PhotographOptions(upscale=4)
    config = pj.load_config("default")
    print(pj.restore_photographs(given, work / "job", config, photographs=options, report=print))
    sheet = Image.new("RGB", (2 * WIDE + 8, WIDE), "white")
    for left, path in ((0, given), (WIDE + 8, work / "job" / f"{file.stem}.png")):
        picture = Image.fromarray(pj.read_image(path))
        sheet.paste(picture.resize((WIDE, WIDE), Image.Resampling.BICUBIC), (left, 0))
    save(sheet, out)


COMMANDS: dict[str, Callable[..., Any]] = {
    "examples": examples,
    "strips": strips,
    "photograph": photograph,
}

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(COMMANDS, description=__doc__)
