"""Makes a preference study of two folders: the page for raters, and the key for the organiser."""

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.study import (
    QUESTION,
    Key,
    StudyError,
    Trial,
    draw_trials,
    study_page,
)
from perceptual_jax.io.files import (
    Place,
    check_folder,
    make_folder,
    printable,
    refuse_existing,
    save_json,
    write_atomically,
)
from perceptual_jax.io.images import ImageError, read_image, reduce_picture
from perceptual_jax.jobs.pages.embedding import Pixels, encode
from perceptual_jax.jobs.pages.runs import Run, file_in, labelled, other_run

LARGEST = 300e6
"""Bytes of the largest page that is written."""

_QUALITY = 95
_ASPECT = 0.02
_BLUR = 32


class Made(NamedTuple):
    """A study that was written."""

    page: Path
    key: Path
    pairs: int
    catches: int
    failed: tuple[tuple[str, str], ...]
    """Names of pairs that could not be used, each with the reason."""


def make_study(
    a: str | Place,
    b: str | Place,
    page: Path,
    *,
    reference: str | Place | None = None,
    question: str = QUESTION,
    pairs: int | None = None,
    catches: int | None = None,
    ties: bool = False,
    size: int = 768,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[float, int], None] | None = None,
) -> Made:
    """Writes the page of a study, and beside it the key, `PAGE.key.json`.

    Pictures of a pair get one size and one format, so that nothing but their look tells them apart.

    Args:
        a: Folder of the first method: of a job, or of pictures.
        b: Folder of the second method, with pictures of the same names.
        page: File for the page.
        reference: Folder of pictures of the same names that are shown above each pair, such as the
            inputs; None shows none.
        question: The question to the raters.
        pairs: Number of pairs, drawn from all; None takes all.
        catches: Number of catch trials; None takes one for ten pairs, and two at least.
        ties: Whether raters may answer that they see no difference.
        size: Longer side of the pictures in pixels; larger ones are reduced.
        seed: Seed of all draws.
        overwrite: Whether files may be replaced.
        progress: Called with the number of pairs that are done, and of all.

    Raises:
        UsageError: If there is no pair, a file would be replaced, the page would be too large, or
            its name does not end in .html.
        WriteError: If a file cannot be written.
    """
    for name, value, least in (("pairs", pairs, 1), ("catches", catches, 0), ("size", size, 16)):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"the page of a study must end in .html, got {page}")
    check_folder(page.parent)
    key_path = page.with_name(f"{page.stem}.key.json")
    refuse_existing([page, key_path], overwrite=overwrite)
    first, second = (other_run(place, label) for place, label in labelled([a, b]))
    here, there = _files(first), _files(second)
    names = [name for name in here if name in there]
    failed = [
        (printable(name), f"{run.label} has no picture of this name")
        for run, files, others in ((first, here, there), (second, there, here))
        for name in others
        if name not in files
    ]
    if not names:
        raise UsageError(
            f"{first.folder} and {second.folder} have no picture of the same name; expected the "
            "results of two methods on the same inputs"
        )
    rng = random.Random(seed)
    chosen = sorted(rng.sample(names, min(pairs or len(names), len(names))))
    count = max(2, len(chosen) // 10) if catches is None else catches
    caught = {name: rng.randrange(2) for name in rng.sample(chosen, min(count, len(chosen)))}
    shown: dict[tuple[str, bool], tuple[str, str]] = {}
    for number, name in enumerate(chosen):
        try:
            pair = _matched(here[name](), there[name](), size)
        except (OSError, ImageError, StudyError) as error:
            failed.append((printable(name), str(error)))
        else:
            shown[name, False] = _addresses(*pair)
            if name in caught:
                good = pair[caught[name]]
                shown[name, True] = _addresses(good, _blurred(good))
        _check_size(shown.values())
        if progress is not None:
            progress(number + 1, len(chosen))
    if not shown:
        raise UsageError(f"no pair can be used; the last one: {': '.join(failed[-1])}")
    usable = [[name for name, is_catch in shown if is_catch == kind] for kind in (False, True)]
    trials = draw_trials(*usable, seed=rng.getrandbits(64))
    pictures = {trial.id: _in_order(trial, shown[trial.name, trial.is_catch]) for trial in trials}
    given = {} if reference is None else _files(_run(reference))
    references = {
        trial.id: address
        for trial in trials
        if trial.name in given and (address := _reference(given[trial.name], size))
    }
    digest = hashlib.sha256(f"{question} {ties} {seed}".encode("utf-8", "surrogateescape"))
    for trial in trials:
        digest.update("".join((trial.id, *pictures[trial.id])).encode())
    key = Key(digest.hexdigest()[:12], first.label, second.label, {t.id: t for t in trials})
    text = study_page(key, pictures, references=references, question=question, ties=ties)
    make_folder(page.parent)
    save_json(key_path, key.to_json() | {"question": question})
    write_atomically(page, text.encode("utf-8", "backslashreplace"))
    return Made(page, key_path, len(usable[0]), len(usable[1]), tuple(failed))


def _run(place: str | Place) -> Run:
    (run,) = [other_run(there, label) for there, label in labelled([place])]
    return run


def _addresses(*pixels: Pixels) -> tuple[str, str]:
    first, second = (encode(one, "jpeg", quality=_QUALITY) for one in pixels)
    return first, second


def _in_order(trial: Trial, pair: tuple[str, str]) -> tuple[str, str]:
    return (pair[1], pair[0]) if trial.first in ("b", "bad") else pair


def _check_size(shown: Iterable[tuple[str, str]]) -> None:
    """Refuses pages that browsers would not open.

    Raises:
        UsageError: If the pictures are too many or too large.
    """
    size = sum(len(address) for pair in shown for address in pair)
    if size > LARGEST:
        raise UsageError(
            f"the page would have more than {LARGEST / 1e6:.0f} MB; give fewer --pairs or a "
            "smaller --size"
        )


def _files(run: Run) -> dict[str, Callable[[], Pixels]]:
    """Functions that read the pictures of a run, by name; of several samples the first."""
    if not run.records:
        return {
            name: lambda source=source: read_image(source.path, data=source.read_bytes())
            for name, source in run.files.items()
        }
    return {
        name: lambda one=record["restorations"][0]["image"]: read_image(file_in(run.folder, one))
        for name, record in run.records.items()
        if record["restorations"]
    }


def _matched(a: Pixels, b: Pixels, size: int) -> tuple[Pixels, Pixels]:
    """Two pictures at one size: that of the larger, or reduced to `size`.

    Raises:
        StudyError: If their shapes differ.
    """
    (ha, wa), (hb, wb) = a.shape[:2], b.shape[:2]
    if abs(np.log(wa * hb / (ha * wb))) > _ASPECT:
        raise StudyError(f"expected pictures of one shape, got {wa}x{ha} and {wb}x{hb}")
    height, width = max((a.shape[:2], b.shape[:2]))
    scale = min(size / max(height, width), 1.0)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    return _resized(a, shape), _resized(b, shape)


def _resized(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    if (pixels.shape[1], pixels.shape[0]) == shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))


def _blurred(pixels: Pixels) -> Pixels:
    """A picture that nobody who looks prefers: reduced to a 32nd of its side, and enlarged."""
    height, width = pixels.shape[:2]
    small = (max(width // _BLUR, 2), max(height // _BLUR, 2))
    reduced = Image.fromarray(pixels).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.BICUBIC))


def _reference(read: Callable[[], Pixels], size: int) -> str | None:
    try:
        pixels = reduce_picture(read(), size)
    except (OSError, ImageError):
        return None
    return encode(pixels, "png" if max(pixels.shape) <= 256 else "jpeg", quality=_QUALITY)
