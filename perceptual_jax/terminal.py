"""What the tool shows while it works, on standard error."""

import contextlib
import sys
from collections.abc import Callable, Iterator


def say(line: str) -> None:
    """Prints a line on standard error."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def progress_bar(verb: str) -> Iterator[Callable[[float, int], None] | None]:
    """A bar on standard error with the rate and the time left; nothing where that is a file."""
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
    # The first steps wait for the compiler, so the speed is that of the last minutes only.
    bar = Progress(*columns, console=Console(stderr=True), speed_estimate_period=120)
    with bar:
        task = bar.add_task(verb, total=None, visible=False, rate="")

        def update(done: float, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{60 * speed:.1f} a minute" if speed else ""
            bar.update(task, completed=done, total=total, visible=total > 0, rate=rate)

        yield update
