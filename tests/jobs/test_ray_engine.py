"""A job on a Ray cluster of this machine, one of whose two workers is killed in the middle."""

import contextlib
import dataclasses
import os
import re
import signal

import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.photographs.job import restore_photographs
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.ray.cluster import Cluster, cluster_of
from tests.helpers.job_files import CONFIG, contents, lines, picture
from tests.helpers.photographs import smooth_photograph
from tests.helpers.processes import environment
from tests.jobs.test_photographs import TWO, Finder, face, tree

CPU = Cluster(resources={"CPU": 1})


def test_options_that_do_not_go_together_are_refused():
    assert cluster_of("local", None, None, ()) is None
    assert cluster_of("ray", "auto", 2, ("CPU=4",)) == Cluster("auto", 2, {"CPU": 4.0})
    with pytest.raises(UsageError, match="--engine ray"):
        cluster_of("local", None, 2, ())
    with pytest.raises(UsageError, match="NAME=NUMBER"):
        cluster_of("ray", None, None, ("CPU",))
    with pytest.raises(UsageError, match="more than 0 of GPU"):
        Cluster(resources={"GPU": 0})
    with pytest.raises(UsageError, match="one process"):
        JobOptions(cluster=CPU, share=Share(0, 2))


@pytest.fixture
def ray(monkeypatch):
    """A cluster of two CPUs."""
    ray = pytest.importorskip("ray")
    # Workers compile as this process does, see the tests' settings.
    for name, value in environment(RAY_USAGE_STATS_ENABLED="0").items():
        monkeypatch.setenv(name, value)
    size = 80_000_000
    ray.init(
        "local",
        num_cpus=2,
        object_store_memory=size,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
@pytest.mark.usefixtures("ray")
def test_batches_of_a_killed_worker_are_taken_over(narrow_path, tmp_path):
    for seed in range(12):
        picture(tmp_path / "in" / f"{seed:02d}.png", seed)
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    config = dataclasses.replace(CONFIG, generator=str(narrow_path))
    pids, killed = [], []

    def report(line):
        pids.extend(map(int, re.findall(r"pid (\d+)", line)))

    def progress(done, total):
        if done and len(pids) == 2 and not killed:
            killed.append(done)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)

    summary = restore_files(
        tmp_path / "in",
        tmp_path / "ray",
        config,
        JobOptions(batch_size=1, cluster=CPU),
        report=report,
        progress=progress,
    )
    assert killed
    assert (summary.restored, len(summary.failed)) == (12, 1)
    restore_files(tmp_path / "in", tmp_path / "local", config, JobOptions(batch_size=1))
    here, there = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert here.keys() == there.keys()
    for name in here:
        if name.endswith((".png", ".npz", ".toml")):
            assert here[name] == there[name]
    (records, others) = (lines(tmp_path / name) for name in ("ray", "local"))
    assert [x["name"] for x in records] == [x["name"] for x in others]
    for record, other in zip(records, others, strict=True):
        assert record.keys() == other.keys()
    again = restore_files(tmp_path / "in", tmp_path / "ray", config, JobOptions(batch_size=1))
    assert (again.restored, again.kept) == (0, 12)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
@pytest.mark.usefixtures("ray")
def test_faces_of_photographs_come_back_as_from_a_local_job(narrow_path, tmp_path):
    folder = tmp_path / "in"
    for seed in range(3):
        picture(folder / f"crop{seed}.png", seed)
    for name in ("a", "b"):
        Image.fromarray(smooth_photograph(64, 96)).save(folder / f"{name}.png")
    config = dataclasses.replace(CONFIG, generator=str(narrow_path))
    find = Finder(_96x64=[face(quad) for quad in TWO])
    for out, cluster in (("ray", CPU), ("local", None)):
        options = JobOptions(batch_size=1, cluster=cluster)
        summary = restore_photographs(folder, tmp_path / out, config, options, find=find)
        assert (summary.restored, summary.failed) == (5, ())
    here, there = tree(tmp_path / "local"), tree(tmp_path / "ray")
    assert here.keys() == there.keys() >= {"a.png", "a/face-2.png", "crop1.png"}
    for name in here:
        if name.endswith((".png", ".npz", ".toml")):
            assert here[name] == there[name], name
    calls = find.calls
    options = JobOptions(batch_size=1, cluster=CPU)
    again = restore_photographs(folder, tmp_path / "ray", config, options, find=find)
    assert (again.restored, again.kept, find.calls) == (0, 5, calls)
