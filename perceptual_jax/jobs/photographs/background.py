"""Enlarges a photograph around its faces: by a Lanczos filter, or by a program of the user's."""

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import reason_of
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.photographs import MAX_WRITTEN, read_photograph

LANCZOS = "lanczos"

Pixels = UInt8[np.ndarray, "_ _ 3"]


def check_background(background: str) -> None:
    """Checks what is to enlarge photographs.

    Raises:
        UsageError: If it is neither `lanczos` nor a command that can be run.
    """
    if background == LANCZOS:
        return
    parts = _words(background)
    missing = [name for name in ("{input}", "{output}") if not any(name in x for x in parts)]
    if missing:
        raise UsageError(
            f"background must be {LANCZOS}, or a command with {{input}} and {{output}} for its "
            f"files, got {background!r}"
        )
    if shutil.which(parts[0]) is None:
        raise UsageError(f"the program {parts[0]!r} of the background's command is not found")


def enlarged(pixels: Pixels, size: tuple[int, int], *, background: str) -> Pixels:
    """A photograph at the size of the result; a copy, if that is its own.

    A program is run without a shell, its files in a folder that is removed afterwards. It gets
    {input}, a PNG, and must write {output}, a PNG of the result's size; {scale} is the factor.

    Args:
        pixels: The photograph.
        size: Width and height of the result in pixels.
        background: `lanczos`, or the command.

    Raises:
        ImageError: If the command fails, or writes no picture of this size.
    """
    height, width, _ = pixels.shape
    if background == LANCZOS:
        if size == (width, height):
            return pixels.copy()
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    with tempfile.TemporaryDirectory(prefix="perceptual_jax-") as folder:
        given, made = Path(folder, "input.png"), Path(folder, "output.png")
        Image.fromarray(pixels).save(given, compress_level=1)
        _run(_words(background, given, made, size[0] / width))
        if not made.is_file():
            raise ImageError("the background's command wrote no {output}")
        try:
            result = read_photograph(made, made.read_bytes(), max_pixels=MAX_WRITTEN).shown
        except ImageError as error:
            raise ImageError(f"the background's command wrote no picture: {error}") from error
    if result.shape != (size[1], size[0], 3):
        raise ImageError(
            f"the background's command wrote {result.shape[1]} x {result.shape[0]} pixels, not "
            f"{size[0]} x {size[1]}; give the --upscale that it enlarges by"
        )
    return result


def _words(command: str, given: object = None, made: object = None, scale: float = 1) -> list[str]:
    """The words of a command; with the files in place of their names, if they are given."""
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the background's command cannot be read ({error})") from error
    if given is None:
        return parts
    names = {"{input}": str(given), "{output}": str(made), "{scale}": f"{scale:g}"}
    for name, value in names.items():
        parts = [part.replace(name, value) for part in parts]
    return parts


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ImageError(f"the background's command cannot be run ({reason_of(error)})") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = f": {said[-1][:200]}" if said else ""
        raise ImageError(f"the background's command failed with exit code {done.returncode}{last}")
