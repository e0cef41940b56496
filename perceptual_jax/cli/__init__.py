"""`perceptual-jax VERB`: parses the command line, calls the library, prints.

Exit codes: 0 success, 1 some inputs failed (listed on standard error; the others are done), 2 wrong
usage, 75 terminated by SIGTERM (run the same command again), 130 interrupted. Help is printed
without loading JAX.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes
from tyro.conf import subcommand as verb

from perceptual_jax.cli.checkpoints import Weights
from perceptual_jax.cli.common import Terminated
from perceptual_jax.cli.console import (
    USUAL,
    choose,
    prepare_streams,
    say,
)
from perceptual_jax.cli.degradation import Degrade, Inspect, SampleDegradation, TrainDegradation
from perceptual_jax.cli.evaluation import Evaluate
from perceptual_jax.cli.report import Report
from perceptual_jax.cli.restore import Generate, Job, Restore
from perceptual_jax.cli.study import Study
from perceptual_jax.cli.web import Web
from perceptual_jax.errors import Error

TERMINATED = 75
"""Exit code of a process that was terminated by SIGTERM: run the same command again."""

Command = (
    Annotated[Restore, verb("restore")]
    | Annotated[Degrade, verb("degrade")]
    | Annotated[TrainDegradation, verb("train-degradation")]
    | Annotated[SampleDegradation, verb("sample-degradation")]
    | Annotated[Inspect, verb("inspect")]
    | Annotated[Generate, verb("generate")]
    | Annotated[Job, verb("job")]
    | Annotated[Evaluate, verb("evaluate")]
    | Annotated[Report, verb("report")]
    | Annotated[Study, verb("study")]
    | Annotated[Web, verb("web")]
    | Annotated[Weights, verb("weights")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        argv: The arguments after the program's name; the process's own if None.

    Raises:
        SystemExit: After help (0), and where the command line cannot be parsed (2).
    """
    argv = sys.argv[1:] if argv is None else argv
    if list(argv) == ["--version"]:
        print(f"perceptual-jax {importlib.metadata.version('perceptual-jax')}")
        return 0
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        prog="perceptual-jax",
        description="Restore degraded faces by searching the latent space of a face generator.",
        args=argv,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff),
    )
    choose(getattr(getattr(command, "action", command), "console", USUAL))
    try:
        return command.run()
    except Terminated:
        say("told to end; what is finished is kept, run the same command again", event="error")
        return TERMINATED
    except KeyboardInterrupt:
        say(
            "interrupted; what is finished is kept, and the same command goes on from there",
            event="error",
        )
        return 130
    except Error as error:
        say(f"perceptual-jax: {error}", event="error")
        return error.exit_code


def program() -> None:
    """The command `perceptual-jax`: runs it and exits the process.

    After SIGTERM it exits without cleaning up: all results are written by then, and shutting down
    the device's runtime during a search can crash.
    """
    prepare_streams()
    code = main()
    if code == TERMINATED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
