"""What a job takes of a Ray cluster; `ray_engine` restores on it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from perceptual_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what of it a job takes.

    Raises:
        UsageError: If a number is out of its range.
    """

    address: str | None = None
    """Address of the cluster, or `auto`; None starts one on this machine for the job, unless the
    environment names one in `RAY_ADDRESS`."""
    workers: int | None = None
    """Number of workers; None for as many as the cluster has room for, also when it grows."""
    resources: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What a worker takes, such as {"GPU": 1}; if empty one GPU, else the TPU chips or all CPUs of
    a node."""

    def __post_init__(self) -> None:
        """Checks the ranges of the numbers."""
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")
        for name, amount in self.resources.items():
            if not amount > 0:
                raise UsageError(f"a worker must take more than 0 of {name}, got {amount}")


def cluster_of(
    engine: Literal["local", "ray"],
    address: str | None,
    workers: int | None,
    takes: Sequence[str],
) -> Cluster | None:
    """The cluster that the command line's options name; None for the local engine.

    Raises:
        UsageError: If they do not go together, or are no numbers.
    """
    if engine == "local":
        if address is not None or workers is not None or takes:
            raise UsageError("address, workers and worker-takes go with --engine ray")
        return None
    try:
        pairs = [(name, float(number)) for name, number in (one.split("=") for one in takes)]
    except ValueError as error:
        raise UsageError(f"expected NAME=NUMBER, such as CPU=8, got {' '.join(takes)}") from error
    return Cluster(address, workers, dict(pairs))
