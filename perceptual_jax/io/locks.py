"""Locks between processes that the operating system drops when their holder dies, however it dies.

SQLite's file lock is the one that every platform's standard library has.
"""

import sqlite3
from pathlib import Path


def open_lock(path: Path) -> sqlite3.Connection:
    """The lock of this file, not yet taken; closing it gives it back."""
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def take(lock: sqlite3.Connection) -> bool:
    """Takes a lock; False if another process has it.

    Where a file system has no locks, two processes are not told apart: then it is always taken.
    """
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode != sqlite3.SQLITE_BUSY
    return True
