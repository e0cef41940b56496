"""Reading others' checkpoints: to the bit where they are whole, never more than data where not."""

import os
import pickle
import random
import struct

import h5py
import numpy as np
import pytest

from perceptual_jax.checkpoints.untrusted.budget import LIMITS, Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    CheckpointError,
    DamagedCheckpointError,
    UnknownFormatError,
    UnsafeCheckpointError,
)
from perceptual_jax.checkpoints.untrusted.nvidia_pickles import NVIDIA_MAKERS
from perceptual_jax.checkpoints.untrusted.pickles import unpickle
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.checkpoint_writers import (
    Call,
    Global,
    Persistent,
    dumps,
    nvidia_tensorflow,
    nvidia_torch,
    tensor,
    torch_stream,
    torch_zip,
)
from tests.helpers.hostile_files import ARRAYS, EXCEEDED, HOSTILE, PKL, STREAM, WHOLE


def written(tmp_path, data):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("write", [torch_zip, torch_stream])
def test_torch_files_are_read_to_the_bit(tmp_path, write):
    value = {"g_ema": ARRAYS, "latent_avg": ARRAYS["a.half"], "iter": 7, "args": ["x", None]}
    checkpoint = read_checkpoint(written(tmp_path, write(value)))
    assert checkpoint.extra == {"iter": 7}
    np.testing.assert_array_equal(checkpoint.loose["latent_avg"], ARRAYS["a.half"])
    arrays = checkpoint.networks["g_ema"].arrays
    assert arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected)
        assert not arrays[name].flags.writeable


def test_views_share_their_storage_and_keep_their_strides(tmp_path):
    kind = Global("torch", "FloatStorage")
    reference = Persistent(("storage", kind, "0", "cpu", 12))

    def view(offset, size, stride):
        args = (reference, offset, size, stride, False, {})
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), args)

    pickled = dumps({"x.t": view(0, (4, 3), (1, 4)), "x.part": view(5, (2,), (3,))})
    data = torch_zip({}, pickled=pickled, extra=[("archive/data/0", ARRAYS["a.weight"].tobytes())])
    arrays = read_checkpoint(written(tmp_path, data)).networks[""].arrays
    np.testing.assert_array_equal(arrays["x.t"], ARRAYS["a.weight"].T)
    np.testing.assert_array_equal(arrays["x.part"], [5, 8])


def test_nvidia_pickles_are_read_to_the_bit(tmp_path):
    attributes = {"z_dim": 5, "a.conv_clamp": 256}
    data = nvidia_torch({"G_ema": ARRAYS, "D": ARRAYS}, attributes=attributes)
    network = read_checkpoint(written(tmp_path, data)).networks["G_ema"]
    assert network.kind == "Generator"
    assert network.attributes["z_dim"] == 5
    assert network.attributes["a.conv_clamp"] == 256
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(network.arrays[name], expected)
    variables = {name.replace(".", "/"): value for name, value in ARRAYS.items()}
    data = nvidia_tensorflow(variables, static={"resolution": 8})
    checkpoint = read_checkpoint(written(tmp_path, data))
    assert [*checkpoint.networks] == ["G", "D", "Gs"]
    assert checkpoint.networks["Gs"].attributes["resolution"] == 8
    for name, expected in variables.items():
        np.testing.assert_array_equal(checkpoint.networks["Gs"].arrays[name], expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_mean_what_python_means(protocol):
    value = {
        "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**62, 0.5, float("inf")],
        "texts": ["", "é\n\\u", "x" * 300],
        "bytes": [b"", b"\x00\xff", b"y" * 2000],
        "others": [None, True, False, (), (1,), (1, 2, 3, 4), {"k": {}}, {1, 2}],
    }
    value["again"] = value["texts"]
    ours, end = unpickle(memoryview(pickle.dumps(value, protocol)), NVIDIA_MAKERS)
    assert end == len(pickle.dumps(value, protocol))
    ours["bytes"] = [bytes(b) for b in ours["bytes"]]
    assert ours == value
    assert ours["again"] is ours["texts"]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_that_numpy_pickled(protocol, order):
    array = np.asarray(ARRAYS["a.weight"], order=order)
    stand_in, _ = unpickle(memoryview(pickle.dumps(array, protocol)), NVIDIA_MAKERS)
    np.testing.assert_array_equal(stand_in.array(), array)
    scalar, _ = unpickle(memoryview(pickle.dumps(np.float64(3.5), protocol)), NVIDIA_MAKERS)
    assert scalar == 3.5


# Hostile and broken files. Their work is counted and never timed: `test_budget` has the limits.


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_files_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, message = HOSTILE[name]
    path = written(tmp_path, data)
    budget = Budget()
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path, budget=budget)
    assert type(error.value) is not CheckpointError or "h5py" in str(error.value)
    limits = LIMITS._asdict()
    exceeded = [kind for kind, count in budget.spent.items() if count > limits[kind]]
    assert exceeded == EXCEEDED.get(name, [])
    assert all(budget.spent[kind] == limits[kind] + 1 for kind in exceeded)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file.pkl"]


def test_an_hdf5_file_that_claims_more_than_it_stores(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("a", shape=(2**40,), dtype="f4", chunks=(1024,))
    with pytest.raises(UnsafeCheckpointError, match="far larger than the file"):
        read_checkpoint(tmp_path / "bomb.h5")


def test_the_reasons_have_types(tmp_path):
    kinds = {
        "os.system": UnsafeCheckpointError,
        "view beyond": UnsafeCheckpointError,
        "pkl cut": DamagedCheckpointError,
        "zip of half": DamagedCheckpointError,
        "web page": UnknownFormatError,
    }
    for name, kind in kinds.items():
        with pytest.raises(kind):
            read_checkpoint(written(tmp_path, HOSTILE[name][0]))
    with pytest.raises(CheckpointError, match=r"cannot read .* \(is a directory\)"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "none.pkl")


def test_a_name_that_is_only_mentioned_is_harmless(tmp_path):
    data = torch_zip({"g_ema": ARRAYS, "callbacks": {"x": 1}})
    assert "g_ema" in read_checkpoint(written(tmp_path, data)).networks
    named = dumps({"g": {"a.b": Global("os", "system")}, "epoch": 3})
    checkpoint = read_checkpoint(written(tmp_path, torch_zip({}, pickled=named)))
    assert checkpoint.extra == {"epoch": 3}
    assert "os" not in {type(v).__module__ for v in checkpoint.extra.values()}
    assert tensor  # The writer's own call, which the files above are made of.


def mutated(data, rng):
    """A file with a few bytes changed, cut, doubled or moved."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) or 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randrange(1, 20)]
            case 2:
                data[at:at] = data[rng.randrange(len(data) or 1) :][: rng.randrange(1, 20)]
            case 3:
                data[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**63, 2**64 - 1]))
            case 4:
                del data[at:]
    return bytes(data)


def test_mutated_files_give_a_checkpoint_or_our_error(tmp_path):
    # PERCEPTUAL_JAX_FUZZ=50000 is the long run.
    count = int(os.environ.get("PERCEPTUAL_JAX_FUZZ", "1500"))
    rng = random.Random(count)
    seeds = [WHOLE, STREAM, PKL, nvidia_tensorflow({"a/b": ARRAYS["a.weight"]})]
    seeds += [data for data, _ in HOSTILE.values() if len(data) < 5000]
    refused, most = 0, dict.fromkeys(LIMITS._fields, 0)
    for i in range(count):
        path, budget = written(tmp_path, mutated(seeds[i % len(seeds)], rng)), Budget()
        try:
            read_checkpoint(path, budget=budget)
        except CheckpointError:
            refused += 1
        most = {kind: max(most[kind], budget.spent[kind]) for kind in most}
    assert refused > count / 2
    # No file above has 5,000 bytes, and none of them is made to cost more than it is large.
    assert {kind: n for kind, n in most.items() if n > 5000} == {}
    print(f"{count} files, {refused} refused, at most {most}")
