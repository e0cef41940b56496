"""A worker of a job on a Ray cluster: restores batches and writes their files."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from perceptual_jax.config import RestoreConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import Place
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.engine import job_of
from perceptual_jax.jobs.feed import Batch
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.loop import Writer, restore_pictures
from perceptual_jax.jobs.plan import JobOptions, load_tools
from perceptual_jax.jobs.resume import CONFIG
from perceptual_jax.jobs.snapshots import Snapshots
from perceptual_jax.jobs.writing import Settings
from perceptual_jax.types import Generator

AHEAD = 2
"""Batches of a worker: while it writes the results of one, it searches for those of the next."""


class Order(NamedTuple):
    """All that a worker needs to know of the job."""

    out: Place
    config: RestoreConfig
    options: JobOptions
    settings: Settings
    generator: Generator | None
    """The generator, if it was given in Python; else each worker loads it by its name."""
    snapshots: Snapshots | None
    jax_settings: Mapping[str, Any]


class Records:
    """Collects the records of a batch in a worker, as a journal does in a job."""

    def __init__(self) -> None:
        """Holds none yet."""
        self.records: dict[str, Record] = {}
        self.seconds = {"writing": 0.0, "search": 0.0}

    def add(self, record: Record, source: Input | None) -> None:
        """Adds the record of an input."""
        self.records[record["name"]] = record


class Worker:
    """Restores batches in a process of the cluster, and writes their files."""

    def start(self, order: Order) -> tuple[int, str]:
        """Loads everything; returns the number of restorations that fit, and a name for people.

        Raises:
            UsageError: If this node does not see the job's folder, or has other weights.
            ConfigError, WeightsError: If a file cannot be used.
        """
        for name, value in order.jax_settings.items():
            jax.config.update(name, value)
        if not (order.out / CONFIG).exists():
            raise UsageError(
                f"{socket.gethostname()} does not see {order.out}; choose a folder that all nodes "
                "share, or a store"
            )
        tools = load_tools(order.config, order.options, generator=order.generator, report=None)
        if tools.settings != order.settings:
            raise UsageError(
                f"{socket.gethostname()} has other weights of {tools.generator_name}, or of a "
                "learned data term; install the same files on all nodes"
            )
        self._order, self._fields, self._searching = order, tools.fields(), threading.Lock()
        self._job = job_of(tools, order.options, snapshots=order.snapshots)
        return self._job.sizes.restorations, f"pid {os.getpid()} on {socket.gethostname()}"

    def restore(self, batch: Batch, redone: frozenset[str]) -> Records:
        """Restores a batch and writes its files; meanwhile another call may search.

        Args:
            batch: The pictures, at least one.
            redone: Names of those that may have a result of an earlier job.

        Raises:
            JobError, WriteError: If the batch does not fit in memory, or cannot be written.
        """
        order, found = self._order, Records()
        with self._searching:
            begun = time.monotonic()
            results = restore_pictures(self._job, batch)
            found.seconds["search"] = time.monotonic() - begun
        with Writer(
            order.out,
            order.config.noise,
            found,
            job_fields=self._fields,
            redone=redone,
            snapshots=order.snapshots,
            output=order.options.output,
        ) as writer:
            for picture, result in zip(batch.pictures, results, strict=True):
                writer.write(picture, result, seconds=found.seconds["search"] / len(results))
        return found
