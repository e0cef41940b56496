"""Shared parts of the command line's verbs: options, the cache of programs, signals."""

import contextlib
import os
import signal
from collections.abc import Iterator
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
