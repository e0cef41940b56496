"""Degrades files: inputs for the tool, made from clean faces."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.config import UsageError
from perceptual_jax.data.collect import collect_inputs
from perceptual_jax.data.images import read_image, write_png
from perceptual_jax.data.output import check_folder, make_folder
from perceptual_jax.degradation.corruptions import degrade, find_kind


class Degraded(NamedTuple):
    """What `degrade_files` wrote, and what it could not read."""

    written: tuple[Path, ...]
    failed: tuple[tuple[str, str], ...]
    """Source and reason."""


def degrade_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    kind: str,
    seed: int = 0,
    progress: Callable[[float, int], None] | None = None,
) -> Degraded:
    """Writes a degraded PNG of each picture, under the picture's name.

    Args:
        inputs: Files, folders (with all folders below) and globs; pictures of any shape.
        out: Folder.
        kind: A degradation and its level, such as `sr32`; see `corruptions.KINDS`.
        seed: Of what is random. Each picture gets its own draw, whatever else is degraded.
        progress: Called with the number of pictures done and the number of all.

    Raises:
        UsageError: If there is no such kind, the seed is negative, or `out` is no folder.
        InputError: If there is no picture at all.
        WriteError: If a file cannot be written.
    """
    out = Path(out)
    if seed < 0:
        raise UsageError(f"seed must be at least 0, got {seed}")
    try:
        find_kind(kind)
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_folder(out)
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    pictures, problems = collect_inputs(sources, out=out)
    make_folder(out)
    written = []
    failed = [(problem.source, problem.reason) for problem in problems]
    for done, (path, name) in enumerate(pictures, start=1):
        try:
            image = read_image(path)
            degraded = degrade(image, kind, seed=_own_seed(image, seed))
        except ValueError as error:  # `ImageError`, or too small for this kind
            failed.append((str(path), str(error).removeprefix(f"cannot read {path}: ")))
        else:
            written.append(out / f"{name}.png")
            write_png(written[-1], degraded)
        if progress is not None:
            progress(done, len(pictures))
    return Degraded(tuple(written), tuple(failed))


def _own_seed(image: UInt8[np.ndarray, "h w 3"], seed: int) -> int:
    """A seed for this image, so that two images do not get the same noise."""
    content = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "little")
    return int(np.random.SeedSequence([seed, content]).generate_state(1, np.uint64)[0])
