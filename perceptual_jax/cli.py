"""`perceptual-jax VERB`: parses the command line, calls the library, prints.

Exit codes: 0 all done, 1 something failed (said on standard error, the rest is done), 2 wrong
usage, 75 told to end (run the same command again), 130 interrupted. Help is printed without
loading JAX.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, arg
from tyro.conf import subcommand as verb

import perceptual_jax
from perceptual_jax.cli_common import (
    Folder,
    Inputs,
    Number,
    Terminated,
    conclude,
    ends_when_told,
    keep_compiled_programs,
    or_else,
)
from perceptual_jax.cli_degradation import Degrade, Inspect, SampleDegradation, TrainDegradation
from perceptual_jax.cli_job import Job
from perceptual_jax.cli_weights import Weights
from perceptual_jax.config import UsageError, load_config, override
from perceptual_jax.terminal import progress_bar, say

ENDED = 75
"""Exit code of a process that was told to end: run the same command again."""


@dataclasses.dataclass(frozen=True)
class Restore:
    """Restore degraded faces.

    Inputs are aligned face crops in FFHQ framing: square, the eyes on a level line, the face
    filling the square. A result is one plausible face that degrades to its input; its detail is
    invented. Not for identification.
    """

    inputs: Inputs
    """Pictures, folders (searched recursively), globs, tar shards, tfds:NAME, remote addresses, and
    @FILE, a list of such."""
    out: Annotated[str, arg(metavar="DIR")]
    """Folder for the results, or gs://..., s3://...; what is finished there is not done again."""
    config: Annotated[str, arg(metavar="FILE|NAME")] = "default"
    """A TOML file, or the name of a preset such as pulse."""
    generator: Annotated[str | None, or_else("the config's", metavar="NAME|PATH")] = None
    """A name of `weights list`, a converted file, or a checkpoint of another project."""
    degradation: Annotated[str | None, or_else("the config's", metavar="NAME|PATH")] = None
    """How the inputs came about: l2 (downscaled), jpeg or blind (learned), dct_box (JPEG files),
    the path of a trained model, or auto, which looks at each file."""
    steps: Annotated[int | None, or_else("the config's", metavar="N")] = None
    """Steps of the search on drafts."""
    finish_steps: Annotated[int | None, or_else("the config's", metavar="N")] = None
    """Steps at full resolution after them."""
    fidelity: Annotated[float | None, or_else("the config's", metavar="X")] = None
    """0 = natural, 1 = faithful to the input."""
    samples: Number = 1
    """Restorations of each input from different starts, with a map of their spread."""
    seed: Number = 0
    """Another seed, other draws."""
    batch_size: Annotated[int | None, or_else("by memory", metavar="N")] = None
    """Pictures searched at once; the results stay the same."""
    overwrite: bool = False
    """Redo what is finished, whatever settings it was done with."""
    snapshot_every: Annotated[int | None, or_else("never", metavar="K")] = None
    """Steps after which a search is kept in its middle, to go on from there; for very long ones."""
    retry_failed: bool = False
    """Try again what failed before, though the files are the same."""
    distributed: bool = False
    """One of many processes that find each other: on TPU pods, under SLURM and Open MPI."""
    coordinator: Annotated[str | None, or_else("none", metavar="HOST:PORT")] = None
    """Of the first process, to name them by hand, with the following two."""
    num_processes: Annotated[int | None, or_else("1", metavar="N")] = None
    """How many processes share the inputs."""
    process_id: Annotated[int | None, or_else("0", metavar="I")] = None
    """Which of them this is."""
    profile: Annotated[Path | None, or_else("none", metavar="DIR")] = None
    """Folder for a JAX profiler's trace of the second batch."""

    def run(self) -> int:
        """Restores, lists what failed, and counts."""
        config = override(
            load_config(self.config),
            generator=self.generator,
            steps=self.steps,
            finish_steps=self.finish_steps,
            fidelity=self.fidelity,
            degradation=self.degradation,
        )
        keep_compiled_programs()
        from perceptual_jax.jobs.index import write_index
        from perceptual_jax.jobs.job import restore_files
        from perceptual_jax.jobs.processes import join

        share = join(
            distributed=self.distributed,
            coordinator=self.coordinator,
            num_processes=self.num_processes,
            process_id=self.process_id,
        )
        # The runtime may have taken the signal for itself.
        with ends_when_told(), progress_bar("restoring") as progress:
            summary = restore_files(
                self.inputs,
                self.out,
                config,
                samples=self.samples,
                seed=self.seed,
                batch_size=self.batch_size,
                overwrite=self.overwrite,
                retry_failed=self.retry_failed,
                snapshot_every=self.snapshot_every,
                share=share,
                trace=self.profile,
                report=say,
                progress=progress,
            )
        if share.count == 1:
            write_index(summary.out)
        return conclude(summary.failed, str(summary))


@dataclasses.dataclass(frozen=True)
class Generate:
    """Generate faces from seeds, and a sheet of them."""

    seeds: Annotated[str, arg(metavar="SEEDS")]
    """Numbers and ranges, such as 0-15,20."""
    out: Folder
    """Folder for seed0000.png, ... and index.png."""
    psi: Annotated[float, arg(metavar="X")] = 0.7
    """Truncation: 1 = the generator's whole variety, 0 = its mean face."""
    generator: Annotated[str, arg(metavar="NAME|PATH")] = "mobilestylegan-ffhq"
    """A name of `weights list`, a converted file, or a checkpoint of another project."""

    def run(self) -> int:
        """Generates, and counts."""
        keep_compiled_programs()
        from perceptual_jax.jobs.generate import generate_files, parse_seeds

        with progress_bar("generating") as progress:
            paths = generate_files(
                parse_seeds(self.seeds),
                self.out,
                psi=self.psi,
                generator=self.generator,
                report=say,
                progress=progress,
            )
        return conclude((), f"generated {len(paths)}; results in {self.out}")


Command = (
    Annotated[Restore, verb("restore")]
    | Annotated[Degrade, verb("degrade")]
    | Annotated[TrainDegradation, verb("train-degradation")]
    | Annotated[SampleDegradation, verb("sample-degradation")]
    | Annotated[Inspect, verb("inspect")]
    | Annotated[Generate, verb("generate")]
    | Annotated[Job, verb("job")]
    | Annotated[Weights, verb("weights")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        argv: What follows the program's name; the process's own arguments if None.

    Raises:
        SystemExit: After help (0), and where the command line cannot be parsed (2).
    """
    argv = sys.argv[1:] if argv is None else argv
    if list(argv) == ["--version"]:
        print(f"perceptual-jax {perceptual_jax.__version__}")
        return 0
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        prog="perceptual-jax",
        description="Restore degraded faces by searching the latent space of a face generator.",
        args=argv,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff),
    )
    try:
        return command.run()
    except Terminated:
        say("told to end; what is finished is kept, run the same command again")
        return ENDED
    except KeyboardInterrupt:
        say("interrupted; what is finished is kept, and the same command goes on from there")
        return 130
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        say(f"perceptual-jax: {error}")
        return code


def _exit_code(error: Exception) -> int | None:
    """The code of an error whose message is for the user; None for a defect of the program."""
    if isinstance(error, UsageError):
        return 2
    from perceptual_jax.checkpoints.catalogue import UnknownGeneratorError, WeightsError
    from perceptual_jax.io.files import WriteError
    from perceptual_jax.io.inputs import InputError
    from perceptual_jax.jobs.loop import JobError

    if isinstance(error, InputError | UnknownGeneratorError):
        return 2
    if isinstance(error, WeightsError | WriteError | JobError):
        return 1
    # Only a training can raise its error, and only then are its many imports there.
    fitting = sys.modules.get("perceptual_jax.training.fit")
    return 1 if fitting and isinstance(error, fitting.TrainingError) else None


def program() -> None:
    """The command `perceptual-jax`: runs it and ends the process.

    One that was told to end does so at once: all it had to write is written, and taking the
    device's runtime down in the middle of a search can crash.
    """
    code = main()
    if code == ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
