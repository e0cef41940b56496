"""A restorer of batches in memory, for engines that hold their own data: `Restorer`.

    plain loop    for batch in batches: restore(batch)
    Ray Data      dataset.map_batches(Restorer, fn_constructor_args=(config,), concurrency=4)
    Beam          a DoFn that makes a Restorer in `setup` and calls it in `process`

It reads pictures, chooses their data terms, keys and batches, and restores them by the functions
of a job (`feed`, `loop`), so that the same pictures in the same batches have the same results.
"""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import json_text
from perceptual_jax.io.images import to_uint8
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.feed import load_batches
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.loop import Job, restore_pictures
from perceptual_jax.jobs.plan import JobOptions, Tools, load_tools
from perceptual_jax.jobs.reading import Picture
from perceptual_jax.jobs.snapshots import Snapshots
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.presets import default_batch_size
from perceptual_jax.types import Generator, Restoration

IMAGE, BYTES, NAME = "image", "bytes", "name"
"""Columns of a batch: arrays, encoded files, and names for the records."""


def job_of(tools: Tools, options: JobOptions, *, snapshots: Snapshots | None = None) -> Job:
    """The arguments that all batches of a job share; the prior is computed here.

    Args:
        tools: The loaded generator and models.
        options: Settings of the job.
        snapshots: Snapshots of partial searches; None takes none.
    """
    config, generator = tools.config, tools.generator
    return Job(
        config=config,
        generator=generator,
        prior=default_prior(generator, config),
        models=tools.models,
        seed=options.seed,
        sizes=options.sizes(default_batch_size(generator, config)),
        snapshots=snapshots,
    )


class Restorer:
    """Restores batches of pictures: loads everything once, compiles on first use of a shape.

    Called with columns, as `ray.data.Dataset.map_batches` passes and expects them. A call never
    fails because of a picture: one that cannot be read gets the status FAILED.

    Example:
        In a plain loop: ``restore = Restorer(RestoreConfig())``, then for each batch
        ``restore({"bytes": files, "name": names})["image"]``.
    """

    def __init__(
        self,
        config: RestoreConfig,
        *,
        generator: Generator | None = None,
        samples: int = 1,
        seed: int = 0,
        batch_size: int | None = None,
        arrays: bool = False,
    ):
        """Loads the generator, and a learned data term if the config names one.

        Args:
            config: Settings of the restorations.
            generator: Replaces the generator that the config names.
            samples: Number of restorations of each picture, from different starts.
            seed: Seed of all draws, from 0 to 2^32 - 1.
            batch_size: Number of restorations searched at once, to which smaller batches are
                padded, so that each shape compiles once; if None, as many as fit in memory.
            arrays: Whether results have the column `npz`.

        Raises:
            UsageError, ConfigError, WeightsError: If the settings or a file cannot be used.
        """
        options = JobOptions(samples=samples, seed=seed, batch_size=batch_size)
        self._arrays = arrays
        self._tools = load_tools(config, options, generator=generator, report=None)
        self._fields = self._tools.fields()
        self._job = job_of(self._tools, options)

    def __call__(self, batch: Mapping[str, Sequence[Any] | np.ndarray]) -> dict[str, Any]:
        """Restores the pictures of a batch, in any mix of sizes.

        Args:
            batch: Columns of equal length. A picture is the first that is not None of its
                `image`, an array of uint8 [h w 3] or the bytes of an encoded file, and its
                `bytes`. `name` is for the records; by default the rows are counted. Other columns
                are passed through.

        Returns:
            The other columns, and for each picture

                name      its name
                status    OK, or why its search stopped early, or FAILED if there is no result
                message   the same in a sentence
                image     uint8 [r r 3], with samples [s r r 3]; black where there is no result
                styles    float32 [k d], with samples [s k d]; 0 where there is no result
                record    the record of a job (`writing`) as JSON, without its names of files
                npz       if asked for: the content of a job's `.npz` file; empty without result

        Raises:
            UsageError: If there is no column of pictures, or columns differ in length.
            JobError: If the pictures searched at once do not fit in memory.
        """
        sources, sizes = inputs_of(batch), self._job.sizes
        numbers = {id(source): i for i, source in enumerate(sources)}
        rows: list[dict[str, Any]] = [{} for _ in sources]
        for group in load_batches(
            sources,
            self._job.config,
            max_pictures=sizes.max_pictures,
            balanced=sizes.balances(len(sources)),
            resolution=self._job.generator.resolution,
        ):
            for source, reason in group.failed:
                record = writing.failure_record(source.name, source.path, reason)
                rows[numbers[id(source)]] = self._row(record, None)
            results = restore_pictures(self._job, group) if group.pictures else []
            for picture, result in zip(group.pictures, results, strict=True):
                row = self._row(self._record(picture, result), result)
                rows[numbers[id(picture.input)]] = row
        rest = {name: x for name, x in batch.items() if name not in (IMAGE, BYTES, NAME)}
        return rest | _columns(rows)

    def _record(self, picture: Picture, result: Restoration) -> Record:
        return writing.describe(picture, result) | self._fields

    def _row(self, record: Record, result: Restoration | None) -> dict[str, Any]:
        generator, samples = self._job.generator, self._job.sizes.samples
        if result is None:
            image = np.zeros((samples, generator.resolution, generator.resolution, 3), np.uint8)
            shape = (samples, generator.num_styles, *generator.w_mean.shape)
            styles, npz = np.zeros(shape, np.float32), b""
        else:
            image = to_uint8(np.asarray(result.image))
            styles, npz = np.asarray(result.styles), b""
            if self._arrays:
                npz = _npz(writing.arrays_of(result, self._job.config.noise))
        one = samples == 1
        row = {
            "name": record["name"],
            "status": record["status"],
            "message": record["message"],
            "image": image[0] if one else image,
            "styles": styles[0] if one else styles,
            "record": json_text(record),
        }
        return row | ({"npz": npz} if self._arrays else {})


def inputs_of(batch: Mapping[str, Sequence[Any] | np.ndarray]) -> list[Input]:
    """The pictures of a batch of columns as inputs of a job, in memory; see `Restorer`.

    Raises:
        UsageError: If there is no column of pictures, or columns differ in length.
    """
    columns = [batch[name] for name in (IMAGE, BYTES) if name in batch]
    if not columns:
        raise UsageError(
            f"expected a batch with the column image or bytes, got {', '.join(batch) or 'none'}"
        )
    lengths = {name: len(column) for name, column in batch.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"expected columns of one length, got {lengths}")
    names = batch.get(NAME, range(len(columns[0])))
    return [
        Input(Path(str(name)), str(name), functools.partial(_encoded, values))
        for name, *values in zip(names, *columns, strict=True)
    ]


def _encoded(values: Sequence[Any]) -> bytes:
    """The bytes of the first value that is not None: of an array, those of a PNG of it."""
    value = next((x for x in values if x is not None), None)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    pixels = np.asarray(value)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
        got = "none" if value is None else f"{pixels.dtype} {list(pixels.shape)}"
        raise OSError(f"expected bytes or an array of uint8 [h w 3], got {got}")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _npz(arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as columns; arrays are stacked."""
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return {
        name: np.stack(values) if isinstance(values[0], np.ndarray) else values
        for name, values in columns.items()
    }
