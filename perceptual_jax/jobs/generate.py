"""Faces drawn from a generator's prior, one for each seed, as PNG files and a contact sheet."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from perceptual_jax.checkpoints.load import choose_class, load_generator
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.sheet import MAX_ROWS, contact_sheet
from perceptual_jax.generator.mapping import broadcast_styles, truncate
from perceptual_jax.io.encoding import PNG, Encoding, check_suffix
from perceptual_jax.io.files import (
    check_folder,
    make_folder,
    refuse_existing,
    write_atomically,
)
from perceptual_jax.io.images import to_uint8, write_png
from perceptual_jax.jobs.resume import INDEX
from perceptual_jax.types import Generator

MAX_SEEDS = 1_000_000

_COLUMNS = 8
_CELL = 256


def parse_seeds(text: str) -> list[int]:
    """Parses comma-separated seeds: numbers and ranges.

    Raises:
        UsageError: If the text is not such a list.

    Example:
        >>> parse_seeds("0-3,20")
        [0, 1, 2, 3, 20]
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UsageError(f"seeds must be numbers and ranges such as 0-15,20; got {text!r}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UsageError(f"seeds must be at most {MAX_SEEDS:,}, got {text!r}; divide them")
        seeds |= dict.fromkeys(range(first, last + 1))
    return list(seeds)


def sample_image(
    generator: Generator, key: Key[Array, ""], *, psi: float = 1.0
) -> Float[Array, "h w 3"]:
    """Draws a face from the prior: the image of a standard normal z, with the generator's noise.

    Args:
        generator: Any generator.
        key: Consumed; `generate_files` uses `jax.random.key(seed)`.
        psi: Truncation; 1 is the prior itself, 0 the mean face.
    """
    z = jax.random.normal(key, (generator.z_dim,))
    w = truncate(generator.mapping(z), generator.w_mean, psi=psi)
    styles = broadcast_styles(w, generator.num_styles)
    return generator.synthesis(styles, generator.noise_maps())


def generate_files(
    seeds: Sequence[int],
    out: str | Path,
    *,
    psi: float = 0.7,
    generator: str | Path | Generator = "mobilestylegan-ffhq",
    class_index: int | None = None,
    encoding: Encoding = PNG,
    suffix: str = "",
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> list[Path]:
    """Writes `seed0000.png`, ... and their contact sheet, `index.png`.

    Args:
        seeds: One face is drawn for each.
        out: Output folder.
        psi: Truncation, see `sample_image`.
        generator: A name of the catalogue, the path of a weights file, or the generator itself.
        class_index: The class of a conditional generator, from 0; the sheet's captions name it.
        encoding: Format of the faces; the sheet is always a PNG.
        suffix: Appended to the names of the faces, before the extension.
        overwrite: Replace files that exist.
        report: Receives lines for the user while a generator is fetched.
        progress: Called with the number of faces written and the total.

    Returns:
        The paths of the faces.

    Raises:
        UsageError: If there is no seed, `out` is not a folder, a file exists, or the class is not
            one of the generator's.
        WeightsError: If the generator cannot be fetched or loaded.
        WriteError: If a file cannot be written.
    """
    out = Path(out)
    if not seeds:
        raise UsageError("expected at least one seed, got none")
    check_folder(out)
    check_suffix(suffix)
    seeds = list(dict.fromkeys(seeds))
    paths = [out / f"seed{seed:04d}{suffix}{encoding.extension}" for seed in seeds]
    refuse_existing([*paths, out / INDEX], overwrite=overwrite)
    if isinstance(generator, str | Path):
        generator = load_generator(generator, report=report)
    generator = choose_class(generator, class_index)
    make_folder(out)
    if report is not None:
        report(f"compiling the generator; {len(seeds)} to draw")
    draw = jax.jit(sample_image, static_argnames="psi")
    cells = []
    for done, (seed, path) in enumerate(zip(seeds, paths, strict=True), start=1):
        image = to_uint8(draw(generator, jax.random.key(seed), psi=psi))
        write_atomically(path, encoding.encode(image, "generated"))
        if done <= MAX_ROWS * _COLUMNS:
            cells.append(_reduced(image))
        if progress is not None:
            progress(done, len(seeds))
    rows = [cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)]
    of = "" if class_index is None else f"class {class_index}, "
    names = [
        f"{of}seeds {', '.join(map(str, seeds[i * _COLUMNS :][:_COLUMNS]))}"
        for i in range(len(rows))
    ]
    sheet = contact_sheet(rows, headings=[""] * len(rows[0]), captions=names, cell=_CELL)
    write_png(out / INDEX, np.asarray(sheet), kind="sheet")
    return paths


def _reduced(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Reduces an image to about a cell of the sheet, so that many faces fit into memory."""
    factor = max(image.shape[0] // _CELL, 1)
    height, width = (side // factor * factor for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
