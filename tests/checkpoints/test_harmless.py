"""What trainings save beside a network is inert; what is called otherwise is still refused."""

import argparse
import collections
import datetime
import decimal
import pathlib
import pickle
import re
import time
import types
import uuid

import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign.convert import convert
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.nvidia_pickles import NVIDIA_MAKERS
from perceptual_jax.checkpoints.untrusted.pickles import unpickle
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.checkpoint_writers import Call, Global, New, torch_stream, torch_zip
from tests.helpers.foreign_networks import nvidia_arrays, rosinality_arrays


class Settings(collections.OrderedDict):
    """A subclass of dict as settings have them."""


class Names(list):
    """A subclass of list."""


VALUES = {
    "path": pathlib.PurePosixPath("a/b"),
    "windows": pathlib.PureWindowsPath("c:/b"),
    "here": pathlib.Path("x"),
    "now": datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),  # noqa: UP017
    "day": datetime.date(2020, 1, 2),
    "took": datetime.timedelta(seconds=3),
    "float": np.float64(3.5),
    "integer": np.int32(7),
    "bool": np.bool_(True),
    "text": np.str_("abc"),
    "texts": np.array(["ab", "c"]),
    "bytes": np.array([b"ab"]),
    "times": np.array(["2020-01-01"], "datetime64[D]"),
    "complex": np.complex64(1j),
    "random": np.random.default_rng(0),
    "old random": np.random.RandomState(0),
    "decimal": decimal.Decimal("1.5"),
    "uuid": uuid.UUID(int=5),
    "arguments": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a")),
    "namespace": types.SimpleNamespace(a=1),
    "deque": collections.deque([1, 2], maxlen=3),
    "default": collections.defaultdict(dict, a={}),
    "counter": collections.Counter({30: 1, 60: 1}),
    "pattern": re.compile("a+"),
    "time": time.gmtime(0),
    "settings": Settings(a=1),
    "names": Names(["a"]),
    "frozen": frozenset({1, 2}),
    "complex number": 1 + 2j,
    "range": range(3),
    "slice": slice(1, 2),
    "class": argparse.Namespace,
    "dtype": np.dtype("f4"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_pythons_own_pickles_of_such_values_are_read(name, protocol):
    data = pickle.dumps({"value": VALUES[name], "after": 3}, protocol)
    value, end = unpickle(memoryview(data), NVIDIA_MAKERS)
    assert (value["after"], end) == (3, len(data))


BESIDE = {
    "path": Call(Global("pathlib", "PosixPath"), ("a", "b")),
    "new path": Call(Global("pathlib._local", "PosixPath"), ("a",)),
    "dtype": Global("torch", "float32"),
    "layout": Call(Global("torch.serialization", "_get_layout"), ("torch.strided",)),
    "device": Call(Global("torch", "device"), ("cuda", 0)),
    "hyper_parameters": New(
        Global("pytorch_lightning.utilities.parsing", "AttributeDict"), entries={"lr": 0.1}
    ),
    "called": Call(Global("somewhere.utilities", "AttributeDict"), ()),
    "omegaconf": New(
        Global("omegaconf.dictconfig", "DictConfig"),
        state={"_metadata": New(Global("omegaconf.base", "ContainerMetadata"), state={"x": 1})},
    ),
    "callbacks": {"ModelCheckpoint": {"best": Call(Global("pathlib", "PosixPath"), ("x",))}},
    "optimizer": {"state": {0: {"step": np.ones(1, np.float32)}}, "param_groups": [{"lr": 0.1}]},
    "sparse": Call(Global("torch._utils", "_rebuild_sparse_tensor"), (None, ())),
}


@pytest.mark.parametrize("save", [torch_zip, torch_stream])
def test_networks_beside_such_values_convert(tmp_path, save):
    path = tmp_path / "file.ckpt"
    path.write_bytes(save({"g_ema": rosinality_arrays(nvidia_arrays()), **BESIDE, "iter": 5}))
    checkpoint = read_checkpoint(path)
    assert checkpoint.extra == {"iter": 5}
    assert convert(checkpoint).config["channels"] == [6, 5, 4]


def test_a_subclass_of_dict_holds_networks_as_a_dict_does(tmp_path):
    path = tmp_path / "file.ckpt"
    arrays = New(Global("here", "State"), entries=rosinality_arrays(nvidia_arrays()))
    path.write_bytes(torch_zip(New(Global("here", "All"), entries={"g_ema": arrays})))
    assert convert(read_checkpoint(path)).about["network"] == "g_ema"


@pytest.mark.parametrize(
    "call",
    [
        Call(Global("os", "abort"), ()),
        Call(Global("os", "system"), ("touch canary",)),
        Call(Global("subprocess", "Popen"), (["touch", "canary"],)),
        Call(Global("builtins", "getattr"), (Global("os", "x"), "system")),
        Call(Global("pathlib", "Path.touch"), ("canary",)),
        Call(Global("torch._tensor", "_rebuild_from_type_v2"), (Global("os", "system"), 0, ("x",))),
        Call(Global("numpy", "load"), ("x",)),
        New(Call(Global("collections", "OrderedDict"), ()), ()),
    ],
)
def test_other_calls_beside_a_network_are_refused(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.pt").write_bytes(torch_zip({"g": call}))
    with pytest.raises(CheckpointError, match=r"calls|makes a tensor by os.system"):
        read_checkpoint(tmp_path / "file.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["file.pt"]
