"""Shared parts of the command line's verbs: options, output on standard error, signals."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

Inputs = Positional[Annotated[tuple[str, ...], arg(metavar="INPUT...", help_behavior_hint="")]]
Folder = Annotated[Path, arg(metavar="DIR")]
Name = Positional[Annotated[str, arg(metavar="NAME")]]
Number = Annotated[int, arg(metavar="N")]


def optional(default: str, *, metavar: str) -> Any:
    """An option whose default is None, for which the help shows the given text as default."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def conclude(failed: Sequence[tuple[str, str]], counts: str) -> int:
    """Lists the failures, prints the counts, and returns the exit code."""
    for source, reason in failed:
        say(f"{source}: {reason}")
    say(counts)
    return 1 if failed else 0


def enable_compilation_cache() -> None:
    """Enables JAX's persistent compilation cache, in the cache folder beside the weights."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import jax

    from perceptual_jax.io.files import cache_folder

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, for example because its host is preempted."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated`, so that finished results are written before the exit."""

    def terminate(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleanup
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(line: str) -> None:
    """Prints a line on standard error."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def progress_bar(verb: str) -> Iterator[Callable[[float, int], None] | None]:
    """A progress bar on standard error with rate and time left; None unless it is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:g}  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # The first steps include compilation, so only the last two minutes count for the speed.
    bar = Progress(*columns, console=Console(stderr=True), speed_estimate_period=120)
    with bar:
        task = bar.add_task(verb, total=None, visible=False, rate="")

        def update(done: float, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{60 * speed:.1f} a minute" if speed else ""
            bar.update(task, completed=done, total=total, visible=total > 0, rate=rate)

        yield update
