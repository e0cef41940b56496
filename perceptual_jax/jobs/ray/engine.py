"""The engine of jobs on a Ray cluster: this process reads, workers restore and write.

    inputs -> batches (here) -> the next free worker -> its files, and their records back (here)

Batches are made as in a local job, so that each has the same pictures. They are given to workers
one by one: a fast worker takes more of them, and those of a worker that is lost go to the others.
Workers come and go with the nodes of the cluster. They write into the job's folder themselves, so
all nodes must see it; inputs are read in this process alone. Faces of photographs are inputs like
others; they are found, and put back, in this process.
"""

import contextlib
import dataclasses
import importlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs import writing
from perceptual_jax.jobs.feed import Batch, Sizes
from perceptual_jax.jobs.log import Journal, Record
from perceptual_jax.jobs.loop import JobError
from perceptual_jax.jobs.plan import Plan
from perceptual_jax.jobs.ray.cluster import Cluster
from perceptual_jax.jobs.ray.worker import AHEAD, Order, Records, Worker

LOSSES = 5
"""Workers in succession that a batch may be lost with, or that may be lost before they begin."""

_LOOK_S = 5.0
"""Seconds between looks at the nodes of the cluster."""

_CACHE = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@dataclasses.dataclass
class _Hand:
    """A worker as the job sees it."""

    actor: Any
    ready: bool = False
    batches: int = 0


class _Task(NamedTuple):
    batch: Batch
    losses: int


def restore_on_ray(
    plan: Plan,
    cluster: Cluster,
    batches: Callable[[Sizes], Iterator[Batch]],
    journal: Journal,
    *,
    report: Callable[[str], None] | None,
    progress: Callable[[float, int], None] | None,
    written: Callable[[Record], None] | None = None,
) -> None:
    """Restores the inputs of a plan on a Ray cluster.

    Args:
        plan: The work of the job.
        cluster: The cluster.
        batches: Yields the batches of the job, given their sizes.
        journal: Receives the records.
        report: Receives lines for the user.
        progress: Called with the number of pictures done and the total, after each batch.
        written: Called in this process with the record of each result that a worker wrote.

    Raises:
        UsageError: If Ray is not installed, the cluster is not reached, or a worker cannot start.
        JobError: If a batch is lost again and again, or does not fit in memory.
        WriteError: If results cannot be written.
    """
    ray = _ray()
    with _connected(ray, cluster):
        pool = _Pool(ray, plan, cluster, report or (lambda line: None))
        try:
            _restore(
                pool,
                plan,
                batches,
                journal,
                progress or (lambda done, total: None),
                written or (lambda record: None),
            )
        finally:
            pool.close()


def _restore(
    pool: "_Pool",
    plan: Plan,
    batches: Callable[[Sizes], Iterator[Batch]],
    journal: Journal,
    progress: Callable[[float, int], None],
    written: Callable[[Record], None],
) -> None:
    fitting = pool.first_size()
    waiting, coming, done = deque[_Task](), batches(plan.options.sizes(fitting)), 0
    seconds = journal.seconds
    seconds |= dict.fromkeys(("reading", "search", "writing"), 0.0)
    progress(0, journal.total)
    while True:
        while (hand := pool.free()) is not None:
            if not waiting:
                batch = next(coming, None)
                if batch is None:
                    break
                seconds["reading"] += batch.read_seconds
                for source, reason in batch.failed:
                    journal.add(writing.failure_record(source.name, source.path, reason), source)
                done += len(batch.failed)
                if not batch.pictures:
                    continue
                waiting.append(_Task(batch, 0))
            pool.submit(hand, waiting.popleft())
        if not waiting and not pool.tasks:
            break
        for task, found in pool.finished():
            if found is None:
                if task.losses + 1 == LOSSES:
                    first = task.batch.pictures[0].input.path
                    raise JobError(
                        f"{LOSSES} workers were lost with the batch of {first}; lower the batch "
                        "size if they ran out of memory, or see the logs of Ray"
                    )
                waiting.appendleft(task._replace(losses=task.losses + 1))
                continue
            for picture in task.batch.pictures:
                record = found.records[picture.input.name]
                journal.add(record, picture.input)
                written(record)
            for stage, took in found.seconds.items():
                seconds[stage] += took
            done += len(task.batch.pictures)
            progress(done, journal.total)
    progress(done, journal.total)


class _Pool:
    """The workers of a job, and the batches that they hold."""

    def __init__(self, ray: Any, plan: Plan, cluster: Cluster, report: Callable[[str], None]):
        self._ray, self._plan, self._cluster, self._report = ray, plan, cluster, report
        settings = {name: getattr(jax.config, name) for name in _CACHE}
        given = plan.tools.generator if plan.tools.given else None
        options = dataclasses.replace(plan.options, cluster=None)
        order = Order(
            plan.out, plan.config, options, plan.settings, given, plan.snapshots, settings
        )
        self._order = ray.put(order)
        self._hands: dict[Any, _Hand] = {}
        self._starting: dict[Any, _Hand] = {}
        self.tasks: dict[Any, tuple[_Hand, _Task]] = {}
        self._looked, self._lost_at_start, self._size = -_LOOK_S, 0, 0

    def first_size(self) -> int:
        """Waits for the first worker; the number of restorations that fit into its memory."""
        while not self._size:
            self.finished()
        return self._size

    def free(self) -> _Hand | None:
        """The ready worker with the fewest batches; None if all are busy."""
        hands = [h for h in self._hands.values() if h.ready and h.batches < AHEAD]
        return min(hands, key=lambda hand: hand.batches, default=None)

    def submit(self, hand: _Hand, task: _Task) -> None:
        """Gives a batch to a worker."""
        # What reads a picture stays here: it may hold an open archive.
        pictures = tuple(p._replace(input=p.input._replace(read=None)) for p in task.batch.pictures)
        names = {picture.input.name for picture in pictures}
        sent = task.batch._replace(pictures=pictures, failed=())
        self.tasks[hand.actor.restore.remote(sent, self._plan.redone & names)] = (hand, task)
        hand.batches += 1

    def finished(self) -> Iterator[tuple[_Task, Records | None]]:
        """Waits a little; the batches that ended since, with None for those that were lost."""
        self._grow()
        there = [*self.tasks, *self._starting]
        ended, _ = self._ray.wait(there, timeout=1.0) if there else ([], [])
        if not there:
            time.sleep(1.0)
        results = []
        for reference in ended:
            if reference in self._starting:
                self._begin(reference, self._starting.pop(reference))
                continue
            hand, task = self.tasks.pop(reference)
            hand.batches -= 1
            found = self._result(reference)
            if found is None:
                self._drop(hand)
            results.append((task, found))
        return iter(results)

    def close(self) -> None:
        """Ends all workers."""
        for hand in self._hands.values():
            with contextlib.suppress(Exception):  # A lost cluster may raise anything.
                self._ray.kill(hand.actor)

    def _begin(self, reference: Any, hand: _Hand) -> None:
        started = self._result(reference)
        if started is None:
            self._drop(hand)
            self._lost_at_start += 1
            if self._lost_at_start == LOSSES:
                raise JobError(f"{LOSSES} workers were lost as they started; see the logs of Ray")
            return
        self._lost_at_start, hand.ready = 0, True
        self._size, name = started
        self._report(f"a worker is ready: {name}")

    def _result(self, reference: Any) -> Any:
        """The result of a call; None if its worker was lost."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from error
        except (errors.RayActorError, errors.ObjectLostError, errors.RaySystemError):
            return None

    def _drop(self, hand: _Hand) -> None:
        if self._hands.pop(hand.actor, None) is not None:
            self._report("a worker was lost; its pictures go to the others")
            with contextlib.suppress(Exception):
                self._ray.kill(hand.actor)  # if it was only cut off

    def _grow(self) -> None:
        """Starts workers where the cluster has room for more."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        need = dict(self._cluster.resources) or default_need(nodes)
        wanted = self._cluster.workers or sum(room(node, need) for node in nodes)
        if not wanted:
            raise UsageError(f"no node of the Ray cluster has what a worker takes, {need}")
        options: dict[str, Any] = {"num_cpus": need.get("CPU", 0), "num_gpus": need.get("GPU", 0)}
        options["resources"] = {k: v for k, v in need.items() if k not in ("CPU", "GPU")}
        for _ in range(min(wanted, len(self._plan.todo)) - len(self._hands)):
            remote = self._ray.remote(Worker).options(max_concurrency=AHEAD, **options)
            hand = _Hand(remote.remote())
            self._hands[hand.actor] = hand
            self._starting[hand.actor.start.remote(self._order)] = hand


def default_need(nodes: list[dict[str, float]]) -> dict[str, float]:
    """What a worker takes of nodes with these resources: a GPU, a node's TPU chips, or its CPUs.

    Example:
        >>> default_need([{"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}])
        {'GPU': 1}
        >>> default_need([{"CPU": 8.0}, {"CPU": 16.0}])
        {'CPU': 8.0}
    """
    if any(node.get("GPU") for node in nodes):
        return {"GPU": 1}
    name = "TPU" if any(node.get("TPU") for node in nodes) else "CPU"
    return {name: min((node[name] for node in nodes if node.get(name)), default=1)}


def room(node: Mapping[str, float], need: Mapping[str, float]) -> int:
    """Number of workers that a node has room for.

    Example:
        >>> room({"CPU": 16.0, "GPU": 4.0}, {"GPU": 1})
        4
    """
    return min(int(node.get(name, 0) // amount) for name, amount in need.items())


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError('Ray is not installed; pip install "perceptual-jax[ray]"') from error


@contextlib.contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Connects to the cluster, unless this process is connected to one."""
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the Ray cluster cannot be reached ({reason})") from error
    try:
        yield
    finally:
        ray.shutdown()
