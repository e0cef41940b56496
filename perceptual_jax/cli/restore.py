"""The verbs about faces: restore them, look at a job that does, generate new ones."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg
from tyro.conf import subcommand as verb

from perceptual_jax.cli.common import (
    Folder,
    Inputs,
    Number,
    conclude,
    enable_compilation_cache,
    optional,
    progress_bar,
    say,
    sigterm_raises,
)
from perceptual_jax.config import load_config, override
from perceptual_jax.errors import UsageError


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
    """A TOML file, or the name of a preset such as pulse. Of a file with several configs, the name
    of its row follows a colon: table2:mean_mmd_sphere."""
    generator: Annotated[str | None, optional("the config's", metavar="NAME|PATH")] = None
    """A name of `weights list`, a converted file, or a checkpoint of another project."""
    degradation: Annotated[str | None, optional("the config's", metavar="NAME|PATH")] = None
    """How the inputs came about: l2 (downscaled), jpeg or blind (learned), dct_box (JPEG files),
    the path of a trained model, or auto, which looks at each file."""
    steps: Annotated[int | None, optional("the config's", metavar="N")] = None
    """Steps of the search on drafts."""
    finish_steps: Annotated[int | None, optional("the config's", metavar="N")] = None
    """Steps at full resolution after them."""
    fidelity: Annotated[float | None, optional("the config's", metavar="X")] = None
    """0 = natural, 1 = faithful to the input."""
    settings: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(name="set", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any setting of the config, by its name in a file, such as prior.mmd_weight=50."""
    samples: Number = 1
    """Restorations of each input from different starts, with a map of their spread."""
    seed: Number = 0
    """Another seed, other draws."""
    batch_size: Annotated[int | None, optional("by memory", metavar="N")] = None
    """Pictures searched at once; the results stay the same."""
    overwrite: bool = False
    """Redo what is finished, whatever settings it was done with."""
    snapshot_every: Annotated[int | None, optional("never", metavar="K")] = None
    """Steps after which a search is kept in its middle, to go on from there; for very long ones."""
    retry_failed: bool = False
    """Try again what failed before, though the files are the same."""
    distributed: bool = False
    """One of many processes that find each other: on TPU pods, under SLURM and Open MPI."""
    coordinator: Annotated[str | None, optional("none", metavar="HOST:PORT")] = None
    """Of the first process, to name them by hand, with the following two."""
    num_processes: Annotated[int | None, optional("1", metavar="N")] = None
    """How many processes share the inputs."""
    process_id: Annotated[int | None, optional("0", metavar="I")] = None
    """Which of them this is."""
    trace: Annotated[Path | None, optional("none", metavar="DIR")] = None
    """Folder for a JAX profiler's trace of the second batch."""

    def run(self) -> int:
        """Restores, lists what failed, and counts."""
        settings = {
            "generator": self.generator,
            "degradation": self.degradation,
            "search.steps": self.steps,
            "finish.steps": self.finish_steps,
            "fidelity": self.fidelity,
        }
        settings |= dict(map(_setting, self.settings))
        config = override(load_config(self.config), settings)
        enable_compilation_cache()
        from perceptual_jax.jobs.index import write_index
        from perceptual_jax.jobs.job import restore_files
        from perceptual_jax.jobs.plan import JobOptions
        from perceptual_jax.jobs.processes import join

        # Ranges are checked before the other processes are waited for.
        options = JobOptions(
            samples=self.samples,
            seed=self.seed,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            snapshot_every=self.snapshot_every,
            trace=self.trace,
        )
        share = join(
            distributed=self.distributed,
            coordinator=self.coordinator,
            num_processes=self.num_processes,
            process_id=self.process_id,
        )
        # The runtime may have taken the signal for itself.
        with sigterm_raises(), progress_bar("restoring") as progress:
            summary = restore_files(
                self.inputs,
                self.out,
                config,
                dataclasses.replace(options, share=share),
                report=say,
                progress=progress,
            )
        if share.count == 1:
            write_index(summary.out)
        return conclude(summary.failed, str(summary))


def _setting(text: str) -> tuple[str, Any]:
    """A setting's name and value from NAME=VALUE; what is no value of TOML is taken as a text.

    Example:
        >>> [_setting(text) for text in ("search.steps=7", "prior.space=whitened")]
        [('search.steps', 7), ('prior.space', 'whitened')]
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise UsageError(f"--set takes NAME=VALUE, such as search.steps=50, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name, value


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
        enable_compilation_cache()
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


Out = Positional[Annotated[str, arg(metavar="DIR")]]


@dataclasses.dataclass(frozen=True)
class Status:
    """Say how a job stands: done, failed, left; and of each process its rate and slowest stage."""

    out: Out
    """The job's folder, or gs://..., s3://...; processes may be working on it."""
    every: Annotated[float | None, optional("once", metavar="SECONDS")] = None
    """Say it again every so often, while a process is alive."""

    def run(self) -> int:
        """Prints it."""
        from perceptual_jax.io.files import place_of
        from perceptual_jax.jobs.status import overview, watch

        out = place_of(self.out)
        views = [overview(out)] if self.every is None else watch(out, self.every)
        for view in views:
            print(*view.lines(), sep="\n", flush=True)
        return 0


@dataclasses.dataclass(frozen=True)
class Merge:
    """Write results.csv and results.parquet: every result with its terms, status and seconds."""

    out: Out
    """The job's folder."""

    def run(self) -> int:
        """Names the files."""
        from perceptual_jax.io.files import place_of
        from perceptual_jax.jobs.status import merge

        print(*merge(place_of(self.out)), sep="\n")
        return 0


@dataclasses.dataclass(frozen=True)
class Job:
    """Look at a job's folder, also while processes work on it."""

    action: Annotated[Status, verb("status")] | Annotated[Merge, verb("merge")]

    def run(self) -> int:
        """Does what was asked."""
        return self.action.run()
