"""The errors whose message is for the user.

The command line prints the message of an `Error` and exits with its exit code. Any other exception
is a defect of the program or of the call, and keeps its traceback: a pure function that is called
with arrays of wrong shapes raises a plain `ValueError`.
"""

from typing import ClassVar


class Error(Exception):
    """Base class; the message is one sentence: what was expected, what was given, what to do."""

    exit_code: ClassVar[int] = 1
    """Exit code of the command line: 1 where something failed, 2 where the usage is wrong."""


class UsageError(Error, ValueError):
    """A request that cannot be started; the message is one sentence for the user."""

    exit_code = 2
