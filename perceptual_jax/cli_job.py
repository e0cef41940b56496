"""The verb `job`: a look at a job from another shell, and one table of what it did."""

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg
from tyro.conf import subcommand as verb

from perceptual_jax.cli_common import or_else

Out = Positional[Annotated[str, arg(metavar="DIR")]]


@dataclasses.dataclass(frozen=True)
class Status:
    """Say how a job stands: done, failed, left; and of each process its rate and slowest stage."""

    out: Out
    """The job's folder, or gs://..., s3://...; processes may be working on it."""
    every: Annotated[float | None, or_else("once", metavar="SECONDS")] = None
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
