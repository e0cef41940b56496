"""Inputs that are no files: tar shards, datasets, remote stores and lists of all these."""

import io
import tarfile

import fsspec
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.io.bundles import read_again
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import InputError, collect_inputs


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shard(tmp_path):
    """A shard in WebDataset's layout: pictures, and what is said of them."""
    path = tmp_path / "faces-000.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.png", png(1)), ("a.json", b"{}"), ("x/b.png", png(2))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def values(inputs):
    return {x.name: int(read_image(x.path, data=x.read_bytes())[0, 0, 0]) for x in inputs}


def test_a_shard_gives_its_pictures(shard):
    inputs, problems = collect_inputs([shard])
    assert not problems
    assert values(inputs) == {"a": 1, "x__b": 2}
    assert inputs[0].path == shard / "a.png"


def test_what_was_read_is_found_again_by_its_name(shard):
    store = fsspec.filesystem("memory")
    store.pipe("/again/faces-000.tar", shard.read_bytes())
    store.pipe("/again/c.png", png(3))
    inputs, _ = collect_inputs([shard, "memory://again"])
    assert len(inputs) == 5
    for one in inputs:
        assert read_again(str(one.path)) == one.read_bytes()
    for gone in (shard / "none.png", shard.parent / "none.png", "memory://again/none.png"):
        with pytest.raises(OSError, match=r"none\.png"):
            read_again(str(gone))


def test_two_shards_with_the_same_names_stay_apart(shard, tmp_path):
    other = tmp_path / "faces-001.tar"
    other.write_bytes(shard.read_bytes())
    names = [x.name for x in collect_inputs([shard, other])[0]]
    assert len(set(names)) == 4
    assert names == [x.name for x in collect_inputs([shard, other])[0]]


def test_a_damaged_shard_is_a_problem(shard, tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    inputs, problems = collect_inputs([shard, tmp_path / "bad.tar"])
    assert len(inputs) == 2
    assert "cannot be read as a tar or zip file" in problems[0].reason


def test_remote_files_folders_and_globs():
    store = fsspec.filesystem("memory")
    for name in ("in/a.png", "in/sub/b.png", "in/c.txt"):
        store.pipe(f"/faces/{name}", png(len(name)))
    assert values(collect_inputs(["memory://faces/in"])[0]) == {"a": 8, "sub__b": 12}
    assert values(collect_inputs(["memory://faces/in/*.png"])[0]) == {"a": 8}
    assert values(collect_inputs(["memory://faces/in/a.png"])[0]) == {"a": 8}
    with pytest.raises(InputError, match="holds no image"):
        collect_inputs(["memory://faces/none"])


def test_shards_in_a_store(shard):
    store = fsspec.filesystem("memory")
    store.pipe("/shards/faces-000.tar", shard.read_bytes())
    inputs, problems = collect_inputs(["memory://shards/*.tar"])
    assert not problems
    assert values(inputs) == {"a": 1, "x__b": 2}
    assert values(collect_inputs(["memory://shards"])[0]) == {"a": 1, "x__b": 2}


def test_a_list_names_sources_relative_to_itself(shard, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "d.png").write_bytes(png(4))
    (tmp_path / "list.txt").write_text("# faces\nown/d.png\n\nfaces-000.tar\nnone.png\n")
    inputs, problems = collect_inputs([f"@{tmp_path / 'list.txt'}"])
    assert values(inputs) == {"d": 4, "a": 1, "x__b": 2}
    assert [p.reason for p in problems] == ["does not exist"]
    with pytest.raises(InputError, match="cannot be read as a list"):
        collect_inputs([f"@{tmp_path / 'none.txt'}"])


def test_a_dataset_that_is_not_there_is_a_problem():
    with pytest.raises(InputError, match=r"cannot be opened .*; prepare it with tfds build"):
        collect_inputs(["tfds:no_such_dataset"])
