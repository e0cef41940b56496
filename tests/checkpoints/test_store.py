import json

import numpy as np
import pytest
import safetensors.numpy

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError

METADATA = {"architecture": "stylegan2", "config": {"resolution": 16, "nested": [1, None, 0.5]}}


@pytest.fixture
def path(tmp_path):
    arrays = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "a.half": np.array([1.5, -0.0], np.float16),
        "scalar": np.float32(3.0),
        "empty": np.zeros((0, 4), np.int64),
    }
    store.save(tmp_path / "x.safetensors", arrays, METADATA)
    return tmp_path / "x.safetensors"


def test_what_was_saved_is_loaded(path):
    arrays, metadata = store.load(path)
    assert metadata == METADATA
    assert {name: (x.dtype, x.shape) for name, x in arrays.items()} == {
        "a.weight": (np.float32, (3, 2)),
        "a.half": (np.float16, (2,)),
        "scalar": (np.float32, ()),
        "empty": (np.int64, (0, 4)),
    }
    np.testing.assert_array_equal(arrays["a.weight"], [[0, 3], [1, 4], [2, 5]])
    assert arrays["scalar"] == 3.0


def test_inspect_reads_the_metadata_alone(path):
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert store.inspect(path) == METADATA
    with pytest.raises(WeightsError, match="damaged"):
        store.load(path)


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(path):
    whole = path.read_bytes()
    expected = store.load(path)
    noticed = 0
    for i in range(0, len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        try:
            arrays, metadata = store.load(path)
        except WeightsError:
            noticed += 1
            continue
        assert metadata == expected.metadata
        assert all(np.array_equal(arrays[name], x) for name, x in expected.arrays.items())
    assert noticed > 0.9 * len(whole)


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1])
    for read in (store.load, store.inspect):
        with pytest.raises(WeightsError, match="not a safetensors file"):
            read(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other"
    with pytest.raises(WeightsError, match=f"there is no file {path}"):
        store.load(path)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        store.load(tmp_path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        store.load(path)
    safetensors.numpy.save_file({"a": np.zeros(2)}, path)
    with pytest.raises(WeightsError, match="not one written by perceptual_jax"):
        store.inspect(path)


@pytest.mark.parametrize("metadata", ["not json", "[1]", json.dumps({"config": {}})])
def test_metadata_without_an_architecture_is_refused(tmp_path, metadata):
    path = tmp_path / "x"
    head = {"perceptual_jax": metadata, "sha256": "0"}
    safetensors.numpy.save_file({"a": np.zeros(2)}, path, metadata=head)
    with pytest.raises(WeightsError, match=r"does not say|not JSON"):
        store.inspect(path)


def test_saving_replaces_the_whole_file_and_leaves_nothing_beside_it(path):
    store.save(path, {"b": np.ones(1)}, METADATA)
    assert list(store.load(path).arrays) == ["b"]
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OSError, match="cannot write"):
        store.save(path.parent / "missing" / "x", {"b": np.ones(1)}, METADATA)
