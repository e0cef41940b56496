"""Applies likelihoods to files: writes samples, inspects pictures."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np

from perceptual_jax.degradation.jpeg import standard_tables
from perceptual_jax.errors import UsageError
from perceptual_jax.io.encoding import lossless_format, write_lossless
from perceptual_jax.io.files import check_folder, make_folder, refuse_existing
from perceptual_jax.io.images import read_image, reduce_picture, to_float, to_uint8
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.likelihood.inspection import Belief, inspect_picture
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.likelihood.sampling import sample_degraded
from perceptual_jax.types import JpegHeader

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def sample_file(
    image: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str = "jpeg",
    samples: int = 1,
    size: int = 256,
    quality: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> tuple[Path, ...]:
    """Writes samples of degraded versions of a picture, drawn from a likelihood.

    Args:
        image: A clean picture.
        out: The file, of a format that keeps all values, by its extension; for several samples,
            `_0`, `_1`, ... is appended to its name.
        model: The model, see `models.load_model`.
        samples: Number of samples.
        size: Shorter side in pixels to which a larger picture is reduced.
        quality: JPEG quality that conditions the model, with chroma subsampling 4:2:0.
        temperature: The temperature, see `sampling.sample_degraded`.
        seed: Seed of all draws.
        overwrite: Replace files that exist.
        report: Receives notes on the picture, and what takes long.
        progress: Called with the number of samples done and the total.

    Raises:
        UsageError: If a number is out of its range, the model is unknown, or a file exists or has
            another extension.
        ImageError: If the picture cannot be read.
        WriteError: If a file cannot be written.
    """
    if samples < 1 or size < 8 or seed < 0 or temperature < 0:
        raise UsageError(
            f"n must be at least 1, size at least 8, seed and temperature at least 0; got "
            f"{samples}, {size}, {seed} and {temperature:g}"
        )
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    out = Path(out)
    lossless_format(out)
    paths = [out]
    if samples > 1:
        paths = [out.with_name(f"{out.stem}_{i}{out.suffix}") for i in range(samples)]
    check_folder(out.parent)
    refuse_existing(paths, overwrite=overwrite)
    likelihood = load_model(model)
    clean = to_float(reduce_picture(read_image(image, note=_noted(str(image), report)), size))
    header = None
    if quality is not None:
        header = JpegHeader(
            standard_tables(quality), np.asarray(2, np.int32), np.zeros(2, np.int32)
        )
    make_folder(out.parent)
    if report is not None:
        report("compiling the sampler; the first sample takes longest")
    for i, path in enumerate(paths):
        key = jax.random.fold_in(jax.random.key(seed), i)
        drawn = sample_degraded(likelihood, clean, key, header=header, temperature=temperature)
        write_lossless(path, to_uint8(drawn), "sample")
        if progress is not None:
            progress(i + 1, samples)
    return tuple(paths)


def inspect_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    model: str = "jpeg",
    report: Callable[[str], None],
    note: Callable[[str], None] | None = None,
) -> tuple[tuple[str, str], ...]:
    """Reports the most probable degradation of each picture, by its pixels, in a line.

    Args:
        inputs: Files, folders (with all folders below) and globs.
        model: The model, see `models.load_model`.
        report: Receives the lines.
        note: Receives a line that counts what folders left out.

    Returns:
        Pairs of source and reason for inputs that cannot be inspected.

    Raises:
        UsageError, InputError: If the model is unknown, or there is no picture.
    """
    likelihood = load_model(model)
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    pictures, problems = collect_inputs(sources, report=note)
    failed = [(problem.source, problem.reason) for problem in problems]
    for source in pictures:
        path, name = source.path, source.name
        try:
            data = source.read_bytes()
            image = read_image(path, data=data, note=_noted(name, note))
            beliefs = inspect_picture(likelihood, image)
        except (OSError, ValueError) as error:  # `ImageError`, or too small for a grid
            failed.append((str(path), str(error).removeprefix(f"cannot read {path}: ")))
        else:
            report(f"{name}: {describe(beliefs[0])}")
    return tuple(failed)


def _noted(name: str, note: Callable[[str], None] | None) -> Callable[[str], None] | None:
    return None if note is None else lambda text: note(f"{name}: {text}")


def describe(belief: Belief) -> str:
    """Describes a belief in words."""
    chance = f"probability {belief.probability:.3f}, {belief.bits:.2f} bits/dim"
    if belief.quality is None or belief.phase is None or belief.subsampling is None:
        return f"profile other: no trace of a JPEG's grid ({chance})"
    row, column = belief.phase
    return (
        f"profile jpeg: quality {belief.quality}, {SAMPLINGS[belief.subsampling]}, its first "
        f"pixel at row {row} and column {column} of the grid ({chance})"
    )
