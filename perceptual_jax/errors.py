"""The errors whose message is for the user.

The command line prints the message of an `Error` and ends with its exit code. Any other exception
is a defect, of the program or of the call, and keeps its traceback: so a pure function that is
called with arrays of wrong shapes raises a `ValueError` that is no `Error`.
"""

from typing import ClassVar


class Error(Exception):
    """Base of them all; the message is one sentence: what was expected, what came, what to do."""

    exit_code: ClassVar[int] = 1
    """What the command line ends with: 1 where something failed, 2 where the usage is wrong."""


class UsageError(Error, ValueError):
    """What was asked for cannot be begun; the message is one sentence for the user."""

    exit_code = 2
