"""Files that are damaged or mean harm, each by the reason that its name says; see `HOSTILE`."""

import pickle
import struct
import zipfile

import numpy as np

from perceptual_jax.checkpoints.untrusted.budget import LIMITS
from tests.helpers.checkpoint_writers import (
    Call,
    Global,
    Persistent,
    called,
    dumps,
    numpy_array,
    nvidia_torch,
    torch_stream,
    torch_zip,
)

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.half": np.arange(5, dtype=np.float16),
    "b.scalar": np.asarray(2.5, np.float32),
    "b.empty": np.zeros((0, 3), np.float32),
}
WHOLE = torch_zip({"g_ema": ARRAYS})
STREAM = torch_stream({"g_ema": ARRAYS})
PKL = nvidia_torch({"G_ema": ARRAYS})
CANARY = "touch canary"


def in_zip(value):
    return torch_zip({}, pickled=dumps(value))


def view(size, stride, offset=0, numbers=4):
    reference = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", numbers))
    args = (reference, offset, size, stride, False, {})
    rebuilt = Call(Global("torch._utils", "_rebuild_tensor_v2"), args)
    return torch_zip({}, pickled=dumps({"a.b": rebuilt}), extra=[("archive/data/0", b"\x00" * 16)])


def storage(*reference):
    return in_zip({"a.b": Persistent(reference)})


def array_state(*state):
    start = (Global("numpy", "ndarray"), (0,), b"b")
    return dumps([Call(Global("numpy.core.multiarray", "_reconstruct"), start, state)])


def nested_modules(depth):
    function = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    module = {}
    for _ in range(depth):
        module = {
            "x": Call(
                function, ({"type": "class", "class_name": "G", "state": {"_modules": module}},)
            )
        }
    return dumps(module)


def nested_loads():
    inner = dumps({"x": Call(Global("torch.storage", "_load_from_bytes"), (b"\x80\x02N.",))})
    head = [dumps(0x1950A86A20F9469CFC6C), dumps(1001), dumps({})]
    inner = b"".join([*head, inner])
    return dumps({"G": Call(Global("torch.storage", "_load_from_bytes"), (inner,))})


FLOAT = Call(Global("numpy", "dtype"), ("f4", False, True))
OBJECT = Call(Global("numpy", "dtype"), ("O8", False, True))
CHAIN = Call(Global("builtins", "getattr"), (Global("os", "system"), "__call__"))
COLLIDING = {i * (2**61 - 1): None for i in range(LIMITS.odd_keys + 1)}

HOSTILE = {
    "os.system": (called("os", "system", CANARY), "calls os.system"),
    "posix.system": (called("posix", "system", CANARY), "calls posix.system"),
    "nt.system": (called("nt", "system", CANARY), "calls nt.system"),
    "eval": (called("builtins", "eval", "open('canary','w')"), "calls builtins.eval"),
    "exec": (called("__builtin__", "exec", "open('canary','w')"), "calls __builtin__.exec"),
    "open": (called("builtins", "open", "canary", "w"), "calls builtins.open"),
    "import": (called("builtins", "__import__", "os"), "calls builtins.__import__"),
    "subprocess": (called("subprocess", "Popen", ["touch", "canary"]), "calls subprocess.Popen"),
    "getattr": (called("builtins", "getattr", Global("os", "x"), "system"), "builtins.getattr"),
    "getattr chain": (dumps([Call(CHAIN, (CANARY,))]), "calls builtins.getattr"),
    "calls a result": (dumps([Call(Call(Global("collections", "OrderedDict"), ()), ())]), "plain"),
    "dotted name": (called("torch", "os.system", CANARY), "calls torch.os.system"),
    "torch.load": (called("torch", "load", "x"), "calls torch.load"),
    "pickle.loads": (called("pickle", "loads", b"N."), "calls pickle.loads"),
    "numpy.load": (called("numpy", "load", "x"), "calls numpy.load"),
    "partial": (
        called("functools", "partial", Global("os", "system"), CANARY),
        "functools.partial",
    ),
    "in a zip": (in_zip({"x": Call(Global("os", "system"), (CANARY,))}), "calls os.system"),
    "in a stream": (torch_stream({}, pickled=called("os", "system", CANARY)), "calls os.system"),
    "reduced by INST": (b"(S'touch canary'\nios\nsystem\n.", "opcode b'S'"),
    "INST": (b"(ios\nsystem\n.", "opcode b'i'"),
    "OBJ": (b"(cos\nsystem\nU\x0ctouch canaryo.", "opcode b'o'"),
    "extension": (b"\x80\x02\x82\x01.", "opcode"),
    "other object": (called("collections", "Counter", "aaa"), "calls collections.Counter"),
    "persistent id": (dumps({"x": Persistent("y")}), "refers to data outside"),
    "wrong reference": (storage("module", "x"), "refers to data outside"),
    "nested loads": (nested_loads(), "_load_from_bytes"),
    "object array": (array_state(1, (2,), OBJECT, False, [1, 2]), "type 'O8'"),
    "array of a list": (array_state(1, (2,), FLOAT, False, [1, 2]), "array of objects"),
    "array too large": (array_state(1, (10**9,), FLOAT, False, b"1234"), "4 bytes of numbers"),
    "array negative": (array_state(1, (-1,), FLOAT, False, b"1234"), "array of shape"),
    "object scalar": (called("numpy.core.multiarray", "scalar", OBJECT, b""), "type 'O8'"),
    "encode": (called("_codecs", "encode", "x", "zip"), "encodes something"),
    "view too large": (view((5,), (1,)), "does not lie within"),
    "view beyond": (view((2,), (1,), offset=3), "does not lie within"),
    "stride beyond": (view((2, 2), (3, 1)), "does not lie within"),
    "huge by stride 0": (view((2**30,), (0,)), "does not lie within"),
    "negative size": (view((-4,), (1,)), r"shape \(-4,\)"),
    "negative offset": (view((1,), (1,), offset=-1), "tensor of shape"),
    "negative stride": (view((2,), (-1,)), "strides"),
    "size is text": (view(("4",), (1,)), "shape"),
    "many axes": (view((1,) * 70, (1,) * 70), "shape"),
    "absurd storage": (view((1,), (1,), numbers=2**60), "has 16 bytes"),
    "negative storage": (view((1,), (1,), numbers=-1), "storage '0' of -1"),
    "storage of objects": (
        storage("storage", Global("builtins", "object"), "0", "cpu", 1),
        "type builtins.object",
    ),
    "lacking storage": (
        storage("storage", Global("torch", "FloatStorage"), "../x", "cpu", 1),
        "no storage '../x'",
    ),
    "compressed zip": (torch_zip({"g": ARRAYS}, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "zip bomb": (
        torch_zip({"g": {"a.b": np.zeros(10**6, np.float32)}}, compression=zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "zip with a changed number": (
        WHOLE.replace(ARRAYS["a.weight"].tobytes(), ARRAYS["a.weight"].tobytes()[::-1]),
        "does not match its checksum",
    ),
    "variables that are none": (
        dumps(
            (
                Call(
                    Global("dnnlib.tflib.network", "Network"),
                    (),
                    {"variables": [1], "static_kwargs": {}},
                ),
            )
        ),
        "a variable is no name and array",
    ),
    "persistent function": (
        dumps(
            {
                "G": Call(
                    Global("torch_utils.persistence", "_reconstruct_persistent_obj"),
                    ({"type": "func", "state": {}},),
                )
            }
        ),
        "persistent 'func'",
    ),
    "path traversal of Windows": (torch_zip({}, extra=[("a\\..\\..\\x", b"x")]), "odd name"),
    "path traversal": (torch_zip({}, extra=[("../../canary", b"x")]), r"odd name '\.\./"),
    "absolute path": (torch_zip({}, extra=[("/canary", b"x")]), "odd name '/canary'"),
    "big-endian zip": (torch_zip({}).replace(b"little", b"big!!!"), "big-endian|damaged"),
    "another zip": (torch_zip({}).replace(b"data.pkl", b"data.txt"), "lacks data.pkl"),
    "zip without end": (WHOLE[:-40], "end"),
    "zip of half": (WHOLE[: len(WHOLE) // 2], "lacks its end"),
    "zip prefix only": (b"PK\x03\x04", "lacks its end"),
    "stream cut": (STREAM[:-20], "ends too early|numbers has"),
    "stream cut early": (STREAM[:200], "ends too early"),
    "stream of other keys": (torch_stream({"g": ARRAYS}, keys=["7"]), "storages are not those"),
    "stream of other sizes": (
        torch_stream({"g": ARRAYS}, sizes=dict.fromkeys("0123", 2**40)),
        "ends too early",
    ),
    "pkl cut": (PKL[: len(PKL) // 2], "ends too early"),
    "pkl with nothing after": (b"\x80\x02", "ends too early"),
    "endless text": (b"\x80\x02X\xff\xff\xff\x7fabc.", "ends too early"),
    "endless bytes": (b"\x80\x04\x8e" + b"\xff" * 8 + b"x.", "ends too early"),
    "endless bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "ends too early"),
    "huge number": (b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 100 + b".", "whole number of"),
    "huge decimal": (b"(I" + b"9" * 5000 + b"\n.", "whole number of 5,000 digits"),
    "memo bomb": (b"\x80\x02Nr\xff\xff\xff\xff.", "none of NVIDIA's"),
    "memo that lacks": (b"\x80\x02h\x05.", "makes no sense"),
    "empty stack": (b"\x80\x02R.", "makes no sense"),
    "mark as value": (b"\x80\x02((\x85.", "makes no sense"),
    "many opcodes": (b"\x80\x02" + b"N0" * LIMITS.opcodes + b"N.", f"{LIMITS.opcodes:,} opcodes"),
    "many objects": (
        b"\x80\x02" + b"}" * LIMITS.opcodes + b".",
        f"{LIMITS.stack:,} values at once",
    ),
    "many memos": (b"\x80\x04N" + b"\x94" * LIMITS.opcodes + b".", f"{LIMITS.memo:,} memo entries"),
    "long key": (
        dumps({"x" * (LIMITS.key_length + 1): None}),
        f"{LIMITS.key_length:,} characters in one key",
    ),
    "long name": (
        called("torch", "x" * (LIMITS.key_length + 1)),
        f"{LIMITS.key_length:,} characters in one key",
    ),
    "many arguments": (called("torch", "Size", *range(17)), "torch.Size with 17 arguments"),
    "deep lists": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "none of NVIDIA's"),
    "deep tuples": (b"\x80\x02)" + b"\x85" * 40_000 + b".", "none of NVIDIA's"),
    "deep modules": (nested_modules(100), "nested too deeply"),
    "cycle": (b"\x80\x02]q\x00h\x00a.", "none of NVIDIA's"),
    "cyclic dict": (b"\x80\x02}q\x00X\x01\x00\x00\x00xh\x00s.", "none of NVIDIA's"),
    "colliding keys": (dumps(COLLIDING), f"{LIMITS.odd_keys:,} keys that are no texts"),
    "list as a key": (b"\x80\x02}]Ns.", "list as a key"),
    "float as a key": (dumps({0.5: 1}), "float as a key"),
    "module without state": (
        dumps({"G": Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (3,))}),
        "module has no state",
    ),
    "web page": (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of git-lfs"),
    "empty": (b"", "the file is empty"),
    "gzip": (b"\x1f\x8b\x08" + b"0" * 50, "compressed by gzip"),
    "tar": (b"x" * 257 + b"ustar" + b"0" * 300, "tar archive"),
    "text": (b"hello world, this is no checkpoint", "no checkpoint of a known format"),
    "safetensors cut": (struct.pack("<Q", 60) + b'{"a": ' + b" " * 100, "damaged safetensors"),
    "safetensors offsets": (
        struct.pack("<Q", 67)
        + b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,399999996]}}'[:67]
        + b"0" * 100,
        "damaged safetensors",
    ),
    "hdf5 damaged": (b"\x89HDF\r\n\x1a\n" + b"0" * 100, "HDF5"),
    "a plain pickle": (pickle.dumps({"a": 1}), "none of NVIDIA's"),
    "a pickled array": (dumps(numpy_array(ARRAYS["a.weight"])), "none of NVIDIA's"),
    "a single tensor": (in_zip(None), "holds a whole NoneType"),
}

EXCEEDED = {
    "many opcodes": ["opcodes"],
    "many objects": ["stack"],
    "many memos": ["memo"],
    "colliding keys": ["odd_keys"],
    "long key": ["key_length"],
    "long name": ["key_length"],
}
"""The limit that each exceeds by one, and no other; a file that is not here exceeds none."""
