"""Locks between processes, which the operating system drops when their holder dies."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def file_lock(path: Path, *, timeout: float = 0.0, poll: float = 0.1) -> Iterator[bool]:
    """Holds the lock of a file inside the `with` block, and yields whether it was acquired.

    Where a file system has no locks, processes do not exclude each other: the lock is always free.
    A marker file instead would outlive its holder.

    Args:
        path: The file; it and its folders are made, and not removed.
        timeout: Seconds to wait for another process that has the lock.
        poll: Seconds between two tries.

    Raises:
        OSError: If the file cannot be made or opened.
    """
    lock = FileLock(path, timeout=timeout, poll_interval=poll, fallback_to_soft=False)
    held = True
    try:
        lock.acquire()
    except Timeout:
        held = False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield held
    finally:
        lock.release()
