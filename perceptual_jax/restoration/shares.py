"""Which process of a job restores what, and that no other one does.

A picture belongs to the process that the hash of its name falls to: a matter of the name and of
the number of processes alone. So any number of processes can go on with what any other number
began, and none of them has to hear of another.
"""

import contextlib
import dataclasses
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perceptual_jax.checked import UsageError
from perceptual_jax.data.images import load_json, remove_leftovers, save_json
from perceptual_jax.data.locks import open_lock, take

_FOLDER = ".processes"
"""In a job's folder: a lock and a state for each process."""


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


@contextlib.contextmanager
def hold(out: Path, share: Share) -> Iterator[Path]:
    """Keeps a process's place in a job's folder; gives the path of its state.

    The operating system drops the lock when its holder dies, however it dies.

    Raises:
        UsageError: If another living process has this place, or is one of another number.
    """
    folder = out / _FOLDER
    folder.mkdir(exist_ok=True)
    remove_leftovers(out)
    for lock in sorted(folder.glob("*.lock")):
        index = int(lock.stem)
        if index != share.index and not _is_held(lock):
            if index >= share.count:  # of an earlier run with more processes
                lock.with_suffix(".json").unlink(missing_ok=True)
        elif index != share.index and not _agrees(folder / f"{index:05d}.json", share):
            count = read_state(folder / f"{index:05d}.json").get("processes")
            raise UsageError(
                f"{out} is being written to by {count} processes at this moment; wait for "
                "them, or choose another folder"
            )
    path, state = (folder / f"{share.index:05d}{end}" for end in (".lock", ".json"))
    with contextlib.closing(open_lock(path)) as lock:
        # Another one may just be looking whether this place is taken.
        if not any(take(lock) or time.sleep(0.1) for _ in range(3)):
            there = read_state(state)
            raise UsageError(
                f"{out} is being written to by another process ({there.get('host')}, "
                f"pid {there.get('pid')}); wait for it, or choose another folder"
            )
        about = {"host": socket.gethostname(), "pid": os.getpid(), "processes": share.count}
        save_json(state, about)
        yield state


def states(out: Path) -> list[dict[str, Any]]:
    """What the processes of a job last said of themselves, and whether each is alive."""
    found = []
    for path in sorted((out / _FOLDER).glob("*.json")):
        alive = _is_held(path.with_suffix(".lock"))
        found.append(read_state(path) | {"process": int(path.stem), "alive": alive})
    return found


def read_state(path: Path) -> dict[str, Any]:
    """A process's state; empty if there is none."""
    return load_json(path) or {}


def _agrees(state: Path, share: Share) -> bool:
    """Whether a living process is of the same number; it says so just after it has begun."""
    for _ in range(30):
        if read_state(state).get("processes") == share.count:
            return True
        time.sleep(0.1)
    return False


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with contextlib.closing(open_lock(path)) as lock:
        return not take(lock)
