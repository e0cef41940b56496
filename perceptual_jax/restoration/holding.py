"""A process's place in a job's folder: of one living process at a time, free again when it dies.

On this machine's file systems the operating system drops a lock when its holder dies, however it
dies. Stores have no locks: there a process lives as long as it renews what it says of itself, and
one that fell silent is given `LEASE_S` before its place is another's.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from perceptual_jax.checked import UsageError
from perceptual_jax.data.images import WriteError, is_alive, load_json, remove_leftovers, save_json
from perceptual_jax.data.locks import open_lock, take
from perceptual_jax.data.places import Place, names_in
from perceptual_jax.restoration.shares import Share

_FOLDER = ".processes"
"""In a job's folder: a state for each process, and a lock where there are locks."""

LEASE_S = 60.0
"""In a store, a process that has said nothing for so long is dead."""

_RENEW_S = 10.0
_BEAT_S = 2.0
_SETTLE_S = 0.5


class Heartbeat:
    """Says in a file, every few seconds, how its process is getting on."""

    def __init__(self, path: Place, about: dict[str, Any]):
        """Writes nothing yet.

        Args:
            path: The file.
            about: What stays as it is.
        """
        self._path = path
        self._about = about | {"token": uuid.uuid4().hex}
        self._now: dict[str, Any] = {"started": time.time()}
        self._ended = threading.Event()
        self._every = _BEAT_S if isinstance(path, Path) else _RENEW_S
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def note(self, **now: Any) -> None:
        """Values that the file will have from its next writing on."""
        self._now |= now

    def is_own(self) -> bool:
        """Whether the file is still what this process wrote."""
        return read_state(self._path).get("token") == self._about["token"]

    def __enter__(self) -> "Heartbeat":
        """Writes the file.

        Raises:
            WriteError: If it cannot be written.
        """
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Writes how it ended, as far as that can be written."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(WriteError):
            self._write(ended=True)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            with contextlib.suppress(WriteError):
                self._write()

    def _write(self, **more: Any) -> None:
        save_json(self._path, self._about | self._now | {"updated": time.time()} | more)


@contextlib.contextmanager
def hold(
    out: Place, share: Share, *, lease: float = LEASE_S, settle: float = _SETTLE_S
) -> Iterator[Heartbeat]:
    """Keeps a process's place in a job's folder.

    Args:
        out: The folder.
        share: The place.
        lease: In a store, seconds after which a process that has said nothing is dead.
        settle: In a store, seconds after which of two that begin at once the last to write is seen.

    Raises:
        UsageError: If another living process has this place, or is one of another number.
        WriteError: If the folder cannot be written to.
    """
    folder = out / _FOLDER
    if isinstance(out, Path):
        folder.mkdir(exist_ok=True)
        remove_leftovers(out)
    for index in _indices(folder):
        _look_at_other(out, index, share, lease)
    about = {"host": socket.gethostname(), "pid": os.getpid(), "processes": share.count}
    state = _state(folder, share.index)
    with contextlib.ExitStack() as stack:
        if isinstance(folder, Path):
            lock = stack.enter_context(contextlib.closing(open_lock(_lock(folder, share.index))))
            # Another one may just be looking whether this place is taken.
            free = any(take(lock) or time.sleep(0.1) for _ in range(3))
        else:
            free = not _lives(folder, share.index, lease)
        if not free:
            raise UsageError(_taken(out, read_state(state), lease))
        beat = stack.enter_context(Heartbeat(state, about))
        if isinstance(folder, UPath):
            time.sleep(settle)  # of two that begin at once, the last to write stays
            if not beat.is_own():
                raise UsageError(_taken(out, read_state(state), lease))
        yield beat


def states(out: Place) -> list[dict[str, Any]]:
    """What the processes of a job last said of themselves, and whether each is alive."""
    folder, found = out / _FOLDER, []
    for index in _indices(folder):
        if state := read_state(_state(folder, index)):
            found.append(state | {"process": index, "alive": _lives(folder, index, LEASE_S)})
    return found


def read_state(path: Place) -> dict[str, Any]:
    """A process's state; empty if there is none."""
    return load_json(path) or {}


def _look_at_other(out: Place, index: int, share: Share, lease: float) -> None:
    """Refuses if this place of another one is taken, unless by one of the same job."""
    folder = out / _FOLDER
    if index == share.index:
        return
    if not _lives(folder, index, lease):
        if index >= share.count:  # of an earlier run with more processes
            _state(folder, index).unlink(missing_ok=True)
    elif not _agrees(_state(folder, index), share):
        count = read_state(_state(folder, index)).get("processes")
        raise UsageError(
            f"{out} is being written to by {count} processes at this moment; wait for them, or "
            "choose another folder"
        )


def _taken(out: Place, state: dict[str, Any], lease: float) -> str:
    advice = "wait for it, or choose another folder"
    if isinstance(out, UPath):
        advice = f"wait for it ({lease:.0f} s after it died), or choose another folder"
    who = f"({state.get('host')}, pid {state.get('pid')})"
    return f"{out} is being written to by another process {who}; {advice}"


def _agrees(state: Place, share: Share) -> bool:
    """Whether a living process is of the same number; it says so just after it has begun."""
    for _ in range(30):
        if read_state(state).get("processes") == share.count:
            return True
        time.sleep(0.1)
    return False


def _state(folder: Place, index: int) -> Place:
    return folder / f"{index:05d}.json"


def _lock(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.lock"


def _indices(folder: Place) -> list[int]:
    stems = {name.partition(".")[0] for name in names_in(folder)}
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def _lives(folder: Place, index: int, lease: float) -> bool:
    if isinstance(folder, Path):
        path = _lock(folder, index)
        if not path.exists():
            return False
        with contextlib.closing(open_lock(path)) as lock:
            return not take(lock)
    state = read_state(_state(folder, index))
    if not state or state.get("ended") or time.time() - state["updated"] > lease:
        return False
    return state["host"] != socket.gethostname() or is_alive(state["pid"])
