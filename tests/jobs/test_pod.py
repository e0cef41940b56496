"""Jobs of several real processes: each picture once, the same result, whatever kills them."""

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from perceptual_jax import cli
from perceptual_jax.jobs.status import overview
from tests.helpers.job_files import picture
from tests.helpers.processes import environment

pytestmark = pytest.mark.slow

CONFIG = """
[search]
steps = 80
draft = 0
coarse_fraction = 0.0
[features]
resolution = 0
[finish]
steps = 0
[prior]
bank_size = 16
[noise]
mode = "random"
"""
COUNT = int(os.environ.get("PERCEPTUAL_JAX_POD_PICTURES", "24"))
ROUNDS = int(os.environ.get("PERCEPTUAL_JAX_POD_ROUNDS", "2"))
"""Of killing; 20 is the long run."""


@pytest.fixture(scope="module")
def pod(tmp_path_factory, narrow_path):
    """Starts the processes of a job on this machine; an undisturbed run's files for comparison."""
    root = tmp_path_factory.mktemp("pod")
    for i in range(COUNT):
        picture(root / "in" / f"{i:03d}.png", i)
    (root / "quick.toml").write_text(CONFIG)

    started = []

    def restore(out):
        """The verb that all of them run."""
        command = ["restore", str(root / "in"), "--out", str(out), "--batch-size", "4"]
        return [*command, "--config", str(root / "quick.toml"), "--generator", str(narrow_path)]

    def start(out, count, *, options=()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "perceptual_jax.cli", *restore(out), *options]
        devices = {"JAX_NUM_CPU_DEVICES": "1" if count == 1 else "2"}
        variables = environment(JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo", **devices)
        processes = []
        for i in range(count):
            several = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(count)]
            own = [*several, "--process-id", str(i)] if count > 1 else []
            processes.append(
                subprocess.Popen([*command, *own], env=variables, stderr=subprocess.PIPE, text=True)
            )
        started.extend(processes)
        return processes

    def run(out, count, **options):
        ends = [(p.communicate(timeout=300)[1], p.returncode) for p in start(out, count, **options)]
        assert [code for _, code in ends] == [0] * count, ends
        return [error.splitlines()[-1] for error, _ in ends]

    assert cli.main(restore(root / "alone")) == 0
    yield root, start, run, restore
    for process in started:
        process.kill()
        process.communicate()


def results(out):
    """The pictures and styles of a folder, which must be those of every run."""
    return {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".png", ".npz")}


def check(out, expected):
    """Up to rounding: on some processors a picture's last bits depend on its row in the batch."""
    found = results(out)
    found.pop("index.png", None)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        if name.endswith(".png"):
            shown, reference = (
                np.asarray(Image.open(io.BytesIO(data))).astype(int)
                for data in (found[name], content)
            )
            assert np.abs(shown - reference).max() <= 1, name
        else:
            arrays, reference = (np.load(io.BytesIO(data)) for data in (found[name], content))
            np.testing.assert_allclose(arrays["styles"], reference["styles"], atol=1e-5)
    assert len(list(out.glob("*.json"))) == COUNT
    assert not list(out.glob("*.tmp"))
    assert not list(out.glob(".*.tmp"))


@pytest.fixture(scope="module")
def expected(pod):
    found = results(pod[0] / "alone")
    del found["index.png"]
    return found


def test_two_processes_write_what_one_does(pod, expected, tmp_path, capsys):
    _, _, run, restore = pod
    counts = run(tmp_path / "out", 2)
    assert sum(int(line.split("restored ")[1].split(",")[0]) for line in counts) == COUNT
    check(tmp_path / "out", expected)
    lines = [p.read_text().splitlines() for p in (tmp_path / "out").glob("results*.jsonl")]
    assert [len(part) > 0 for part in lines] == [True, True]
    assert sum(map(len, lines)) == COUNT
    # Nothing is left to do for one.
    assert cli.main(restore(tmp_path / "out")) == 0
    assert f"restored 0, kept {COUNT}, failed 0" in capsys.readouterr().err
    assert cli.main(["job", "status", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith(f"done {COUNT}, failed 0, left 0\n")


@pytest.mark.parametrize(
    "number",
    [pytest.param(i, marks=pytest.mark.long) for i in range(ROUNDS)],
)
def test_nothing_is_lost_or_done_twice_whatever_kills_them(pod, expected, tmp_path, number):
    _, start, run, _ = pod
    rng = random.Random(number)
    how = (signal.SIGKILL, signal.SIGTERM)[number % 2]
    victims = (0, 1) if number % 4 < 2 else (rng.randrange(2),)
    out = tmp_path / "out"
    processes = start(out, 2)
    wanted, deadline = rng.randrange(0, COUNT // 2), time.monotonic() + 200
    while len(list(out.glob("*.json"))) <= wanted and time.monotonic() < deadline:
        assert any(p.poll() is None for p in processes), processes[0].stderr.read()
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.1))
    for victim in victims:
        processes[victim].send_signal(how)
    for p in processes:
        p.wait(timeout=300)
    for victim in victims:
        code, said = processes[victim].returncode, processes[victim].stderr.read()
        # One that had nothing left to do only waited for the other.
        waited = "restored" in said.splitlines()[-1]
        assert code == (-9 if how == signal.SIGKILL else 75) or waited, (code, said)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    for path in before:
        record = json.loads(path.read_text())
        assert all((out / file).is_file() for file in record["files"])
    run(out, (1, 3)[number % 2])
    check(out, expected)
    # What was finished was not done again.
    assert {path: path.stat().st_mtime_ns for path in before} == before
    view = overview(out)
    assert (view.done, view.failed, view.left) == (COUNT, 0, 0)


@pytest.mark.long
def test_two_jobs_at_once_notice_each_other(pod, tmp_path, capsys):
    _, start, _, restore = pod
    (first,) = start(tmp_path / "out", 1)
    while not list((tmp_path / "out").glob("*.json")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # so that it is not done by the time the second has begun
    try:
        assert cli.main(restore(tmp_path / "out")) == 2
        assert "is being written to by another process" in capsys.readouterr().err
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=300) == 0


@pytest.mark.parametrize(
    "options",
    [["--num-processes", "2"], ["--coordinator", "127.0.0.1:1", "--process-id", "0"]],
)
def test_incomplete_names_of_processes_are_wrong_usage(tmp_path, options, capsys):
    picture(tmp_path / "in.png", 0)
    command = ["restore", str(tmp_path / "in.png"), "--out", str(tmp_path / "out")]
    assert cli.main([*command, *options]) == 2
    assert "go together" in capsys.readouterr().err
