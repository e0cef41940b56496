"""Which process of a job restores what, and its place in the job's folder.

A picture belongs to the process that the hash of its name falls to: a matter of the name and of
the number of processes alone. So any number of processes can go on with what any other number
began, and none of them has to hear of another.

A place in the folder is of one living process at a time, free again when it dies. On this
machine's file systems the operating system drops a lock when its holder dies, however it dies.
Stores have no locks: there a process lives as long as it renews what it says of itself, and one
that fell silent is given `LEASE_S` before its place is another's.
"""

import contextlib
import dataclasses
import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import (
    Place,
    WriteError,
    is_alive,
    load_json,
    names_in,
    remove_leftovers,
    save_json,
)
from perceptual_jax.io.locks import open_lock, take


@dataclasses.dataclass(frozen=True)
class Share:
    """One process among those of a job; the default is the only one."""

    index: int = 0
    count: int = 1

    def owns(self, name: str) -> bool:
        """Whether a picture of this name is restored by this process.

        Example:
            >>> [[name for name in "abcdef" if Share(i, 2).owns(name)] for i in (0, 1)]
            [['a', 'b', 'c', 'e', 'f'], ['d']]
        """
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def file(self, stem: str, end: str) -> str:
        """The name of a file of this process: plain where there is only one.

        Example:
            >>> Share().file("results", ".jsonl"), Share(2, 4).file("results", ".jsonl")
            ('results.jsonl', 'results-00002.jsonl')
        """
        return f"{stem}{end}" if self.count == 1 else f"{stem}-{self.index:05d}{end}"


def join(
    *,
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Share:
    """Meets the other processes through JAX's multi-controller runtime, if asked for.

    Args:
        distributed: Find the others: on TPU pods, under SLURM and Open MPI.
        coordinator: Address and port of the first process, to name them all by hand.
        num_processes: With it, how many there are.
        process_id: With it, which one this is, from 0.

    Returns:
        Which process this is.

    Raises:
        UsageError: If they are incomplete, or the others are not found.
    """
    by_hand = (coordinator, num_processes, process_id)
    if not distributed and by_hand == (None, None, None):
        return Share()
    if not distributed and None in by_hand:
        raise UsageError(
            "coordinator, num_processes and process_id go together; name all three, or use "
            "--distributed alone"
        )
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
        share = Share(jax.process_index(), jax.process_count())
        # Nothing more is exchanged. Left alone, no process is ended by the death of another, and
        # none that is done waits for the others.
        jax.distributed.shutdown()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the other processes of this job cannot be found ({reason})") from error
    return share


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
