"""Opens files that people name, and nothing else that has a path.

Reading from a pipe or a device may wait for ever or have effects, so what is not a regular file is
refused before it is opened.
"""

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path) -> None:
    """Checks that a path leads to a regular file, through links where there are any.

    Raises:
        OSError: If it leads to anything else or nowhere; its `strerror` says which.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = next((kind for test, kind in _KINDS if test(mode)), "of an unknown kind")
        reason = f"it is {kind}, not a regular file; copy its content to a file first"
        raise OSError(errno.EINVAL, reason, str(path))


def open_regular(path: Path) -> io.BufferedReader:
    """Opens a regular file for reading, as `check_regular` checks it; it never waits.

    Raises:
        OSError: If it is anything else, or cannot be opened.
    """
    check_regular(path)
    # The path may have become another since; with O_NONBLOCK even a pipe opens at once.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return open(handle, "rb")
