"""The plan of a job: its options, its inputs, and the results that its folder already has.

Everything that may be refused is refused here, before anything is written.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.checkpoints.load import choose_class, load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.encoding import Encoding, Format, check_suffix
from perceptual_jax.io.files import Place, check_folder, load_json, names_in, printable
from perceptual_jax.io.inputs import Input, Problem, collect_inputs
from perceptual_jax.jobs import log, writing
from perceptual_jax.jobs.feed import Sizes
from perceptual_jax.jobs.log import Failure, Record, quarantined, stamp_of
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.ray.cluster import Cluster
from perceptual_jax.jobs.resume import INDEX, finished_inputs, names_with_faces
from perceptual_jax.jobs.snapshots import Snapshots
from perceptual_jax.jobs.writing import Output, Settings
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import NOT_LEARNED, files_sha256, load_model
from perceptual_jax.restoration.presets import check_fit
from perceptual_jax.types import Generator

ALONE = Share()
SAMPLE_SPREAD = 0.5
"""`prior.spread` for several samples, where the config would start them all at the mean."""


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """The settings of a job that do not belong to the restorations, which the config describes.

    Raises:
        UsageError: If a number is out of its range.
    """

    samples: int = 1
    """Number of restorations of each picture, from different starts."""
    seed: int = 0
    """Seed of all draws, from 0 to 2^32 - 1."""
    batch_size: int | None = None
    """Number of pictures searched at once; if None, as many as fit in memory."""
    overwrite: bool = False
    """Restore finished pictures again, whatever settings they were restored with."""
    retry_failed: bool = False
    """Retry inputs that failed before, though their files have not changed."""
    snapshot_every: int | None = None
    """Steps between two snapshots of a search, from which an interrupted job resumes it; for very
    long searches. None takes no snapshots."""
    share: Share = ALONE
    """Which process of the job this is; each restores its own pictures."""
    format: Format = "png"
    """Format of the restored pictures; sheets and maps are always PNG."""
    quality: int | None = None
    """Quality of JPEG and WebP, 1 to 100; None for 95 and 90."""
    suffix: str = ""
    """Appended to the names of the restored pictures, before the extension."""
    trace: Path | None = None
    """Folder for a JAX profiler's trace of the second batch."""
    cluster: Cluster | None = None
    """The Ray cluster whose workers restore the pictures; None is this process."""

    def __post_init__(self) -> None:
        """Checks the ranges of the numbers."""
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed must be from 0 to {2**32 - 1}, got {self.seed}")
        for name in ("samples", "batch_size", "snapshot_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.cluster is not None and (self.share.count > 1 or self.trace is not None):
            raise UsageError("a job on a Ray cluster has one process and no trace of its own")
        check_suffix(self.suffix)
        _ = self.output

    @property
    def output(self) -> Output:
        """The files that restored pictures are written to."""
        return Output(Encoding(self.format, self.quality), self.suffix)

    def sizes(self, fitting: int) -> Sizes:
        """The sizes of batches, of as many restorations as fit in memory if none is asked for."""
        fixed = self.batch_size is not None or self.share.count > 1
        return Sizes(self.batch_size or fitting, self.samples, fixed)


DEFAULT = JobOptions()


class Tools(NamedTuple):
    """All that restores pictures by a config: loaded once, for any number of them."""

    config: RestoreConfig
    """The config, as far as the number of samples changes it."""
    generator: Generator
    generator_name: str
    """The config's name of the generator, or the type of one that was given in Python."""
    models: Callable[[str], Likelihood | None]
    """Maps the name of a data term to its learned likelihood; None if the term is not learned."""
    settings: Settings
    given: bool = False
    """Whether the generator was given in Python."""

    def fields(self) -> Record:
        """Fields of every record: what was used, which an object given in Python may decide."""
        generator = self.generator
        dtype = getattr(generator, "dtype", None) or getattr(
            getattr(generator, "config", None), "dtype", self.config.dtype
        )
        fields = {
            "settings": self.settings._asdict(),
            "generator": self.generator_name,
            "resolution": generator.resolution,
            "dtype": str(dtype),
        }
        if self.config.generator_class != "none":
            fields["class"] = self.config.generator_class
        return fields | writing.environment()


def load_tools(
    config: RestoreConfig,
    options: JobOptions,
    *,
    generator: Generator | None,
    report: Callable[[str], None] | None,
) -> Tools:
    """Loads the generator of a config, and a learned data term if the config names one.

    Args:
        config: Settings of the restorations.
        options: Settings of the job.
        generator: Replaces the generator that the config names.
        report: Receives lines for the user while a generator is fetched.

    Raises:
        ConfigError, WeightsError: If the config does not fit, or a file cannot be used.
    """
    degradation_sha256 = files_sha256(config.degradation)
    config = from_different_starts(config, samples=options.samples)
    generator_name = config.generator
    given = generator is not None
    if generator is not None:
        generator_name = f"{type(generator).__name__}, given in Python"
    else:
        generator = load_generator(config.generator, report=report, dtype=config.dtype)
    generator = choose_class(generator, config.generator_class)
    check_fit(config, generator)
    settings = writing.settings_of(
        config,
        generator,
        degradation_sha256=degradation_sha256,
        seed=options.seed,
        samples=options.samples,
        output=options.output,
    )
    models = functools.cache(functools.partial(_load_model, dtype=config.dtype))
    return Tools(config, generator, generator_name, models, settings, given)


class Plan(NamedTuple):
    """The work of a job, known before anything is written."""

    out: Place
    tools: Tools
    options: JobOptions
    problems: list[Problem]
    """Sources that the user named and that give no input."""
    inputs: Sequence[Input] = ()
    """The inputs of all processes."""
    todo: Sequence[Input] = ()
    """The inputs that this process has to restore."""
    redone: frozenset[str] = frozenset()
    """Names of the inputs in `todo` that may have a result of an earlier job."""
    kept: int = 0
    """Number of pictures that an earlier job has restored."""
    failures: Sequence[Failure] = ()
    """Failures of an earlier job whose inputs are not retried."""

    def with_inputs(
        self,
        inputs: Sequence[Input],
        *,
        there: set[str],
        photographs: Mapping[str, Any] | None = None,
    ) -> "Plan":
        """The plan for these inputs, less what the folder already has.

        Args:
            inputs: The inputs of all processes.
            there: The names of all files in the folder, and of those in the folders of photographs
                with the folder's name, as in `NAME/face-1.json`.
            photographs: See `finished_inputs`.

        Raises:
            UsageError: If the folder holds results that this job must not mix with or replace.
        """
        options = self.options
        own = [source for source in inputs if options.share.owns(source.name)]
        finished = {}
        if not options.overwrite:
            finished = finished_inputs(
                self.out,
                there,
                own,
                self.config,
                self.settings,
                output=options.output,
                photographs=photographs,
            )
        left = [source for source in own if source.name not in finished]
        retry = options.retry_failed or options.overwrite
        todo, skipped = split_quarantined(left, self.out, retry=retry)
        bad = [_failure_of(self.out / f"{n}.json") for n, good in finished.items() if not good]
        return self._replace(
            inputs=inputs,
            todo=todo,
            redone=frozenset(x.name for x in todo if f"{x.name}.json" in there),
            kept=sum(finished.values()),
            failures=[*skipped, *bad],
        )

    @property
    def config(self) -> RestoreConfig:
        """The config of the job."""
        return self.tools.config

    @property
    def settings(self) -> Settings:
        """All that determines the results besides the pictures."""
        return self.tools.settings

    @property
    def snapshots(self) -> Snapshots | None:
        """The snapshots of partial searches; None if none are taken."""
        every = self.options.snapshot_every
        return Snapshots(self.out, self.settings, every) if every else None


def make_plan(
    sources: Iterable[str | os.PathLike[str]],
    out: Place,
    config: RestoreConfig,
    options: JobOptions,
    *,
    generator: Generator | None,
    report: Callable[[str], None] | None,
    photographs: Mapping[str, Any] | None = None,
) -> Plan:
    """Collects the inputs, loads the generator, and compares both with the results in the folder.

    Args:
        sources: The inputs, see `restore_files`.
        out: The job's folder.
        config: Settings of the restorations.
        options: Settings of the job.
        generator: Replaces the generator that the config names.
        report: Receives lines for the user while a generator is fetched.
        photographs: The settings of a job over photographs, see `finished_inputs`.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: If the job cannot be started.
    """
    check_folder(out)
    there = names_in(out)
    everything, problems = collect_inputs(
        sources,
        out=out,
        reserved=[Path(INDEX).stem],
        derived=writing.DERIVED,
        taken=[name.removesuffix(".json") for name in there if name.endswith(".json")],
        report=report,
    )
    tools = load_tools(config, options, generator=generator, report=report)
    if config.degradation != "auto":
        tools.models(config.degradation)  # refuses a wrong file before anything is written
    plan = Plan(out=out, tools=tools, options=options, problems=problems)
    if photographs is not None:
        there = names_with_faces(out, everything)
    return plan.with_inputs(everything, there=there, photographs=photographs)


def from_different_starts(config: RestoreConfig, *, samples: int) -> RestoreConfig:
    """The config, with a spread if it would start all samples of a picture at one point."""
    if samples == 1 or config.prior.start == "random" or config.prior.spread > 0:
        return config
    prior = dataclasses.replace(config.prior, spread=SAMPLE_SPREAD)
    return dataclasses.replace(config, prior=prior)


def split_quarantined(
    inputs: Sequence[Input], out: Place, *, retry: bool
) -> tuple[list[Input], list[Failure]]:
    """Splits off the inputs that failed before and whose files have not changed since."""
    known = {} if retry else quarantined(out)
    todo, skipped = [], []
    for source in inputs:
        path = printable(source.path)
        failure = known.get(path)
        stamp = {} if failure is None else stamp_of(source)
        if failure is not None and stamp and stamp.items() <= failure.items():
            skipped.append(Failure(path, failure["reason"]))
        else:
            todo.append(source)
    return todo, skipped


def _failure_of(path: Place) -> Failure:
    record = load_json(path) or {"input": {"path": str(path)}, "message": "it is gone"}
    return Failure(log.input_path(record), record["message"])


def _load_model(name: str, *, dtype: Any) -> Likelihood | None:
    return None if name in NOT_LEARNED else load_model(name, dtype=dtype)
