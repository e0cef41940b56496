"""Folders of pictures that belong together: restored, original and degraded, paired by name.

The pictures of a plain folder have the names of their files. The folder of a job knows the names of
its inputs, whatever its results are called, and where the inputs lie.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceptual_jax.io.bundles import read_again
from perceptual_jax.io.files import printable
from perceptual_jax.io.inputs import Input, InputError, collect_inputs
from perceptual_jax.jobs.log import input_path
from perceptual_jax.jobs.resume import CONFIG, RESULTS
from perceptual_jax.jobs.status import read_results

_NAMED = 5
"""Most names in a line."""

Report = Callable[[str], None]


def is_job(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a job's, with its config and its results."""
    out = Path(folder)
    return (out / CONFIG).is_file() and (out / RESULTS).is_file()


def pictures_of(
    folder: str | os.PathLike[str], failed: list[tuple[str, str]], say: Report
) -> dict[str, tuple[Input, Input | None]]:
    """The restored pictures of a folder by name, with the degraded ones that a job knows.

    Args:
        folder: A folder of pictures, or of a job.
        failed: Receives what cannot be used, with the reason.
        say: Receives lines for the user.

    Raises:
        InputError: If there is no picture.
    """
    out = Path(folder)
    if not is_job(folder):
        return {name: (one, None) for name, one in by_name(folder, failed, say).items()}
    found, samples = {}, 0
    for record in read_results(out):
        name = str(record["name"])
        if "files" not in record or not record.get("restorations"):
            failed.append((input_path(record), record.get("message") or "has no result"))
            continue
        samples = max(samples, len(record["restorations"]))
        path, source = out / record["restorations"][0]["image"], input_path(record)
        given = Input(Path(source), name, functools.partial(read_again, source))
        found[name] = (Input(path, name), given)
    if not found:
        raise InputError(f"{folder} is the folder of a job without a result")
    if samples > 1:
        say(f"{folder}: of {samples} samples of a picture the first is evaluated")
    return found


def by_name(
    folder: str | os.PathLike[str], failed: list[tuple[str, str]], say: Report
) -> dict[str, Input]:
    """The pictures of a plain folder by name; arguments and errors as of `pictures_of`."""
    pictures, problems = collect_inputs([folder], report=lambda line: say(f"{folder}: {line}"))
    failed += [(problem.source, problem.reason) for problem in problems]
    return {picture.name: picture for picture in pictures}


def note_missing(
    folder: str | os.PathLike[str],
    pictures: Mapping[str, Any],
    counterparts: Mapping[str, Input] | None,
    what: str,
    failed: list[tuple[str, str]],
    say: Report,
) -> None:
    """Lists pictures without a counterpart among the failures, and tells of the converse.

    Args:
        folder: The folder of the pictures.
        pictures: Restored pictures by name, of `pictures_of`.
        counterparts: Originals or inputs by name; None if there is no such folder.
        what: What the counterparts are called.
        failed: Receives the pictures without one.
        say: Receives a line of the counterparts without a picture.
    """
    if counterparts is None:
        return
    failed += [
        (printable(pictures[name][0].path), f"there is no {what} called {name}")
        for name in pictures
        if name not in counterparts
    ]
    left = [name for name in counterparts if name not in pictures]
    if left:
        say(f"{folder} has no restoration of {listed(left)}")


def listed(names: Sequence[str]) -> str:
    """The first names in a line, and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed(list("abcdefg"))
        ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
