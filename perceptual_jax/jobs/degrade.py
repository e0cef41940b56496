"""Degrades files: inputs for the tool, made from clean faces.

With a profile, `degraded.jsonl` records the random draws of each picture and the failures. Where
the last step is a JPEG, that file itself is written, since a restoration can read its header.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.degradation.corruptions import degrade, find_kind
from perceptual_jax.degradation.profiles import Degradation, apply_profile, load_profile
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import (
    Place,
    check_folder,
    json_text,
    make_folder,
    refuse_existing,
    write_atomically,
)
from perceptual_jax.io.images import read_image, write_png
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.types import unknown_header

RECORD = "degraded.jsonl"


class Degraded(NamedTuple):
    """The files that `degrade_files` wrote, and the inputs that it could not read."""

    written: tuple[Path, ...]
    failed: tuple[tuple[str, str], ...]
    """Pairs of source and reason."""


def degrade_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    kind: str | None = None,
    profile: str | os.PathLike[str] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Degraded:
    """Writes a degraded version of each picture, under the picture's name.

    Args:
        inputs: Files, folders (with all folders below) and globs; pictures of any shape.
        out: Output folder.
        kind: A degradation and its level, such as `sr32`; see `corruptions.KINDS`.
        profile: Instead of `kind`, the name of a profile or a TOML file; see `profiles`.
        seed: Seed of all draws. The draw of a picture does not depend on the other inputs.
        overwrite: Replace files that exist.
        report: Receives a line that counts what folders left out.
        progress: Called with the number of pictures done and the total.

    Raises:
        UsageError: If the kind or profile is unknown, both or neither are given, the seed is
            negative, `out` is not a folder, or a file exists.
        InputError: If there is no picture among the inputs.
        WriteError: If a file cannot be written.
    """
    out = Path(out)
    if seed < 0:
        raise UsageError(f"seed must be at least 0, got {seed}")
    degrade_one = _degrader(kind, profile)
    check_folder(out)
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    pictures, problems = collect_inputs(sources, out=out, report=report)
    planned = [out / f"{picture.name}{end}" for picture in pictures for end in (".png", ".jpg")]
    records_path = [] if profile is None else [out / RECORD]
    refuse_existing([*planned, *records_path], overwrite=overwrite)
    make_folder(out)
    written = []
    failed = [(problem.source, problem.reason) for problem in problems]
    records = [_failure(*each) for each in failed]
    for done, source in enumerate(pictures, start=1):
        path, name = source.path, source.name
        try:
            image = read_image(path, data=source.read_bytes(), note=_noted(path, report))
            degraded = degrade_one(image, _own_seed(image, seed))
        except (OSError, ValueError) as error:  # `ImageError`, or too small for this kind
            failed.append((str(path), str(error).removeprefix(f"cannot read {path}: ")))
            records.append(_failure(*failed[-1]))
        else:
            written.append(_write(out / name, degraded))
            records.append(_success(written[-1].name, path, degraded))
        if progress is not None:
            progress(done, len(pictures))
    if profile is not None:
        drawn_from = {"profile": str(profile), "seed": seed}
        lines = "".join(json_text(record | drawn_from) + "\n" for record in records)
        write_atomically(out / RECORD, lines.encode())
    return Degraded(tuple(written), tuple(failed))


def _degrader(
    kind: str | None, profile: str | os.PathLike[str] | None
) -> Callable[[UInt8[np.ndarray, "h w 3"], int], Degradation]:
    """Builds the function that degrades an image with the seed of that image."""
    if profile is not None and kind is None:
        loaded = load_profile(profile)
        return lambda image, seed: apply_profile(loaded, image, np.random.default_rng(seed))
    if kind is None or profile is not None:
        raise UsageError("give either a kind, such as jpeg10, or a profile, such as old_photo")
    try:
        find_kind(kind)
    except ValueError as error:
        raise UsageError(str(error)) from error

    def apply_kind(image: UInt8[np.ndarray, "h w 3"], seed: int) -> Degradation:
        return Degradation(degrade(image, kind, seed=seed), (), unknown_header(), None)

    return apply_kind


def _noted(path: Place, report: Callable[[str], None] | None) -> Callable[[str], None] | None:
    return None if report is None else lambda note: report(f"{_printable(path)}: {note}")


def _write(path: Path, degraded: Degradation) -> Path:
    if degraded.encoded is None:
        path = path.with_name(f"{path.name}.png")
        write_png(path, degraded.image, kind="degraded")
    else:
        path = path.with_name(f"{path.name}.jpg")
        write_atomically(path, degraded.encoded)
    return path


def _success(name: str, path: Place, degraded: Degradation) -> dict[str, Any]:
    height, width, _ = degraded.image.shape
    tables = degraded.header.tables  # Quantisation steps are whole numbers.
    return {
        "file": name,
        "source": _printable(path),
        "size": [width, height],
        "steps": list(degraded.record),
        "tables": None if degraded.encoded is None else np.asarray(tables, int).tolist(),
    }


def _failure(source: str, reason: str) -> dict[str, Any]:
    return {"file": None, "source": _printable(source), "message": reason}


def _printable(path: str | Place) -> str:
    return os.fsencode(str(path)).decode(errors="replace")


def _own_seed(image: UInt8[np.ndarray, "h w 3"], seed: int) -> int:
    """Derives a seed from an image's content, so that two images do not get the same noise."""
    content = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "little")
    return int(np.random.SeedSequence([seed, content]).generate_state(1, np.uint64)[0])
