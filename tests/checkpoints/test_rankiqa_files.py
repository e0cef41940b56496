import contextlib

import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign.rankiqa_files import read_rankiqa
from perceptual_jax.checkpoints.untrusted.caffemodel import read_caffemodel
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, UnsafeCheckpointError
from tests.helpers.caffe_writers import blob, caffemodel, field, rankiqa_layers
from tests.helpers.checkpoint_writers import called, torch_zip


def saved(path, content):
    path.write_bytes(content)
    return path


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_all_files_of_one_network_are_one(tmp_path):
    layers = rankiqa_layers()
    expected = read_rankiqa(saved(tmp_path / "a.caffemodel", caffemodel(layers)))
    assert expected["conv0.weight"].shape == (3, 3, 3, 2)
    assert expected["fc0.weight"].shape == (147, 6)
    # Caffe's first input of fc6 after a whole channel is ours at the next channel.
    np.testing.assert_array_equal(expected["fc0.weight"][1], layers["fc6"][0][:, 49])
    old = caffemodel(rankiqa_layers(suffix="_m"), old=True, legacy=True)
    assert_equal(read_rankiqa(saved(tmp_path / "b.caffemodel", old)), expected)
    double = caffemodel(layers, double=True)
    assert_equal(read_rankiqa(saved(tmp_path / "c.caffemodel", double)), expected)
    siamese = {name + end: arrays for end in ("", "_p") for name, arrays in layers.items()}
    content = caffemodel(siamese)
    assert_equal(read_rankiqa(saved(tmp_path / "d.caffemodel", content)), expected)
    state = {
        f"{name}.{kind}": array
        for name, arrays in layers.items()
        for kind, array in zip(("weight", "bias"), arrays, strict=True)
    }
    assert_equal(read_rankiqa(saved(tmp_path / "e.pt", torch_zip(state))), expected)
    state = {f"features.{name}": array for name, array in state.items()}
    assert_equal(read_rankiqa(saved(tmp_path / "f.pt", torch_zip(state))), expected)


def test_other_networks_are_refused(tmp_path):
    layers = rankiqa_layers()
    del layers["conv3_2"]
    path = saved(tmp_path / "x.caffemodel", caffemodel(layers))
    with pytest.raises(
        CheckpointError, match=r"x\.caffemodel as RankIQA: it has no conv3_2\.weight"
    ):
        read_rankiqa(path)
    saved(path, caffemodel(rankiqa_layers(outputs=3)))
    with pytest.raises(CheckpointError, match="it has 3 outputs, expected 1"):
        read_rankiqa(path)
    layers = rankiqa_layers() | {"fc7": (np.zeros((5, 7)), np.zeros(5))}
    saved(path, caffemodel(layers))
    with pytest.raises(
        CheckpointError, match=r"fc7 has weights of shape \(5, 7\), expected \(5, 6"
    ):
        read_rankiqa(path)
    saved(path, b"")
    with pytest.raises(CheckpointError, match="the file is empty"):
        read_rankiqa(path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_rankiqa(tmp_path / "missing.caffemodel")
    hostile = saved(tmp_path / "x.pt", called("os", "system", "touch canary"))
    with pytest.raises(UnsafeCheckpointError, match=r"calls os\.system"):
        read_rankiqa(hostile)


def test_files_that_are_cut_or_random_are_read_or_refused():
    whole = caffemodel(rankiqa_layers())
    rng = np.random.default_rng(0)
    for trial in range(300):
        if trial % 2:
            data = whole[: rng.integers(len(whole))]
        else:
            changed = bytearray(whole)
            for at in rng.integers(0, len(whole), 20):
                changed[at] = rng.integers(256)
            data = bytes(changed)
        with contextlib.suppress(CheckpointError):  # and nothing else
            found = read_caffemodel(memoryview(data))
            assert sum(value.nbytes for value in found.values()) <= len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08" * 500_000, "more than 200,000 fields"),
        (field(100, field(7, blob(np.zeros(0))) * 3000), "more than 2,000 arrays"),
        (field(100, field(7, field(7, field(1, b"\xff" * 9 + b"\x01")))), "numbers of shape"),
        (b"\x0b\x00", "wire type 3"),
        (b"\x0a\xff\xff\xff\x7f", "bytes are announced"),
        (b"\xff" * 20, "no protocol buffer"),
        (field(1, b"name"), "no layer with arrays"),
    ],
)
def test_what_costs_much_or_is_none_is_refused(data, message):
    with pytest.raises(CheckpointError, match=message):
        read_caffemodel(memoryview(data))
