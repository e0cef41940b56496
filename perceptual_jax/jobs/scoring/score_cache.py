"""Scores that are kept between runs: a line of JSON for each picture, by the content of its files.

A file belongs to one folder of restored pictures. Lines are appended whole, so several processes
may evaluate one folder, and a run that is killed loses the picture it was at.
"""

import base64
import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from perceptual_jax.errors import Error
from perceptual_jax.evaluation.scores import Scored
from perceptual_jax.io.files import cache_folder, make_folder
from perceptual_jax.jobs.log import Lines, read_lines


class ScoreCache:
    """The known scores of a folder's pictures. Reading and adding are safe in threads."""

    def __init__(self, folder: str | os.PathLike[str], say: Callable[[str], None]):
        """Reads what earlier runs kept.

        Args:
            folder: The folder of restored pictures.
            say: Told once if scores cannot be kept.
        """
        place = os.path.realpath(folder)
        name = hashlib.sha256(os.fsencode(place)).hexdigest()[:20]
        self._path = cache_folder() / "scores" / f"{name}.jsonl"
        self._say, self._lines = say, Lines(self._path)
        self._keeps = True
        self._known = {
            line["key"]: scored for line in read_lines(self._path) if (scored := _scored(line))
        }

    def get(self, key: str) -> Scored | None:
        """The scores under this key, if they are known."""
        return self._known.get(key)

    def add(self, key: str, scored: Scored) -> None:
        """Keeps scores, as far as the cache folder can be written."""
        self._known[key] = scored
        if not self._keeps:
            return
        line = {
            "key": key,
            # JSON has no infinity and no NaN.
            "scores": {name: repr(float(value)) for name, value in scored.scores.items()},
            "features": {name: _encoded(value) for name, value in scored.features.items()},
            "refused": scored.refused,
        }
        try:
            make_folder(self._path.parent)
            self._lines.add(line)
        except Error as error:
            self._keeps = False
            self._say(f"scores are not kept for a next run: {error}")


def _encoded(features: np.ndarray) -> str:
    return base64.b64encode(np.asarray(features, "<f4").tobytes()).decode()


def _scored(line: dict[str, Any]) -> Scored | None:
    """The scores of a line; None if it is damaged."""
    try:
        scores = {str(name): float(value) for name, value in line["scores"].items()}
        features = {
            str(name): np.frombuffer(base64.b64decode(text), "<f4").reshape(2, -1)
            for name, text in line["features"].items()
        }
        refused = {str(name): str(reason) for name, reason in line["refused"].items()}
        return Scored(scores, features, refused) if isinstance(line["key"], str) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
