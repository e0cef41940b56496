"""Jobs whose results, and inputs, are in a remote store."""

import functools
import json
import random
import signal
import subprocess
import sys
import tarfile
import time

import fsspec
import pytest
from upath import UPath

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import WriteError, load_json, place_of
from perceptual_jax.jobs import processes
from perceptual_jax.jobs.index import write_index
from perceptual_jax.jobs.processes import Share
from perceptual_jax.jobs.status import merge, overview
from tests.helpers.job_files import contents, picture
from tests.helpers.processes import environment


@pytest.fixture
def store(finished):
    """An empty store with the inputs of `finished`."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in (finished / "in").rglob("*.png"):
        memory.pipe(f"/in/{path.relative_to(finished / 'in')}", path.read_bytes())
    yield memory
    memory.store.clear()


def stored(out):
    """The files by name, but for what processes say of themselves."""
    return {p.name: p.read_bytes() for p in UPath(out).iterdir() if not p.name.startswith(".")}


def without_places(text):
    records = [json.loads(line) for line in text.splitlines()]
    return [
        {k: v for k, v in r.items() if k != "seconds"} | {"input": r["input"]["sha256"]}
        for r in records
    ]


def test_a_store_gets_what_a_folder_gets(store, finished, again):
    summary = again("memory://out", inputs=["memory://in"])
    assert (summary.restored, summary.failed) == (3, ())
    there, expected = stored("memory://out"), contents(finished / "out")
    assert there.keys() == expected.keys()
    for name, content in expected.items():
        if name.endswith((".png", ".npz", ".toml")):
            assert there[name] == content, name
    lines = without_places(there["results.jsonl"].decode())
    assert lines == without_places(expected["results.jsonl"].decode())
    assert overview(UPath("memory://out")).done == 3
    assert [p.name for p in merge(UPath("memory://out"))] == ["results.csv", "results.parquet"]
    assert write_index(UPath("memory://out")) == UPath("memory://out/index.png")
    again = again("memory://out", inputs=["memory://in"])
    assert (again.restored, again.kept) == (0, 3)


@pytest.mark.parametrize("lost", ["b.json", "b.png"])
def test_what_a_store_lacks_is_done_again(store, again, lost):
    again("memory://out", inputs=["memory://in"])
    before = stored("memory://out")
    store.rm(f"/out/{lost}")
    summary = again("memory://out", inputs=["memory://in"])
    assert (summary.restored, summary.kept) == (1, 2)
    assert stored("memory://out").keys() == before.keys()
    assert stored("memory://out")["b.png"] == before["b.png"]


def test_the_sheet_shows_what_was_in_a_shard(finished, again, tmp_path):
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(finished / "in" / "a.png", "a.png")
    again(tmp_path / "out", inputs=[tmp_path / "faces.tar"])
    again(tmp_path / "plain", inputs=[finished / "in" / "a.png"])
    sheets = [write_index(tmp_path / out).read_bytes() for out in ("out", "plain")]
    assert sheets[0] == sheets[1]


def test_results_in_the_inputs_folder_are_no_inputs(store, again):
    again("memory://in/out", inputs=["memory://in"])
    assert again("memory://in/out", inputs=["memory://in"]).kept == 3
    assert overview(UPath("memory://in/out")).done == 3


def test_lines_that_a_killed_process_kept_come_from_records(store, again):
    share = Share(0, 2)
    again("memory://out", inputs=["memory://in"], share=share)
    done = overview(UPath("memory://out")).done
    assert done == sum(share.owns(name) for name in ("a", "b", "sub__a"))
    for path in store.glob("/out/results*.jsonl"):
        store.rm(path)
    assert overview(UPath("memory://out")).done == done


def test_a_store_that_fails_stops_the_job_and_keeps_what_is_there(store, again, monkeypatch):
    pipe = type(store).pipe_file

    def fail(self, path, value, **options):
        if path.endswith("b.npz"):
            raise RuntimeError("503: slow down")
        return pipe(self, path, value, **options)

    monkeypatch.setattr(type(store), "pipe_file", fail)
    with pytest.raises(WriteError, match=r"cannot write memory:.*b\.npz \(503: slow down\)"):
        again("memory://out", inputs=["memory://in"])
    monkeypatch.undo()
    kept = sum(name.endswith(".json") for name in stored("memory://out"))
    summary = again("memory://out", inputs=["memory://in"])
    assert (summary.restored, summary.kept) == (3 - kept, kept)


def test_in_a_store_a_place_is_free_when_its_holder_fell_silent(store):
    out = UPath("memory://out")
    hold_lease = functools.partial(processes.hold_lease, settle=0.0)
    taken = pytest.raises(UsageError, match=r"another process .*60 s after")
    with hold_lease(out, Share()), taken, hold_lease(out, Share()):
        pass
    with hold_lease(out, Share()):  # The first gave it back.
        pass
    state = {"host": "elsewhere", "pid": 1, "processes": 1, "updated": time.time() - 30}
    store.pipe("/out/.processes/00000.json", json.dumps(state).encode())
    with pytest.raises(UsageError, match="elsewhere, pid 1"), hold_lease(out, Share()):
        pass
    with hold_lease(out, Share(), duration=20.0):
        pass


def test_stores_that_cannot_be_reached_are_said_in_a_sentence(again):
    with pytest.raises(UsageError, match="nowhere://out cannot be reached: "):
        again("nowhere://out")


def test_a_missing_driver_is_said_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"gs://a/b cannot be reached .*the extra `stores`"):
        place_of("gs://a/b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGKILL, marks=pytest.mark.long), signal.SIGTERM]
)
def test_a_killed_process_loses_nothing_in_a_store(finished, narrow_path, tmp_path, how):
    """Real processes; `file://` is a store that all of them reach."""
    for i in range(24):
        picture(tmp_path / "in" / f"{i:03d}.png", i)
    (tmp_path / "quick.toml").write_text(
        "[search]\nsteps = 60\ndraft = 0\ncoarse_fraction = 0.0\n"
        "[features]\nresolution = 0\n[finish]\nsteps = 0\n"
        "[prior]\nbank_size = 16\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "perceptual_jax.cli", "restore", f"file://{tmp_path}/in"]
    command += ["--out", f"file://{out}", "--config", str(tmp_path / "quick.toml")]
    command += ["--batch-size", "2", "--generator", str(narrow_path)]
    variables = environment(FSSPEC_FILE_AUTO_MKDIR="true")
    process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("*.json"))) < 4:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    time.sleep(random.random() / 10)
    process.send_signal(how)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == (-9 if how == signal.SIGKILL else 75), said
    # Other stores' objects appear whole; a file of this one may be cut short.
    whole = [path for path in out.glob("*.json") if load_json(path)]
    before = {path: path.stat().st_mtime_ns for path in whole}
    assert len(before) >= 3
    assert subprocess.run(command, env=variables, timeout=300).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names = [json.loads(line)["name"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert names == [f"{i:03d}" for i in range(24)]
    assert not list(out.glob("results.0*"))
