"""Small writers of other projects' checkpoint formats, independent of what reads them.

A pickle is written opcode by opcode, so that a file can call any name without its being imported.
"""

import io
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np


class Global(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    function: Any
    args: tuple
    state: Any = None


class New(NamedTuple):
    """An object as `pickle` writes it: allocated, given items of a dict or list, and a state."""

    kind: Global
    args: tuple = ()
    state: Any = None
    entries: dict | None = None
    listed: list | None = None


class Persistent(NamedTuple):
    value: Any


class Raw(NamedTuple):
    """Opcodes as they are."""

    code: bytes


def dumps(value, *, head=b"\x80\x02"):
    """The pickle of plain values, and of `Global`, `Call`, `Persistent` and `Raw`."""
    return head + b"".join(_opcodes(value)) + b"."


def _opcodes(value):
    if value is None or value is True or value is False:
        yield {None: b"N", True: b"\x88", False: b"\x89"}[value]
    elif isinstance(value, int):
        size = value.bit_length() // 8 + 1
        yield b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    elif isinstance(value, float):
        yield b"G" + struct.pack(">d", value)
    elif isinstance(value, str):
        text = value.encode()
        yield b"X" + struct.pack("<I", len(text)) + text
    elif isinstance(value, bytes):
        yield b"B" + struct.pack("<I", len(value)) + value
    elif isinstance(value, Global):
        yield f"c{value.module}\n{value.name}\n".encode()
    elif isinstance(value, Raw):
        yield value.code
    elif isinstance(value, Persistent):
        yield from _opcodes(value.value)
        yield b"Q"
    elif isinstance(value, Call):
        yield from _opcodes(value.function)
        yield from _opcodes(value.args)
        yield b"R"
        if value.state is not None:
            yield from _opcodes(value.state)
            yield b"b"
    elif isinstance(value, New):
        yield from _opcodes(value.kind)
        yield from _opcodes(value.args)
        yield b"\x81"
        for items, end in ((value.listed, b"e"), (value.entries and value.entries.items(), b"u")):
            if items:
                yield b"("
                for part in items:
                    for x in part if end == b"u" else (part,):
                        yield from _opcodes(x)
                yield end
        if value.state is not None:
            yield from _opcodes(value.state)
            yield b"b"
    elif isinstance(value, dict):
        yield b"}("
        for item in value.items():
            for part in item:
                yield from _opcodes(part)
        yield b"u"
    else:
        yield b"("
        for item in value:
            yield from _opcodes(item)
        yield b"t" if isinstance(value, tuple) else b"l"


def called(module, name, *args, state=None):
    """A pickle that calls a name."""
    return dumps({"G": Call(Global(module, name), args, state)})


STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}


def tensor(array, find_storage):
    """The call that rebuilds a tensor, given what refers to its storage."""
    strides = tuple(s // array.itemsize for s in np.ascontiguousarray(array).strides)
    args = (find_storage(array), 0, array.shape, strides[: array.ndim], False, {})
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), args)


def _with_tensors(value, find_storage):
    if isinstance(value, np.ndarray):
        return tensor(value, find_storage)
    if isinstance(value, dict):
        return {k: _with_tensors(v, find_storage) for k, v in value.items()}
    if isinstance(value, New | Call):
        return type(value)(*(_with_tensors(part, find_storage) for part in value))
    if type(value) in (tuple, list):
        return type(value)(_with_tensors(part, find_storage) for part in value)
    return value


class Storages:
    """Keeps the bytes of storages by key, and refers to them."""

    def __init__(self):
        self.files: dict[str, np.ndarray] = {}

    def __call__(self, array):
        key = str(len(self.files))
        self.files[key] = array
        kind = Global("torch", STORAGES[array.dtype.name])
        return Persistent(("storage", kind, key, "cpu", array.size))

    def older(self, array):
        """The reference of an older stream."""
        return Persistent((*self(array).value, None))


def torch_zip(value, *, pickled=None, extra=(), compression=zipfile.ZIP_STORED):
    """What `torch.save` writes since 1.6."""
    storages, file = Storages(), io.BytesIO()
    pickle = dumps(_with_tensors(value, storages)) if pickled is None else pickled
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.files.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
        for name, data in extra:
            archive.writestr(name, data)
    return file.getvalue()


def torch_stream(value, *, pickled=None, keys=None, sizes=None):
    """What `torch.save` wrote before."""
    storages = Storages()
    pickle = dumps(_with_tensors(value, storages.older)) if pickled is None else pickled
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [dumps(0x1950A86A20F9469CFC6C), dumps(1001), dumps(system), pickle]
    parts.append(dumps(list(storages.files) if keys is None else keys))
    for key, array in storages.files.items():
        size = array.size if sizes is None else sizes[key]
        parts.append(struct.pack("<q", size) + array.tobytes())
    return b"".join(parts)


def whole_module(arrays, kind="model.Generator"):
    """A module with all its submodules, as torch.save(module) pickles it; arrays stay arrays."""
    own = {k: v for k, v in arrays.items() if "." not in k}
    parts: dict[str, dict] = {}
    for name, value in arrays.items():
        part, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(part, {})[rest] = value
    buffers = ("noise", "kernel", "w_avg", "noise_const", "resample_filter")
    parameter = Global("torch._utils", "_rebuild_parameter")
    state = {
        "training": False,
        "_parameters": {
            k: Call(parameter, (v, True, {})) for k, v in own.items() if not k.startswith(buffers)
        },
        "_buffers": {k: v for k, v in own.items() if k.startswith(buffers)},
        "_non_persistent_buffers_set": Call(Global("__builtin__", "set"), ([],)),
        "_backward_hooks": Call(Global("collections", "OrderedDict"), ()),
        "_modules": {part: whole_module(a, f"model.Part{part}") for part, a in parts.items()},
        "activation": Global("torch.nn.functional", "leaky_relu"),
        "size": 16,
    }
    module, _, name = kind.rpartition(".")
    return New(Global(module, name), (), state)


def nvidia_torch(networks, *, attributes=None):
    """A network pickle of stylegan2-ada-pytorch: `networks` maps names to flat arrays."""
    modules = {
        name: _module(arrays, "Generator", attributes or {}) for name, arrays in networks.items()
    }
    return dumps(modules | {"augment_pipe": None, "training_set_kwargs": {"path": "x.zip"}})


def _module(arrays, class_name, attributes):
    buffers = ("w_avg", "noise_const", "resample_filter")
    own = {k: v for k, v in arrays.items() if "." not in k}
    parts: dict[str, dict] = {}
    for name, value in arrays.items():
        if "." in name:
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
    mine = {k: v for k, v in attributes.items() if "." not in k}
    inner: dict[str, dict] = {part: {} for part in parts}
    for name, value in attributes.items():
        part, _, rest = name.partition(".")
        if rest and part in inner:
            inner[part][rest] = value
    state = {
        "training": False,
        "_parameters": {k: _parameter(v) for k, v in own.items() if not k.endswith(buffers)},
        "_buffers": {k: tensor(v, _nested) for k, v in own.items() if k.endswith(buffers)},
        "_modules": {part: _module(a, part, inner[part]) for part, a in parts.items()},
        "_forward_hooks": {},
        **mine,
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('the source of a class was executed')",
        "class_name": class_name,
        "state": state,
    }
    function = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    return Call(function, (meta,))


def _parameter(array):
    args = (tensor(array, _nested), True, {})
    return Call(Global("torch._utils", "_rebuild_parameter"), args)


def _nested(array):
    """A storage as its own older stream within the pickle."""
    storages = Storages()
    reference = storages.older(array)
    system = {"protocol_version": 1001, "little_endian": True}
    parts = [dumps(0x1950A86A20F9469CFC6C), dumps(1001), dumps(system), dumps(reference)]
    parts += [dumps(["0"]), struct.pack("<q", array.size), array.tobytes()]
    return Call(Global("torch.storage", "_load_from_bytes"), (b"".join(parts),))


def nvidia_tensorflow(variables, *, static=None):
    """A network pickle of stylegan2: variables of Gs by `component/name` or name."""
    network = _tf_network(variables, static or {})
    return dumps((network, network, network), head=b"\x80\x04")


def _tf_network(variables, static):
    parts: dict[str, dict] = {}
    for name, value in variables.items():
        component, _, rest = name.partition("/")
        parts.setdefault(component if rest else "", {})[rest or name] = value
    own = parts.pop("", {})
    state = {
        "version": 4,
        "name": "G",
        "static_kwargs": static,
        "components": {name: _tf_network(part, {}) for name, part in parts.items()},
        "build_module_src": "raise SystemExit('the source of a module was executed')",
        "build_func_name": "G_main",
        "variables": [(name, numpy_array(value)) for name, value in own.items()],
    }
    return Call(Global("dnnlib.tflib.network", "Network"), (), state)


def numpy_array(array, *, core="core"):
    """The call that rebuilds an array, as numpy pickles it."""
    kind = Call(Global("numpy", "dtype"), (array.dtype.str[1:], False, True))
    kind = kind._replace(state=(3, "<", None, None, None, -1, -1, 0))
    state = (1, array.shape, kind, False, array.tobytes())
    start = (Global("numpy", "ndarray"), (0,), b"b")
    return Call(Global(f"numpy.{core}.multiarray", "_reconstruct"), start, state)
