"""The division of a job among processes, and the lease that each holds in the job's folder.

The hash of a picture's name decides which process restores it; it depends on the name and the
number of processes alone. So any number of processes can resume the job that any other number
began, and none of them has to communicate with another.

Each process index is leased to one living process at a time, and free again when that one dies. On
local file systems the lease is a lock, which the operating system drops when its holder dies,
however it dies. Stores have no locks: there a process renews its lease by a heartbeat, a state file
that it rewrites every few seconds, and a lease that was not renewed for `LEASE_S` has expired.
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
    make_folder,
    names_in,
    reason_of,
    remove_leftovers,
    save_json,
)
from perceptual_jax.io.locks import file_lock


@dataclasses.dataclass(frozen=True)
class Share:
    """One process among those of a job; the default is a job of a single process."""

    index: int = 0
    count: int = 1

    def owns(self, name: str) -> bool:
        """Whether a picture of this name is restored by this process.

        The faces of a photograph, `NAME/face-1`, belong to the process that restores `NAME`.

        Example:
            >>> [[name for name in "abcdef" if Share(i, 2).owns(name)] for i in (0, 1)]
            [['a', 'b', 'c', 'e', 'f'], ['d']]
        """
        digest = hashlib.sha256(name.partition("/")[0].encode("utf-8", "surrogateescape")).digest()
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
    """Finds this process's index through JAX's multi-controller runtime, if asked for.

    Args:
        distributed: Discover the other processes: on TPU pods, under SLURM and Open MPI.
        coordinator: Address and port of the first process, where they are not discovered.
        num_processes: With `coordinator`, the number of processes.
        process_id: With `coordinator`, the index of this process, from 0.

    Returns:
        The share of this process.

    Raises:
        UsageError: If the arguments are incomplete, or the other processes are not found.
    """
    explicit = (coordinator, num_processes, process_id)
    if not distributed and explicit == (None, None, None):
        return Share()
    if not distributed and None in explicit:
        raise UsageError(
            "coordinator, num_processes and process_id go together; name all three, or use "
            "--distributed alone"
        )
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would handle SIGTERM itself
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
        share = Share(jax.process_index(), jax.process_count())
        # The processes exchange nothing more. Without the runtime, the death of one does not end
        # the others, and a finished one does not wait for them.
        jax.distributed.shutdown()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the other processes of this job cannot be found ({reason})") from error
    return share


_FOLDER = ".processes"
"""Folder of a job's process states, with a lock for each where the file system has locks."""

LEASE_S = 60.0
"""Seconds after which a lease in a store has expired if no heartbeat renewed it."""

_RENEW_S = 10.0
_WRITE_S = 2.0
_SETTLE_S = 0.5


class Heartbeat:
    """Writes the state of its process to a file, every few seconds, in a thread."""

    def __init__(self, path: Place, constant: dict[str, Any]):
        """Writes nothing yet.

        Args:
            path: The file.
            constant: Values that do not change.
        """
        self._path = path
        self._constant = constant | {"token": uuid.uuid4().hex}
        self._current: dict[str, Any] = {"started": time.time()}
        self._ended = threading.Event()
        self._every = _WRITE_S if isinstance(path, Path) else _RENEW_S
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def note(self, **values: Any) -> None:
        """Sets values of the state; the next heartbeat writes them."""
        self._current |= values

    def is_own(self) -> bool:
        """Whether the file was last written by this process."""
        return read_state(self._path).get("token") == self._constant["token"]

    def __enter__(self) -> "Heartbeat":
        """Writes the file and starts the thread.

        Raises:
            WriteError: If it cannot be written.
        """
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the thread and marks the state as ended, if the file can still be written."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(WriteError):
            self._write(ended=True)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            with contextlib.suppress(WriteError):
                self._write()

    def _write(self, **more: Any) -> None:
        save_json(self._path, self._constant | self._current | {"updated": time.time()} | more)


@contextlib.contextmanager
def hold_lease(
    out: Place, share: Share, *, duration: float = LEASE_S, settle: float = _SETTLE_S
) -> Iterator[Heartbeat]:
    """Holds the lease of a process in a job's folder.

    Args:
        out: The job's folder.
        share: The process whose lease it is.
        duration: In a store, seconds after which a lease that was not renewed has expired.
        settle: In a store, seconds to wait after writing the state, so that of two processes that
            begin at once the first sees that the other has overwritten it.

    Raises:
        UsageError: If another living process holds this lease, or belongs to a job of another
            number of processes.
        WriteError: If the folder cannot be written to.
    """
    folder = out / _FOLDER
    if isinstance(out, Path):
        make_folder(folder)
        remove_leftovers(out)
    for index in _indices(folder):
        _refuse_conflict(out, index, share, duration)
    constant = {"host": socket.gethostname(), "pid": os.getpid(), "processes": share.count}
    state = _state(folder, share.index)
    with contextlib.ExitStack() as stack:
        if isinstance(folder, Path):
            # The timeout is for other processes, which take the lock to test whether it is held.
            try:
                free = stack.enter_context(file_lock(_lock(folder, share.index), timeout=0.3))
            except OSError as error:
                reason = reason_of(error)
                raise WriteError(f"cannot write in {out} ({reason}); choose another one") from error
        else:
            free = not _is_leased(folder, share.index, duration)
        if not free:
            raise UsageError(_conflict(out, read_state(state), duration))
        heartbeat = stack.enter_context(Heartbeat(state, constant))
        if isinstance(folder, UPath):
            time.sleep(settle)  # of two that begin at once, the last to write wins
            if not heartbeat.is_own():
                raise UsageError(_conflict(out, read_state(state), duration))
        yield heartbeat


def states(out: Place) -> list[dict[str, Any]]:
    """The last state of each process of a job, with its index and whether it is alive."""
    folder, found = out / _FOLDER, []
    for index in _indices(folder):
        if state := read_state(_state(folder, index)):
            found.append(state | {"process": index, "alive": _is_leased(folder, index, LEASE_S)})
    return found


def read_state(path: Place) -> dict[str, Any]:
    """A process's state; empty if there is none."""
    return load_json(path) or {}


def _refuse_conflict(out: Place, index: int, share: Share, duration: float) -> None:
    """Refuses if another living process belongs to a job of another number of processes."""
    folder = out / _FOLDER
    if index == share.index:
        return
    if not _is_leased(folder, index, duration):
        if index >= share.count:  # left by an earlier run with more processes
            _state(folder, index).unlink(missing_ok=True)
    elif not _has_count(_state(folder, index), share):
        count = read_state(_state(folder, index)).get("processes")
        raise UsageError(
            f"{out} is being written to by {count} processes at this moment; wait for them, or "
            "choose another folder"
        )


def _conflict(out: Place, state: dict[str, Any], duration: float) -> str:
    advice = "wait for it, or choose another folder"
    if isinstance(out, UPath):
        advice = f"wait for it ({duration:.0f} s after it died), or choose another folder"
    who = f"({state.get('host')}, pid {state.get('pid')})"
    return f"{out} is being written to by another process {who}; {advice}"


def _has_count(state: Place, share: Share) -> bool:
    """Whether a living process is one of `share.count`; waits for its first heartbeat."""
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


def _is_leased(folder: Place, index: int, duration: float) -> bool:
    if isinstance(folder, Path):
        path = _lock(folder, index)
        if not path.exists():
            return False
        # A folder that may only be read has no locks: its heartbeats tell.
        with contextlib.suppress(OSError), file_lock(path) as free:
            return not free
    state = read_state(_state(folder, index))
    if not state or state.get("ended") or time.time() - state["updated"] > duration:
        return False
    return state["host"] != socket.gethostname() or is_alive(state["pid"])
