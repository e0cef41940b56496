"""Files with the structure of real ones at 1024 px and one number for each tensor.

They are written by Python's own pickler, as torch's `save` and the `persistence` of
stylegan2-ada-pytorch use it, so that they have its memo, its batches and all that a module of
torch 2 carries along.

Source: the public code of both.
"""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

HOOKS = (
    *("backward_pre", "backward", "forward_pre", "forward_pre_with_kwargs"),
    *("forward", "forward_with_kwargs", "forward_always_called"),
    *("state_dict_pre", "state_dict", "load_state_dict_pre", "load_state_dict_post"),
)
FUNCTIONS = {
    "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
    "torch.storage": ("_load_from_bytes",),
    "torch_utils.persistence": ("_reconstruct_persistent_obj",),
    "torch": ("FloatStorage",),
    "torch_utils": (),
}


def pretend_to_have_torch(monkeypatch):
    """Puts functions where the pickler looks for those that it names."""
    for module, names in FUNCTIONS.items():
        stand_in = types.ModuleType(module)
        for name in names:
            function = types.FunctionType((lambda: None).__code__, {}, name)
            function.__module__, function.__qualname__ = module, name
            setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)


class Tensor(NamedTuple):
    key: str
    axes: int


class Parameter(NamedTuple):
    tensor: Tensor


class Module(NamedTuple):
    kind: str
    attributes: int
    """How many plain values it has of its own."""
    parts: dict[str, Any]


class Storage(NamedTuple):
    key: str


class Pickler(pickle.Pickler):
    """Pickles what stands for torch's objects as torch's are pickled."""

    def __init__(self, file, protocol, *, zipped=False):
        super().__init__(file, protocol)
        self.zipped = zipped

    def persistent_id(self, value):
        if self.zipped and isinstance(value, Storage):
            return ("storage", sys.modules["torch"].FloatStorage, value.key, "cuda:0", 1)
        return None

    def reducer_override(self, value):
        if isinstance(value, Tensor):
            ones = (1,) * value.axes
            args = (Storage(value.key), 0, ones, ones, False, OrderedDict())
            return sys.modules["torch._utils"]._rebuild_tensor_v2, args
        if isinstance(value, Parameter):
            args = (value.tensor, True, OrderedDict())
            return sys.modules["torch._utils"]._rebuild_parameter, args
        if isinstance(value, Storage):
            return sys.modules["torch.storage"]._load_from_bytes, (_stream(value),)
        if isinstance(value, Module):
            meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": value.kind}
            persistence = sys.modules["torch_utils.persistence"]
            return persistence._reconstruct_persistent_obj, (meta | {"state": _state(value)},)
        return NotImplemented


SOURCE = "#" * 37_592
"""As long as NVIDIA's `training/networks.py`."""
_SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def _stream(storage):
    """The storage as a whole file of the older format."""
    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, _SYSTEM):
        pickle.dump(head, file, 2)
    Pickler(file, 2, zipped=True).dump(storage)
    pickle.dump([storage.key], file, 2)
    return file.getvalue() + struct.pack("<qf", 1, 0)


def _state(module):
    def of(kind):
        return OrderedDict((k, v) for k, v in module.parts.items() if isinstance(v, kind))

    return {
        "training": False,
        "_parameters": of(Parameter),
        "_buffers": of(Tensor),
        "_non_persistent_buffers_set": set(),
        **{f"_{hook}_hooks": OrderedDict() for hook in HOOKS},
        "_is_full_backward_hook": None,
        "_modules": of(Module),
        **{f"attribute_{i}": 1000 + i for i in range(module.attributes)},
        "_init_args": (512, 512),
        "_init_kwargs": {f"setting_{i}": 1000 + i for i in range(module.attributes)},
    }


class _Keys:
    """Makes tensors, each with a storage of its own."""

    count = 0

    def buffer(self, axes):
        self.count += 1
        return Tensor(str(93_824_992_231 + 4096 * self.count), axes)

    def __call__(self, axes):
        return Parameter(self.buffer(axes))


def _dense(new):
    return Module("FullyConnectedLayer", 3, {"weight": new(2), "bias": new(1)})


def _convolution(new):
    parts = {"resample_filter": new.buffer(2), "weight": new(4), "bias": new(1)}
    return Module("Conv2dLayer", 8, parts)


def _to_rgb(new):
    return Module("ToRGBLayer", 2, {"affine": _dense(new), "weight": new(4), "bias": new(1)})


def _synthesis_layer(new):
    noise = {"noise_const": new.buffer(2), "noise_strength": new(0)}
    parts = {"affine": _dense(new), **_convolution(new).parts, **noise}
    return Module("SynthesisLayer", 8, parts)


def generator(new):
    """The modules of config-f at 1024 px."""
    mapping = {"w_avg": new.buffer(1)} | {f"fc{i}": _dense(new) for i in range(8)}
    blocks = {}
    for level in range(2, 11):
        parts = {"resample_filter": new.buffer(2), "conv1": _synthesis_layer(new)}
        parts |= {"const": new(3)} if level == 2 else {"conv0": _synthesis_layer(new)}
        parts["torgb"] = _to_rgb(new)
        blocks[f"b{2**level}"] = Module("SynthesisBlock", 11, parts)
    parts = {
        "mapping": Module("MappingNetwork", 6, mapping),
        "synthesis": Module("SynthesisNetwork", 8, blocks),
    }
    return Module("Generator", 7, parts)


def discriminator(new):
    """The modules of config-f at 1024 px."""
    blocks = {}
    for level in range(10, 2, -1):
        parts = {name: _convolution(new) for name in ("conv0", "conv1", "skip")}
        parts["resample_filter"] = new.buffer(2)
        if level == 10:
            parts["fromrgb"] = _convolution(new)
        blocks[f"b{2**level}"] = Module("DiscriminatorBlock", 11, parts)
    parts = {"mbstd": Module("MinibatchStdLayer", 2, {}), "conv": _convolution(new)}
    parts |= {"fc": _dense(new), "out": _dense(new)}
    blocks["b4"] = Module("DiscriminatorEpilogue", 6, parts)
    return Module("Discriminator", 6, blocks)


def network_pickle():
    """What NVIDIA's training writes."""
    new, file = _Keys(), io.BytesIO()
    value = {"G": generator(new), "D": discriminator(new), "G_ema": generator(new)}
    settings = {"class_name": "training.dataset.ImageFolderDataset", "path": "x.zip"}
    Pickler(file, 3).dump(value | {"training_set_kwargs": settings, "augment_pipe": None})
    return file.getvalue()


def training_state():
    """What a training in torch writes: two networks, an average, two Adams; 1,500 tensors."""
    new, pickled, file = _Keys(), io.BytesIO(), io.BytesIO()

    def network(count):
        names = (f"generator.layers.{i}.conv.modulation.weight" for i in range(count))
        return OrderedDict((name, new.buffer(4)) for name in names)

    def adam(count):
        moments = ({"exp_avg": new.buffer(4), "exp_avg_sq": new.buffer(4)} for _ in range(count))
        state = {i: {"step": 550_000} | moment for i, moment in enumerate(moments)}
        settings = {"lr": 0.002, "betas": (0.0, 0.99), "eps": 1e-8, "params": list(range(count))}
        return {"state": state, "param_groups": [settings]}

    value = {"g": network(300), "g_ema": network(300), "d": network(100)}
    value |= {"g_optim": adam(300), "d_optim": adam(100), "iter": 550_000}
    Pickler(pickled, 2, zipped=True).dump(value)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        for i in range(1, new.count + 1):
            archive.writestr(f"archive/data/{93_824_992_231 + 4096 * i}", bytes(4))
    return file.getvalue()
