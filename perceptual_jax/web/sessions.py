"""The folders and runs of the page's users, for as long as each of them stays."""

import contextlib
import secrets
import shutil
import threading
from pathlib import Path

from perceptual_jax.errors import UsageError
from perceptual_jax.web.events import Outcome
from perceptual_jax.web.queue import Queue, Run
from perceptual_jax.web.requests import Request


class Session:
    """What one user has here: a chosen picture, a run, and its outcome."""

    def __init__(self, folder: Path):
        """Makes the folder, which no other user can guess."""
        self.folder = folder / secrets.token_hex(16)
        self.folder.mkdir(mode=0o700)
        self.run: Run | None = None
        self.outcome: Outcome | None = None

    def choose(self, file: Path, *, keep: bool = False) -> Path:
        """Takes a picture into the session, in place of the one before.

        Args:
            file: The picture, which is moved.
            keep: Whether it is copied instead.

        Raises:
            UsageError: If it is gone.
        """
        chosen = self._emptied("chosen") / file.name
        try:
            shutil.copyfile(file, chosen)
        except OSError as error:
            raise UsageError("the picture has not arrived; choose it again") from error
        if not keep:
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                file.parent.rmdir()
        return chosen

    def begin(self, queue: Queue, request: Request) -> Run:
        """Puts a request into the queue, in place of the one before.

        Raises:
            UsageError: If too many wait.
        """
        self.stop(queue)
        self.outcome = None
        self.run = queue.submit(request, self._emptied("run"))
        return self.run

    def stop(self, queue: Queue) -> None:
        """Cancels the run, and waits until nothing is written any more."""
        if self.run is not None:
            queue.cancel(self.run)
            self.run.ended.wait()

    def _emptied(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


class Sessions:
    """The sessions of a server by the keys that it gives them."""

    def __init__(self, folder: Path, queue: Queue):
        """No session yet; each gets a folder below `folder`."""
        self.folder, self.queue = folder, queue
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def of(self, key: str) -> Session:
        """The session of a key, begun at its first use."""
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = Session(self.folder)
            return self._sessions[key]

    def forget(self, key: str) -> None:
        """Ends a session: cancels its run and deletes its files."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.stop(self.queue)
            shutil.rmtree(session.folder, ignore_errors=True)
