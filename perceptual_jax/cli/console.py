"""Output on standard error: lines, progress, and the options --quiet and --json-log.

A terminal gets a bar. Where there is none, as in a job that nobody watches, a line every half
minute says what is done, at which rate, and how long it will take.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from perceptual_jax.errors import Error

Event = Literal["note", "progress", "failure", "summary", "error"]

EVERY_S = 30.0
"""Seconds between two lines of progress."""

_RATE_S = 120.0
"""Seconds that count for the rate, since the first steps include compilation."""


@dataclasses.dataclass(frozen=True)
class Console:
    """What is written on standard error."""

    quiet: bool = False
    """Write failures and errors only, no progress."""
    json_log: bool = False
    """Write a JSON object on each line, for machines."""


USUAL = Console()
_chosen = USUAL


def choose(console: Console) -> None:
    """Sets the style of all later lines of this process."""
    global _chosen
    _chosen = console


def say(line: str, *, event: Event = "note", **fields: Any) -> None:
    """Writes a line on standard error.

    Args:
        line: The text.
        event: Its kind; with --quiet only failures and errors are written.
        fields: Further values for --json-log.
    """
    if sys.stderr is None or (_chosen.quiet and event not in ("failure", "error")):
        return
    if _chosen.json_log:
        line = json.dumps({"time": time.time(), "event": event, "message": line} | fields)
    # Nobody may be listening any more, which is no reason to stop.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def conclude(failed: Sequence[tuple[str, str]], counts: str) -> int:
    """Lists the failures, prints the counts, and returns the exit code."""
    for source, reason in failed:
        say(f"{source}: {reason}", event="failure", source=source, reason=reason)
    say(counts, event="summary", failed=len(failed))
    return 1 if failed else 0


Update = Callable[[float, int], None]
"""Receives what is done, and the total."""


@contextlib.contextmanager
def progress_bar(verb: str) -> Iterator[Update | None]:
    """Shows progress with rate and time left: a bar on a terminal, else lines; None if quiet."""
    if _chosen.quiet or sys.stderr is None:
        yield None
    elif _chosen.json_log or not sys.stderr.isatty():
        with _Lines(verb) as update:
            yield update
    else:
        with _bar(verb) as update:
            yield update


class _Lines:
    """Writes a line of progress every half minute, from a thread."""

    def __init__(self, verb: str):
        self._verb, self._started = verb, time.monotonic()
        self._seen: deque[tuple[float, float]] = deque(maxlen=1000)
        self._total = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Update:
        self._thread.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _update(self, done: float, total: int) -> None:
        self._total = total
        now = time.monotonic()
        if not self._seen or now - self._seen[-1][0] > 0.25 or done >= total:
            self._seen.append((now, done))

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._say()

    def _say(self) -> None:
        now, seen = time.monotonic(), list(self._seen)
        passed = now - self._started
        if not seen or not self._total:
            say(f"{self._verb}: {passed:.0f} s so far", event="progress", seconds=passed)
            return
        done = seen[-1][1]
        begun, before = next((one for one in seen if now - one[0] <= _RATE_S), seen[-1])
        rate = (done - before) / (now - begun) if now > begun else 0.0
        line = f"{self._verb}: {done:.1f} of {self._total}"
        fields = {"done": done, "total": self._total, "seconds": passed}
        if rate > 0:
            left = (self._total - done) / rate
            line += f", {60 * rate:.1f} a minute, {_duration(left)} left"
            fields |= {"per_minute": 60 * rate, "seconds_left": left}
        else:
            line += f", {passed:.0f} s so far"
        say(line, event="progress", **fields)


def _duration(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> _duration(40), _duration(600), _duration(9000)
        ('40 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def _bar(verb: str) -> Iterator[Update]:
    import rich.console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:g}  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = rich.console.Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=_RATE_S) as bar:
        task = bar.add_task(verb, total=None, visible=False, rate="")

        def update(done: float, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{60 * speed:.1f} a minute" if speed else ""
            bar.update(task, completed=done, total=total, visible=total > 0, rate=rate)

        yield update


def prepare_streams() -> None:
    """Opens the null device for standard streams that the caller closed, and escapes other text.

    Otherwise the next file that is opened gets their number, and a library that prints writes into
    it. Text that the locale cannot encode, such as a file's name under `LC_ALL=C`, is escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class OutputError(Error, OSError):
    """Standard output cannot be written; the message is one sentence for the user."""


def show(*lines: object) -> None:
    """Prints the result of a verb on standard output, a line for each value.

    Raises:
        OutputError: If it cannot be written.
        SystemExit: If whoever read it has gone, such as `head`.
    """
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError as error:
        _discard_output()
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write to standard output ({reason})") from error


def _discard_output() -> None:
    """Leads standard output to the null device, so that the interpreter's exit says no more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
