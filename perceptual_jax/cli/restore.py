"""The verbs about faces: restore them, inspect a job, generate new ones."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg
from tyro.conf import subcommand as verb

from perceptual_jax.cli.common import (
    Folder,
    Inputs,
    Number,
    enable_compilation_cache,
    optional,
    sigterm_raises,
)
from perceptual_jax.cli.console import USUAL, Console, conclude, progress_bar, say, show
from perceptual_jax.config_files import load_config, override, parse_setting
from perceptual_jax.errors import UsageError

if TYPE_CHECKING:
    from perceptual_jax.config import RestoreConfig
    from perceptual_jax.jobs.photographs.options import PhotographOptions
    from perceptual_jax.jobs.plan import JobOptions


@dataclasses.dataclass(frozen=True)
class Restore:
    """Restore degraded faces, in photographs or as aligned crops.

    Faces are found in photographs, restored and put back. Aligned crops in FFHQ framing (square,
    the eyes on a level line, the face filling the square) go in as they are. A result is one
    plausible face that degrades to its input; its detail is invented. Not for identification.
    """

    inputs: Inputs
    """Pictures, folders (searched recursively), globs, tar shards, tfds:NAME, remote addresses, and
    @FILE, a list of such."""
    out: Annotated[str, arg(metavar="DIR")]
    """Folder for the results, or gs://..., s3://...; results that are finished there are kept."""
    align: Literal["auto", "always", "never"] = "auto"
    """Which inputs are searched for faces: auto = all but aligned crops, always, or never."""
    upscale: Annotated[float | None, optional("2 below 1500 pixels", metavar="X")] = None
    """Enlarges the photographs, by 1 to 4."""
    faces: Literal["all", "largest", "center"] = "all"
    """Which faces of a photograph are restored."""
    min_face: Annotated[int | None, optional("the detector's", metavar="PX")] = None
    """Smallest height of a face in pixels."""
    boxes: Annotated[Path | None, optional("none", metavar="FILE")] = None
    """Boxes or landmarks of faces by hand, for the photographs that the file names."""
    background: Annotated[str, arg(metavar="lanczos|COMMAND")] = "lanczos"
    """What enlarges the rest of a photograph; a command has {input} and {output} for its files."""
    mask: Literal["ellipse", "face"] = "ellipse"
    """What a restored face replaces: the head with its hair, or the face alone."""
    grain: bool = False
    """Add the photograph's grain to the restored faces."""
    sequence: bool = False
    """The input is a folder of frames or a video: its faces are tracked and kept steady."""
    config: Annotated[str, arg(metavar="FILE|NAME")] = "default"
    """A TOML file, or the name of a preset such as pulse. In a file with several configs, a colon
    and the name of the row select one: table2:mean_mmd_sphere."""
    generator: Annotated[str | None, optional("the config's", metavar="NAME|PATH")] = None
    """A name of `weights list`, a converted file, or a checkpoint of another project."""
    class_index: Annotated[int | None, arg(name="class"), optional("the config's", metavar="N")] = (
        None
    )
    """The class of a conditional generator, from 0."""
    degradation: Annotated[str | None, optional("the config's", metavar="NAME|PATH")] = None
    """How the inputs degraded: l2 (downscaled), jpeg or blind (learned), dct_box (JPEG files),
    the path of a trained model, or auto, which inspects each file."""
    steps: Annotated[int | None, optional("the config's", metavar="N")] = None
    """Steps of the search, on drafts."""
    finish_steps: Annotated[int | None, optional("the config's", metavar="N")] = None
    """Steps at full resolution after the drafts."""
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
    """Seed of all draws."""
    batch_size: Annotated[int | None, optional("by memory", metavar="N")] = None
    """Pictures searched at once; the results stay the same."""
    overwrite: bool = False
    """Restore finished pictures again, whatever settings they were restored with."""
    snapshot_every: Annotated[int | None, optional("never", metavar="K")] = None
    """Steps between snapshots of a search, from which it is resumed; for very long ones."""
    retry_failed: bool = False
    """Retry inputs that failed before, though their files have not changed."""
    distributed: bool = False
    """Discover the other processes of the job: on TPU pods, under SLURM and Open MPI."""
    coordinator: Annotated[str | None, optional("none", metavar="HOST:PORT")] = None
    """Address of the first process, where they are not discovered, with the next two options."""
    num_processes: Annotated[int | None, optional("1", metavar="N")] = None
    """Number of processes that share the inputs."""
    process_id: Annotated[int | None, optional("0", metavar="I")] = None
    """Index of this process, from 0."""
    engine: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster, whose workers take over from those that are lost."""
    address: Annotated[str | None, optional("a cluster of this machine", metavar="ADDRESS")] = None
    """With --engine ray, the address of the cluster, or auto."""
    workers: Annotated[int | None, optional("all there is room for", metavar="N")] = None
    """With --engine ray, the number of workers."""
    worker_takes: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=NUMBER", help_behavior_hint="(default: GPU=1, or a node's TPU or CPU)"),
    ] = ()
    """With --engine ray, what a worker takes of its node, such as CPU=8; repeatable."""
    trace: Annotated[Path | None, optional("none", metavar="DIR")] = None
    """Folder for a JAX profiler's trace of the second batch."""
    format: Literal["png", "jpeg", "webp"] = "png"
    """Format of the restored pictures."""
    quality: Annotated[int | None, optional("95, 90", metavar="N")] = None
    """Quality of JPEG and WebP, 1 to 100."""
    suffix: Annotated[str, arg(metavar="TEXT")] = ""
    """Appended to the names of the restored pictures, such as _restored."""
    console: Console = USUAL

    def run(self) -> int:
        """Restores the inputs, lists the failures and prints the counts."""
        settings = {
            "generator": self.generator,
            "generator_class": self.class_index,
            "degradation": self.degradation,
            "search.steps": self.steps,
            "finish.steps": self.finish_steps,
            "fidelity": self.fidelity,
        }
        settings |= dict(map(parse_setting, self.settings))
        config = override(load_config(self.config), settings)
        enable_compilation_cache()
        from perceptual_jax.jobs.index import write_index
        from perceptual_jax.jobs.photographs.job import restore_photographs
        from perceptual_jax.jobs.photographs.options import PhotographOptions
        from perceptual_jax.jobs.plan import JobOptions
        from perceptual_jax.jobs.processes import join
        from perceptual_jax.jobs.ray.cluster import cluster_of

        # The ranges are checked before `join` waits for the other processes.
        options = JobOptions(
            samples=self.samples,
            seed=self.seed,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            snapshot_every=self.snapshot_every,
            trace=self.trace,
            cluster=cluster_of(self.engine, self.address, self.workers, self.worker_takes),
            format=self.format,
            quality=self.quality,
            suffix=self.suffix,
        )
        photographs = PhotographOptions(
            align=self.align,
            upscale=self.upscale,
            faces=self.faces,
            min_face=self.min_face,
            boxes=self.boxes,
            background=self.background,
            mask=self.mask,
            grain=self.grain,
        )
        if self.sequence:
            return self._restore_sequence(config, options, photographs)
        if options.cluster is not None:
            import jax

            jax.config.update("jax_platforms", "cpu")  # the accelerators are for the workers
        share = join(
            distributed=self.distributed,
            coordinator=self.coordinator,
            num_processes=self.num_processes,
            process_id=self.process_id,
        )
        # After `join`, since its runtime may install its own handler of SIGTERM.
        with sigterm_raises(), progress_bar("restoring") as progress:
            summary = restore_photographs(
                self.inputs,
                self.out,
                config,
                dataclasses.replace(options, share=share),
                photographs=photographs,
                report=say,
                progress=progress,
            )
        if share.count == 1:
            write_index(summary.out)
        return conclude(summary.failed, str(summary))

    def _restore_sequence(
        self, config: "RestoreConfig", options: "JobOptions", photographs: "PhotographOptions"
    ) -> int:
        """Restores the one input as a sequence."""
        from perceptual_jax.jobs.sequences.job import restore_sequence

        if len(self.inputs) != 1 or self.distributed or self.coordinator is not None:
            raise UsageError("--sequence takes one folder of frames or one video, by one process")
        with sigterm_raises(), progress_bar("restoring") as progress:
            summary = restore_sequence(
                self.inputs[0],
                self.out,
                config,
                options,
                photographs=photographs,
                report=say,
                progress=progress,
            )
        return conclude(summary.failed, str(summary))


@dataclasses.dataclass(frozen=True)
class Generate:
    """Generate faces from seeds, and a contact sheet."""

    seeds: Annotated[str, arg(metavar="SEEDS")]
    """Numbers and ranges, such as 0-15,20."""
    out: Folder
    """Folder for seed0000.png, ... and index.png."""
    psi: Annotated[float, arg(metavar="X")] = 0.7
    """Truncation: 1 = no truncation, 0 = the mean face."""
    generator: Annotated[str, arg(metavar="NAME|PATH")] = "mobilestylegan-ffhq"
    """A name of `weights list`, a converted file, or a checkpoint of another project."""
    class_index: Annotated[int | None, arg(name="class"), optional("none", metavar="N")] = None
    """The class of a conditional generator, from 0."""
    format: Literal["png", "jpeg", "webp"] = "png"
    """Format of the faces."""
    quality: Annotated[int | None, optional("95, 90", metavar="N")] = None
    """Quality of JPEG and WebP, 1 to 100."""
    suffix: Annotated[str, arg(metavar="TEXT")] = ""
    """Appended to the names of the faces, such as _restored."""
    overwrite: bool = False
    """Replace files that exist."""
    console: Console = USUAL

    def run(self) -> int:
        """Generates the faces and prints their number."""
        enable_compilation_cache()
        from perceptual_jax.io.encoding import Encoding
        from perceptual_jax.jobs.generate import generate_files, parse_seeds

        with progress_bar("generating") as progress:
            paths = generate_files(
                parse_seeds(self.seeds),
                self.out,
                psi=self.psi,
                generator=self.generator,
                class_index=self.class_index,
                encoding=Encoding(self.format, self.quality),
                suffix=self.suffix,
                overwrite=self.overwrite,
                report=say,
                progress=progress,
            )
        return conclude((), f"generated {len(paths)}; results in {self.out}")


Out = Positional[Annotated[str, arg(metavar="DIR")]]


@dataclasses.dataclass(frozen=True)
class Status:
    """Print a job's counts (done, failed, left), and the rate and slowest stage of each process."""

    out: Out
    """The job's folder, or gs://..., s3://...; processes may be working on it."""
    every: Annotated[float | None, optional("once", metavar="SECONDS")] = None
    """Seconds between repetitions, while a process is alive."""

    def run(self) -> int:
        """Prints the status."""
        from perceptual_jax.io.files import place_of
        from perceptual_jax.jobs.status import overview, watch

        out = place_of(self.out)
        views = [overview(out)] if self.every is None else watch(out, self.every)
        for view in views:
            show(*view.lines())
        return 0


@dataclasses.dataclass(frozen=True)
class Merge:
    """Write results.csv and results.parquet: every result with its terms, status and seconds."""

    out: Out
    """The job's folder."""

    def run(self) -> int:
        """Writes the tables and prints their paths."""
        from perceptual_jax.io.files import place_of
        from perceptual_jax.jobs.status import merge

        show(*merge(place_of(self.out)))
        return 0


@dataclasses.dataclass(frozen=True)
class Job:
    """Inspect a job's folder, also while processes work on it."""

    action: Annotated[Status, verb("status")] | Annotated[Merge, verb("merge")]

    def run(self) -> int:
        """Runs the chosen verb."""
        return self.action.run()
