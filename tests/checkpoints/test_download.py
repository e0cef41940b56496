"""Downloads against a real server on this machine, which cuts, repeats and changes files."""

import hashlib
import http.server
import threading

import numpy as np
import pytest

from perceptual_jax.checkpoints import fetch, load
from perceptual_jax.checkpoints.catalogue import Download, Entry, WeightsError
from perceptual_jax.checkpoints.download import expected_sha256, fetch_file
from tests.helpers.checkpoint_writers import nvidia_torch
from tests.helpers.foreign_networks import nvidia_arrays

DATA = np.random.default_rng(0).bytes(50_000)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        data, start = server.files.get(self.path), 0
        server.asked.append(self.headers.get("Range"))
        if data is None:
            self.send_error(404)
            return
        if server.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = start + server.cut if server.cut else len(data)
        self.wfile.write(data[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.ranges, server.cut = {"/x.pkl": DATA}, [], True, 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(server, data=DATA, **changes):
    url = f"http://127.0.0.1:{server.server_port}/x.pkl"
    return Download(
        url, **{"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} | changes
    )


def test_a_file_is_fetched_once_with_progress(server, tmp_path):
    seen = []
    path = fetch_file(published(server), tmp_path, progress=lambda *x: seen.append(x))
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert fetch_file(published(server), tmp_path) == path
    assert len(server.asked) == 1


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_cut_connection_is_gone_on_with(server, tmp_path, size):
    server.cut = 20_000
    assert fetch_file(published(server, size=size), tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=20000-", "bytes=40000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    (tmp_path / "x.pkl.part").write_bytes(b"half of another")
    server.ranges = False
    assert fetch_file(published(server), tmp_path).read_bytes() == DATA


def test_a_part_that_is_whole_or_too_long_is_no_trouble(server, tmp_path):
    (tmp_path / "x.pkl.part").write_bytes(DATA)
    assert fetch_file(published(server, size=None), tmp_path).read_bytes() == DATA
    (tmp_path / "x.pkl").unlink()
    (tmp_path / "x.pkl.part").write_bytes(DATA + b"more")
    assert fetch_file(published(server, size=None), tmp_path).read_bytes() == DATA


def test_a_part_survives_a_server_that_is_gone(server, tmp_path):
    (tmp_path / "x.pkl.part").write_bytes(DATA[:100])
    gone = published(server)
    gone = Download(gone.url.replace(str(server.server_port), "9"), gone.size, gone.sha256)
    with pytest.raises(WeightsError, match=r"what was got is kept in .*x.pkl.part"):
        fetch_file(gone, tmp_path)
    assert (tmp_path / "x.pkl.part").read_bytes() == DATA[:100]
    server.files = {}
    with pytest.raises(WeightsError, match="the server says 404"):
        fetch_file(published(server), tmp_path)


def test_another_file_is_kept_aside_and_both_hashes_are_said(server, tmp_path):
    server.files["/x.pkl"] = other = DATA[::-1]
    found = hashlib.sha256(other).hexdigest()
    with pytest.raises(WeightsError) as error:
        fetch_file(published(server), tmp_path)
    assert found in str(error.value)
    assert published(server).sha256 in str(error.value)
    (kept,) = tmp_path.glob("*.unexpected")
    assert kept.read_bytes() == other


def test_a_file_without_a_published_hash_is_pinned(server, tmp_path):
    unknown = published(server, sha256=None, size=None)
    fetch_file(unknown, tmp_path).unlink()
    assert expected_sha256(unknown, tmp_path) == hashlib.sha256(DATA).hexdigest()
    server.files["/x.pkl"] = DATA[::-1]
    with pytest.raises(WeightsError, match="is not the published"):
        fetch_file(unknown, tmp_path)


@pytest.fixture
def official(server, tmp_path, monkeypatch):
    """An entry for a catalogue of its own, whose file is a narrow network's."""
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    server.files["/x.pkl"] = data = nvidia_torch({"G_ema": nvidia_arrays()})
    source = published(server, data)
    return Entry("tiny-sg2", "stylegan2", 16, source, "for tests only", "A narrow StyleGAN2")


def test_an_official_network_is_a_generator_by_its_name(official, server):
    lines = []
    generator = load.load_generator("tiny-sg2", report=lines.append, entries=[official])
    assert generator.resolution == 16
    assert any("for tests only" in line for line in lines)
    assert all(check.ok for check in fetch.verify("tiny-sg2", entries=[official]))
    load.load_generator("tiny-sg2", entries=[official])
    assert len(server.asked) == 1


def test_an_official_network_from_a_file(official, server, tmp_path):
    (tmp_path / "own.pkl").write_bytes(server.files["/x.pkl"])
    fetch.ensure("tiny-sg2", source=tmp_path / "own.pkl", entries=[official])
    assert not server.asked
    assert all(check.ok for check in fetch.verify("tiny-sg2", entries=[official]))


def test_a_checkpoint_is_a_generator_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    path, lines = tmp_path / "own.pkl", []
    path.write_bytes(nvidia_torch({"G_ema": nvidia_arrays()}))
    first = load.generator_path(path, report=lines.append)
    assert any(line.startswith("converting") for line in lines)
    assert load.generator_path(path, report=pytest.fail) == first
    assert load.load_generator(path).resolution == 16
    path.write_bytes(nvidia_torch({"G_ema": nvidia_arrays(seed=1)}))
    assert load.generator_path(path) != first
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="a web page"):
        load.load_generator(path)
