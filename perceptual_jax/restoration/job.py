"""A job: files in, restored faces out, in a folder that tells what was done and can be gone on.

    read -> group by size -> restore a batch -> write each picture's files -> next batch

An input that cannot be read or restored is a line in the results and never stops the others.
What stops a job is what concerns all of them: wrong settings (before anything is written), a
disk that is full, memory that does not suffice. Whatever stops it, every file that is there is
whole, and the same call again goes on where it stopped.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.checked import ConfigError, UsageError
from perceptual_jax.config import MIN_SIZE, RestoreConfig
from perceptual_jax.data.collect import Input, collect_inputs
from perceptual_jax.data.images import ImageError, to_float
from perceptual_jax.data.output import check_folder, make_folder
from perceptual_jax.degradation.likelihood import Likelihood
from perceptual_jax.degradation.models import files_sha256, load_model
from perceptual_jax.prior.mmd import PAPER_BANDWIDTH
from perceptual_jax.restoration import records
from perceptual_jax.restoration.batch import default_batch_size, default_prior, restore_batch
from perceptual_jax.restoration.degradations import Look, look_at, require_header
from perceptual_jax.restoration.folder import INDEX, RESULTS, finished_records, write_config
from perceptual_jax.restoration.objective import Prior
from perceptual_jax.restoration.pictures import Picture, picture_key, read_picture
from perceptual_jax.restoration.records import Record
from perceptual_jax.restoration.stages import stages
from perceptual_jax.types import Generator
from perceptual_jax.weights.load import load_generator

SAMPLE_SPREAD = 0.5
"""`prior.spread` of samples, where the config would start them all at the mean."""


class JobError(RuntimeError):
    """A job that cannot go on; the message is one sentence for the user."""


class Failure(NamedTuple):
    """An input that was not restored, or not to the end."""

    source: str
    """Its path, or what the caller named."""
    reason: str
    """One sentence."""


class JobSummary(NamedTuple):
    """How a job ended."""

    out: Path
    restored: int
    """Pictures restored by this job."""
    kept: int
    """Pictures that an earlier job had restored."""
    failed: tuple[Failure, ...]
    seconds: float

    def __str__(self) -> str:
        """One line for the user."""
        counts = f"restored {self.restored}, kept {self.kept}, failed {len(self.failed)}"
        return f"{counts} in {self.seconds:.1f} s; results in {self.out}"


class _Job(NamedTuple):
    """What all batches share."""

    out: Path
    config: RestoreConfig
    generator: Generator
    prior: Prior
    models: Mapping[str, Likelihood]
    """Learned data terms by the names that pictures ask for."""
    seed: int
    samples: int
    about: Record
    """What every record says of the job."""


def restore_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    config: RestoreConfig,
    *,
    samples: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    overwrite: bool = False,
    generator: Generator | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> JobSummary:
    """Restores files into a folder; what is finished there is not done again.

    Args:
        inputs: Files, folders (with all folders below) and globs. Pictures are aligned face crops
            in FFHQ framing, square, of at least 4 pixels.
        out: Folder for the results; `records` and `folder` say what is written.
        config: What to do.
        samples: Restorations of each picture, from different starts.
        seed: Of all draws, from 0 to 2^32 - 1.
        batch_size: Pictures searched at once; by memory if None.
        overwrite: Redo pictures that are finished, whatever settings they were done with.
        generator: Takes the place of the one that the config names.
        report: Gets lines for the user while a generator is fetched.
        progress: Called now and then with the number of pictures done by this job, fractions
            included, and the number of those to do.

    Raises:
        UsageError, ConfigError, InputError, WeightsError: Before anything is written.
        WriteError, JobError: If the job cannot go on. What is finished stays.
    """
    started = time.monotonic()
    out = Path(out)
    _check_numbers(samples=samples, seed=seed, batch_size=batch_size)
    check_folder(out)
    sources = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    pictures, problems = collect_inputs(sources, out=out, reserved=[Path(INDEX).stem])
    looks = {
        p.path: look_at(p.path, config.degradation, max_size=config.data.max_size) for p in pictures
    }
    models = _load_models(looks.values(), dtype=config.dtype)
    degradation_sha256 = files_sha256(config.degradation)
    config = from_different_starts(config, samples=samples)
    if generator is None:
        generator = load_generator(config.generator, report=report, dtype=config.dtype)
    _check_fit(config, generator)
    settings = records.settings_of(
        config,
        generator,
        degradation_sha256=degradation_sha256,
        seed=seed,
        samples=samples,
    )
    finished = {} if overwrite else finished_records(out, pictures, config, settings)
    todo = [picture for picture in pictures if picture.name not in finished]

    make_folder(out)
    write_config(out, config)
    lines = records.read_lines(out / RESULTS)
    lines |= {records.place(record): record for record in finished.values()}
    for picture in todo:
        lines.pop(records.printable(picture.path), None)
    records.write_lines(out / RESULTS, lines.values())

    def add(record: Record) -> None:
        lines[records.place(record)] = record
        records.append_line(out / RESULTS, record)

    for source, reason in problems:
        add(records.failure_record(None, source, reason))
    if todo:
        about = {"settings": settings._asdict(), "generator": config.generator}
        prior = default_prior(generator, config.prior)
        about |= records.environment()
        job = _Job(out, config, generator, prior, models, seed, samples, about)
        _report_looks([looks[picture.path] for picture in todo], report)
        _report_bandwidth(prior, config, report)
        size = batch_size or default_batch_size(generator, config)
        progress = progress or (lambda done, total: None)
        _restore_all(job, todo, looks, size, add, progress)

    asked = [problem.source for problem in problems] + [picture.path for picture in pictures]
    own = {place: lines.pop(place) for place in map(records.printable, asked) if place in lines}
    records.write_lines(out / RESULTS, [*own.values(), *lines.values()])
    good = sum(record["status"] == "OK" for record in own.values())
    kept = sum(record["status"] == "OK" for record in finished.values())
    failed = [record for record in own.values() if record["status"] != "OK"]
    return JobSummary(
        out=out,
        restored=good - kept,
        kept=kept,
        failed=tuple(Failure(records.place(r), r["message"]) for r in failed),
        seconds=time.monotonic() - started,
    )


def _check_numbers(*, samples: int, seed: int, batch_size: int | None) -> None:
    if samples < 1:
        raise UsageError(f"samples must be at least 1, got {samples}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be from 0 to {2**32 - 1}, got {seed}")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")


def from_different_starts(config: RestoreConfig, *, samples: int) -> RestoreConfig:
    """The config, spread out if it would start several samples of a picture at one point."""
    if samples == 1 or config.prior.start == "random" or config.prior.spread > 0:
        return config
    prior = dataclasses.replace(config.prior, spread=SAMPLE_SPREAD)
    return dataclasses.replace(config, prior=prior)


def _load_models(looks: Iterable[Look], *, dtype: Any) -> dict[str, Likelihood]:
    names = {look.degradation for look in looks} - {"l2", "dct_box"}
    return {name: load_model(name, dtype=dtype) for name in sorted(names)}


def _report_looks(looks: Sequence[Look], report: Callable[[str], None] | None) -> None:
    """Says which data term is used for how many pictures, and why for the first of them."""
    if report is None:
        return
    for degradation in dict.fromkeys(look.degradation for look in looks):
        own = [look for look in looks if look.degradation == degradation]
        pictures = f"{len(own)} picture{'s' if len(own) > 1 else ''}"
        report(f"{degradation} for {pictures} ({own[0].reason})")


def _report_bandwidth(
    prior: Prior, config: RestoreConfig, report: Callable[[str], None] | None
) -> None:
    """Says where the paper's number is not used, because the latents are not FFHQ's."""
    width = float(prior.bank.bandwidth)
    if report is not None and config.prior.bandwidth == "paper" and width != PAPER_BANDWIDTH:
        report(
            f"the kernel's bandwidth is {width:.3g}, as wide beside this generator's latents as "
            f"the paper's {PAPER_BANDWIDTH:g} is beside FFHQ's"
        )


def _read(source: Input, config: RestoreConfig) -> Picture:
    picture = read_picture(source, max_size=config.data.max_size, degradation=config.degradation)
    require_header(picture.look)
    return picture


def _check_fit(config: RestoreConfig, generator: Generator) -> None:
    """Refuses a config that this generator cannot follow, before any work."""
    smallest, largest = (
        stages(config, generator.resolution, size) for size in (MIN_SIZE, config.data.max_size)
    )
    if not largest:
        raise ConfigError("search.steps and finish.steps are both 0; at least one must be more")
    noise = jax.eval_shape(generator.noise_maps)
    if config.noise.trainable > len(noise):
        raise ConfigError(
            f"noise.trainable must be at most {len(noise)}, the noise maps of "
            f"{config.generator}, got {config.noise.trainable}"
        )
    styles = jax.ShapeDtypeStruct((generator.num_styles, *generator.w_mean.shape), jnp.float32)
    drafts = {stage.resolution for stage in (*smallest, *largest)} - {generator.resolution}
    for resolution in sorted(drafts):
        try:
            jax.eval_shape(lambda s, n, r=resolution: generator.draft(s, n, r), styles, noise)
        except ValueError as error:
            raise ConfigError(f"the config does not fit {config.generator}: {error}") from error


def _restore_all(
    job: _Job,
    todo: Sequence[Input],
    looks: Mapping[Path, Look],
    size: int,
    add: Callable[[Record], None],
    progress: Callable[[float, int], None],
) -> None:
    done = 0
    most = max(1, size // job.samples)
    for inputs, full in _batches(todo, looks, job.config, most=most):
        progress(done, len(todo))
        pictures = []
        for source in inputs:
            try:
                pictures.append(_read(source, job.config))
            except (ImageError, ConfigError) as error:
                reason = str(error).removeprefix(f"cannot read {source.path}: ")
                add(records.failure_record(source.name, source.path, reason))
        if pictures:
            first, count = done + len(inputs) - len(pictures), len(pictures)

            def on_share(share: float, first: int = first, count: int = count) -> None:
                progress(first + share * count, len(todo))

            for record in _restore_batch(job, pictures, full, size, on_share):
                add(record)
        done += len(inputs)
    progress(done, len(todo))


def _batches(
    inputs: Sequence[Input], looks: Mapping[Path, Look], config: RestoreConfig, *, most: int
) -> Iterator[tuple[Sequence[Input], int]]:
    """Inputs of one size and data term, in even batches, each with the size of a full batch."""
    groups: dict[tuple[int, str], list[Input]] = {}
    for source in inputs:
        look = looks[source.path]
        kind = (min(look.side, config.data.max_size), look.degradation)
        groups.setdefault(kind, []).append(source)
    for group in groups.values():
        full = math.ceil(len(group) / math.ceil(len(group) / most))
        for start in range(0, len(group), full):
            yield group[start : start + full], full


def _restore_batch(
    job: _Job,
    pictures: Sequence[Picture],
    full: int,
    size: int,
    progress: Callable[[float], None],
) -> Iterator[Record]:
    """Restores pictures of one size and writes each one's files; the records of those written."""
    begun = time.monotonic()
    # Pictures that are missing from a full batch are made up for, so that a size compiles once.
    rows = [
        (picture, sample)
        for picture in [*pictures, *[pictures[-1]] * (full - len(pictures))]
        for sample in range(job.samples)
    ]
    keys = [picture_key(picture.pixels, seed=job.seed, sample=s) for picture, s in rows]
    degradation = pictures[0].look.degradation
    config = dataclasses.replace(job.config, degradation=degradation)
    likelihood = job.models.get(degradation)
    try:
        result = restore_batch(
            job.generator,
            np.stack([to_float(picture.pixels) for picture, _ in rows]),
            config,
            keys=jnp.stack(keys),
            headers=jax.tree.map(lambda *x: np.stack(x), *(p.look.header for p, _ in rows)),
            likelihood=likelihood,
            prior=job.prior,
            batch_size=math.ceil(len(rows) / math.ceil(len(rows) / size)),
            progress=progress,
        )
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            message = f"{len(rows)} pictures at once do not fit in memory; lower the batch size"
            raise JobError(message) from error
        raise
    seconds = (time.monotonic() - begun) / len(pictures)
    for i, picture in enumerate(pictures):
        own = slice(i * job.samples, (i + 1) * job.samples)
        one = jax.tree.map(lambda x, own=own: x[own], result)
        about = job.about | {"seconds": seconds}
        yield records.write_result(job.out, picture, one, config, about, likelihood=likelihood)
