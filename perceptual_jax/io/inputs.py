"""Resolves sources (files, folders, globs) to images and the names of their results.

The name of a result is the file's path below the given folder, without its extension, with `__` for
the separators. It does not depend on other files, so a second run with more files finds the results
of the first, except where results would share a path (`names`).
"""

import codecs
import glob
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from upath import UPath

from perceptual_jax.errors import UsageError
from perceptual_jax.io.bundles import BundleError, Member, members_of
from perceptual_jax.io.files import Place, is_remote, place_of
from perceptual_jax.io.formats import LeftOut
from perceptual_jax.io.names import shortened, unique_names
from perceptual_jax.io.own_files import is_own_file


class InputError(UsageError):
    """There is no image to work on; the message is one sentence for the user."""


class Input(NamedTuple):
    """An image file, or an image of a bundle, and the name of its results."""

    path: Place
    """The absolute path; for an image of a bundle, `Member.place`."""
    name: str
    """Stem of the results: unique in the run, also where case is ignored. It may contain dots. The
    faces of a photograph are called `NAME/face-1`, in a folder of the photograph's name."""
    read: Callable[[], bytes] | None = None
    """Reads the bytes of an image of a bundle; None for a file."""

    def read_bytes(self) -> bytes:
        """Reads the bytes of the image.

        Raises:
            OSError: If they cannot be read.
        """
        if self.read is None:
            return self.path.read_bytes()
        try:
            return self.read()
        except OSError:
            raise
        except Exception as error:  # A store's driver or a dataset may raise anything.
            raise OSError(str(error) or type(error).__name__) from error


class Problem(NamedTuple):
    """A source that gives no image."""

    source: str
    """The source as the user typed it, or a file below it."""
    reason: str
    """The reason, as the rest of a sentence that begins with `source`."""


def collect_inputs(
    sources: Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | UPath | None = None,
    reserved: Collection[str] = (),
    derived: re.Pattern[str] | None = None,
    taken: Collection[str] = (),
    report: Callable[[str], None] | None = None,
) -> tuple[list[Input], list[Problem]]:
    """Collects the images of the sources, each once, in the order of the sources, then by path.

    A folder (with all folders below it, each visited once however it is linked) and a glob (`*`,
    `?`, `[...]`, `**`) give their visible files with an image's extension; a file that is named
    itself is always an input. Archives, `tfds:` names and remote addresses give the images in
    them (`bundles`); `@FILE` is a text file with a source on each line. No image is decoded. Sheets
    and maps of this project are left out (`own_files`).

    Args:
        sources: Files, folders, globs, bundles and lists.
        out: Folder of the results. It is skipped in folders and globs that contain it, and a source
            in it is a problem, since a result could replace its own input.
        reserved: Names that no input may get.
        derived: See `unique_names`.
        taken: See `unique_names`.
        report: Receives a line that counts what folders, globs and archives left out, if anything.

    Returns:
        The inputs, and the sources without any: missing files, folders or globs without an image.

    Raises:
        InputError: If there is no input.
    """
    found: dict[str, tuple[Place, str]] = {}
    readers: dict[Place, Callable[[], bytes]] = {}
    problems: list[Problem] = []
    out = None if out is None else place_of(out)
    folder = out if isinstance(out, Path) else None
    store = out if isinstance(out, UPath) else None
    left_out = LeftOut()
    for source in _listed(sources, problems):
        members = _members(source, store, problems, left_out)
        if members is not None:
            for place, base, read in members:
                found.setdefault(str(place), (place, shortened(base, place)))
                readers.setdefault(place, read)
            continue
        if folder is not None and _is_within(source, folder):
            problems.append(Problem(source, "lies in the output folder; choose another one"))
            continue
        root, files = _candidates(source, folder, problems, left_out)
        faces = {file for file in files if not is_own_file(file)}
        left_out.own += len(files) - len(faces)
        if not files:
            problems.append(Problem(source, _why_nothing(source)))
        for file in sorted(faces):
            if not os.path.isfile(file):
                problems.append(Problem(str(file), "is not a file that can be read"))
                continue
            # A file in a linked folder is the same input, but two names in one folder are two.
            identity = os.path.join(os.path.realpath(file.parent), file.name)
            found.setdefault(identity, (Path(os.path.abspath(file)), _base_name(root, file)))
    if not found:
        reasons = [f"{source} {reason}" for source, reason in problems]
        reasons += [str(left_out)] if str(left_out) else []
        reasons = "; ".join(reasons) or "no file or folder was given"
        raise InputError(f"no image to work on: {reasons}")
    if report is not None and str(left_out):
        report(str(left_out))
    names = unique_names(dict(found.values()), reserved=reserved, derived=derived, taken=taken)
    return [Input(path, names[path], readers.get(path)) for path in names], problems


def _listed(sources: Iterable[str | os.PathLike[str]], problems: list[Problem]) -> Iterator[str]:
    """Yields the sources, with lists expanded; a list's paths are relative to its folder."""
    for source in [os.fspath(source) for source in sources]:
        if not source.startswith("@") or os.path.lexists(source):
            yield source
            continue
        path = Path(source[1:])
        try:
            lines = _decoded(path.read_bytes()).split("\n")
        except (OSError, ValueError) as error:
            problems.append(Problem(source, f"cannot be read as a list ({error})"))
            continue
        for line in map(str.strip, lines):
            if line and not line.startswith("#"):
                line = _unquoted(line, path.parent)
                inside = line.startswith("tfds:") or is_remote(line)
                yield line if inside else str(path.parent / line)


def _decoded(content: bytes) -> str:
    """The text of a list: UTF-8, or UTF-16 with a byte order mark, as editors write it.

    Bytes that are no UTF-8 stay those of file names.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("it is no text")
    # The names of files are bytes, decoded by the locale.
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))


def _unquoted(line: str, folder: Path) -> str:
    """A line without the quotation marks around it, unless a file is called like that."""
    quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if quoted and not os.path.lexists(folder / line) else line


def _members(
    source: str, out: UPath | None, problems: list[Problem], left_out: LeftOut
) -> list[Member] | None:
    try:
        members = members_of(source, left_out)
        if members and out is not None:
            members = [m for m in members if out not in (m.place, *m.place.parents)]
    except BundleError as error:
        problems.append(Problem(source, str(error)))
        return []
    if members == []:
        problems.append(Problem(source, "holds no image"))
    return members


def _candidates(
    source: str, out: str | os.PathLike[str] | None, problems: list[Problem], left_out: LeftOut
) -> tuple[Path, set[Path]]:
    """The folder to which names are relative, and the files that a source stands for."""
    path = Path(source)
    visited = set() if out is None else {os.path.realpath(out)}
    if os.path.isdir(source):
        return path, set(_walk(path, visited, problems, left_out))
    if os.path.lexists(source):
        return path.parent, {path}
    literal = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    root, pattern = Path(*literal), path.parts[len(literal) :]
    files = set()
    for match in _matches(root, pattern):
        if os.path.isdir(match):
            files.update(_walk(match, visited, problems, left_out))
        elif not (out is not None and _is_within(match, out)) and left_out.is_image(match.name):
            files.add(match)
    return root, files


def _walk(
    folder: Path, visited: set[str], problems: list[Problem], left_out: LeftOut
) -> Iterator[Path]:
    """Yields the images below a folder, skipping the real paths in `visited` and adding to them."""

    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), f"cannot be listed: {error.strerror}"))

    for here, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in files if left_out.is_image(name))


def _matches(root: Path, pattern: tuple[str, ...]) -> list[Path]:
    """Visible files and folders that match a pattern, sorted."""
    if not pattern:
        return []
    try:
        # Below `**`, pathlib follows no links (the glob module does), so loops do no harm.
        matches = sorted(root.glob(os.path.join(*pattern)))
    except (OSError, ValueError):
        return []
    return [
        match
        for match in matches
        if not any(part.startswith(".") for part in match.relative_to(root).parts)
    ]


def _is_within(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _why_nothing(source: str) -> str:
    if os.path.isdir(source):
        return "is a folder without an image"
    return "matches no image" if glob.has_magic(source) else "does not exist"


def _base_name(root: Path, file: Path) -> str:
    return shortened("__".join(file.relative_to(root).with_suffix("").parts), file)
