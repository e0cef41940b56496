"""Unique names for results, so that no two files of a run share a path.

The name of an input is the stem of its results. Only where inputs would share a name do they get
`-` and 8 hexadecimal digits of a hash of their absolute path as a suffix, so that the order of the
sources does not matter.

A verb may write files beside `NAME.png`, such as a map `NAME_nll.png`. An input called `NAME_nll`
would then share a file with `NAME`, so it gets a hash as well. Where the folder already has results
of an earlier run, their names stay and new inputs make way.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from perceptual_jax.io.files import Place

MAX_NAME_BYTES = 200
"""Longest name in bytes: file systems allow 255, and results append to it."""


def shortened(base: str, file: Place) -> str:
    """A name that is short enough for file systems, and text in UTF-8 on the disk."""
    raw = os.fsencode(base)
    name = raw.decode(errors="replace")
    if len(raw) > MAX_NAME_BYTES:
        name = f"{raw[:MAX_NAME_BYTES].decode(errors='ignore')}-{digest(file)}"
    # Where the locale is ASCII, this is the form in which a file of this name can be opened.
    return os.fsdecode(name.encode())


def unique_names(
    bases: dict[Place, str],
    *,
    reserved: Collection[str] = (),
    derived: re.Pattern[str] | None = None,
    taken: Collection[str] = (),
) -> dict[Place, str]:
    """Gives each file a name, such that the results of no two files share a path.

    Args:
        bases: The preferred name of each file.
        reserved: Names that no file may get.
        derived: Matches the end of a stem that a verb appends to a name for its other files; None
            if it writes one file for each name.
        taken: Names with results of an earlier run in the folder. A file of exactly such a name
            keeps it, since it may be the same input.

    Returns:
        The names, different also where case or Unicode normal forms are not distinguished.
    """
    names = dict(bases)
    kept = {folded(name) for name in taken}
    # Names whose results include a file of an earlier run that has another name.
    roots = {root for name in kept for root in _roots(name, derived)} - kept
    forbidden = {folded(name) for name in reserved} | roots
    # Another round is needed only if a file has the name of another one with its digest.
    while True:
        counts = Counter(folded(name) for name in names.values())
        there = counts.keys() | kept
        clashing = []
        for file, name in names.items():
            key = folded(name)
            others = kept if key in kept else there
            is_derived = any(root in others for root in _roots(key, derived))
            if counts[key] > 1 or key in forbidden or is_derived:
                clashing.append(file)
        if not clashing:
            return names
        for file in clashing:
            names[file] += f"-{digest(file)}"


def _roots(name: str, derived: re.Pattern[str] | None) -> Iterator[str]:
    """Yields the name whose results include a file with this stem, if there is one."""
    match = derived.search(name) if derived is not None else None
    if match is not None and match.start() > 0:
        yield name[: match.start()]


def folded(name: str) -> str:
    """A normal form, equal for names that some file system does not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


def digest(path: Place) -> str:
    """8 hexadecimal digits of a hash of a file's absolute path."""
    name = os.path.abspath(path) if isinstance(path, Path) else str(path)
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
