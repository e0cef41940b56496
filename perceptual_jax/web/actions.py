"""What the controls of the page do, without the page: functions of a user's session.

None of them raises: what is refused is said on the page.
"""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from perceptual_jax.errors import Error, UsageError
from perceptual_jax.io.files import reason_of, save_json
from perceptual_jax.io.images import read_image, reduce_picture, write_png
from perceptual_jax.web import html
from perceptual_jax.web.events import Outcome
from perceptual_jax.web.requests import Request
from perceptual_jax.web.restoring import Tools, look_at
from perceptual_jax.web.sessions import Sessions

SLIDER = 1536
"""Shorter side in pixels of what the slider shows; the files to download have all pixels."""


class Chosen(NamedTuple):
    """A picture was chosen."""

    file: Path | None
    """Where it is now; None if it is refused."""
    seen: str
    """What is known of it, as HTML."""


class Shown(NamedTuple):
    """What the page shows of a run."""

    status: str
    """HTML."""
    works: bool
    """Whether the run goes on."""
    outcome: Outcome | None = None


class Actions:
    """The actions of all users, each of whom is known by the key of a session."""

    def __init__(self, tools: Tools, sessions: Sessions):
        """Does nothing yet."""
        self._tools, self._sessions = tools, sessions

    def choose(self, key: str, file: Path, degradation: str, *, keep: bool = False) -> Chosen:
        """Takes a picture that has arrived into the session, and looks at it.

        Args:
            key: Of the session.
            file: The picture, which is moved.
            degradation: As in `Request`.
            keep: Whether the file is copied instead.
        """
        try:
            chosen = self._sessions.of(key).choose(file, keep=keep)
        except Exception as error:
            return Chosen(None, _refusal(error))
        return Chosen(chosen, self.look(chosen, degradation))

    def look(self, file: Path | None, degradation: str) -> str:
        """What is known of a chosen picture, as HTML; nothing without one."""
        if file is None:
            return ""
        try:
            request = Request(_read(file), file.name, degradation=degradation)
            return html.look_html(look_at(self._tools, request))
        except Exception as error:
            return _refusal(error)

    def restore(self, key: str, file: Path | None, **asked: Any) -> Iterator[Shown]:
        """Restores a chosen picture; yields what is to be shown, the last without `works`.

        Args:
            key: Of the session.
            file: The picture.
            asked: Fields of `Request`.
        """
        session, done = self._sessions.of(key), None
        try:
            if file is None:
                raise UsageError("choose a picture first")
            request = Request(_read(file), file.name, **asked)
            yield Shown(html.busy_html("Reading the picture"), True)
            for event in session.begin(self._sessions.queue, request):
                if isinstance(event, Outcome):
                    done = event
                else:
                    yield Shown(html.event_html(event), True)
        except Exception as error:
            yield Shown(_refusal(error), False)
        else:
            session.outcome = done
            yield Shown("", False, done)

    def cancel(self, key: str) -> str:
        """Cancels the run of the session, if there is one; the status until it ends, as HTML."""
        if (run := self._sessions.of(key).run) is None:
            return ""
        self._sessions.queue.cancel(run)
        return html.busy_html("Cancelling: the search ends at its next piece")

    def leave(self, key: str) -> None:
        """Ends the session."""
        self._sessions.forget(key)

    def pair(self, key: str, sample: int) -> tuple[Path, Path] | None:
        """Files of the given picture and of a sample, of one size, for the slider."""
        outcome = self._sessions.of(key).outcome
        if outcome is None:
            return None
        after = outcome.pictures[sample]
        pixels = reduce_picture(read_image(after), SLIDER)
        height, width, _ = pixels.shape
        before = Image.fromarray(outcome.before).resize((width, height), Image.Resampling.LANCZOS)
        folder = after.parent / "shown"
        folder.mkdir(exist_ok=True)
        files = folder / "given.png", folder / f"restored-{sample}.png"
        write_png(files[0], np.asarray(before))
        write_png(files[1], pixels)
        return files

    def downloads(self, key: str) -> list[Path]:
        """The files to download: the pictures, and the record."""
        outcome = self._sessions.of(key).outcome
        if outcome is None:
            return []
        first = outcome.pictures[0]
        record = first.parent / "record" / f"{outcome.record['name']}.json"
        record.parent.mkdir(exist_ok=True)
        save_json(record, outcome.record)
        return [*outcome.pictures, record]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"the picture is gone ({reason_of(error)}); choose it again") from error


def _refusal(error: Exception) -> str:
    """What the page says of an error; the terminal gets the details of one that is a defect."""
    if isinstance(error, Error):
        return html.refusal_html(str(error))
    traceback.print_exception(error, file=sys.stderr)
    return html.refusal_html(
        "something unexpected went wrong; the terminal of the server has the details"
    )
