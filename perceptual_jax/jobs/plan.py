"""What a job has to do: its options, its inputs, and what is in its folder already.

Everything that may be refused is refused here, before anything is written.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import Place, check_folder, load_json, names_in, printable
from perceptual_jax.io.inputs import Input, Problem, collect_inputs
from perceptual_jax.jobs import log, writing
from perceptual_jax.jobs.log import Failure, quarantined, stamp_of
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.resume import INDEX, finished_inputs
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import NOT_LEARNED, files_sha256, load_model
from perceptual_jax.restoration.presets import check_fit
from perceptual_jax.types import Generator

ALONE = Share()
SAMPLE_SPREAD = 0.5
"""`prior.spread` of samples, where the config would start them all at the mean."""


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """How a job goes about its inputs; what it makes of them is the config's matter.

    Raises:
        UsageError: If a number is out of its range.
    """

    samples: int = 1
    """Restorations of each picture, from different starts."""
    seed: int = 0
    """Seed of all draws, from 0 to 2^32 - 1."""
    batch_size: int | None = None
    """Pictures searched at once; by memory if None."""
    overwrite: bool = False
    """Redo pictures that are finished, whatever settings they were done with."""
    retry_failed: bool = False
    """Try inputs again that failed before, though their files have not changed."""
    snapshot_every: int | None = None
    """Steps after which a search in its middle is kept, to be resumed from there; for searches that
    take very long. None: never."""
    share: Share = ALONE
    """Which of several processes this is; each restores its own pictures."""
    trace: Path | None = None
    """Folder for a JAX profiler's trace of the second batch."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed must be from 0 to {2**32 - 1}, got {self.seed}")
        for name in ("samples", "batch_size", "snapshot_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")


DEFAULT = JobOptions()


class Plan(NamedTuple):
    """What a job has to do, known before anything is written."""

    out: Place
    config: RestoreConfig
    options: JobOptions
    generator: Generator
    models: Callable[[str], Likelihood | None]
    settings: Settings
    inputs: list[Input]
    """Those of all processes."""
    problems: list[Problem]
    """Of what the user named and is no input."""
    todo: list[Input]
    """Those that this process has to restore."""
    redone: frozenset[str]
    """Names of those that an earlier job may have written a result of."""
    kept: int
    """Pictures that an earlier job has restored."""
    failures: list[Failure]
    """Of an earlier job, of inputs that are not tried again."""


def make_plan(
    sources: Iterable[str | os.PathLike[str]],
    out: Place,
    config: RestoreConfig,
    options: JobOptions,
    *,
    generator: Generator | None,
    report: Callable[[str], None] | None,
) -> Plan:
    """Looks at the inputs, the config, the generator and what is in the folder.

    Args:
        sources: As of `restore_files`, of which all others are as well.
        out: The folder.
        config: What to do.
        options: How to go about it.
        generator: Takes the place of the one that the config names.
        report: Gets lines for the user while a generator is fetched.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: If it cannot be done.
    """
    check_folder(out)
    everything, problems = collect_inputs(sources, out=out, reserved=[Path(INDEX).stem])
    degradation_sha256 = files_sha256(config.degradation)
    config = from_different_starts(config, samples=options.samples)
    if generator is None:
        generator = load_generator(config.generator, report=report, dtype=config.dtype)
    check_fit(config, generator)
    settings = writing.settings_of(
        config,
        generator,
        degradation_sha256=degradation_sha256,
        seed=options.seed,
        samples=options.samples,
    )
    own = [source for source in everything if options.share.owns(source.name)]
    there = names_in(out)
    finished = {} if options.overwrite else finished_inputs(out, there, own, config, settings)
    left = [source for source in own if source.name not in finished]
    todo, skipped = split_quarantined(left, out, retry=options.retry_failed or options.overwrite)
    models = functools.cache(functools.partial(_load_model, dtype=config.dtype))
    if config.degradation != "auto":
        models(config.degradation)  # a file that is none is refused before anything is written
    bad = [_failure_of(out / f"{name}.json") for name, good in finished.items() if not good]
    return Plan(
        out=out,
        config=config,
        options=options,
        generator=generator,
        models=models,
        settings=settings,
        inputs=everything,
        problems=problems,
        todo=todo,
        redone=frozenset(x.name for x in todo if f"{x.name}.json" in there),
        kept=sum(finished.values()),
        failures=[*skipped, *bad],
    )


def from_different_starts(config: RestoreConfig, *, samples: int) -> RestoreConfig:
    """The config, spread out if it would start several samples of a picture at one point."""
    if samples == 1 or config.prior.start == "random" or config.prior.spread > 0:
        return config
    prior = dataclasses.replace(config.prior, spread=SAMPLE_SPREAD)
    return dataclasses.replace(config, prior=prior)


def split_quarantined(
    inputs: Sequence[Input], out: Place, *, retry: bool
) -> tuple[list[Input], list[Failure]]:
    """The inputs to try, and those that failed before and whose files are still the same."""
    known = {} if retry else quarantined(out)
    todo, skipped = [], []
    for source in inputs:
        place = printable(source.path)
        failure = known.get(place)
        stamp = {} if failure is None else stamp_of(source)
        if failure is not None and stamp and stamp.items() <= failure.items():
            skipped.append(Failure(place, failure["reason"]))
        else:
            todo.append(source)
    return todo, skipped


def _failure_of(path: Place) -> Failure:
    record = load_json(path) or {"input": {"path": str(path)}, "message": "it is gone"}
    return Failure(log.place(record), record["message"])


def _load_model(name: str, *, dtype: Any) -> Likelihood | None:
    return None if name in NOT_LEARNED else load_model(name, dtype=dtype)
