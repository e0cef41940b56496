"""Files that cost more than they are large, and files that cost exactly so much of one kind.

What a pickle makes once it can use again for two opcodes: the work, not the file, has to be small.
"""

import copy
import io
import zipfile

from perceptual_jax.checkpoints.untrusted.archives import MAX_DIRECTORY
from perceptual_jax.checkpoints.untrusted.budget import LIMITS
from tests.helpers.checkpoint_writers import (
    Call,
    Global,
    New,
    Persistent,
    Raw,
    dumps,
    torch_stream,
    torch_zip,
)
from tests.helpers.hostile_files import storage, view

ENCODE = Global("_codecs", "encode")
LOAD = Global("torch.storage", "_load_from_bytes")
ORDERED_DICT = Global("collections", "OrderedDict")
SIZE = Global("torch", "Size")


def code(value):
    return dumps(value, head=b"")[:-1]


def remembered(value, use):
    """Opcodes that make a value once, and then what `use` makes of it."""
    return Raw(code(value) + b"q\x000" + code(use(Raw(b"h\x00"))))


def doubled(start, level, levels):
    """Opcodes of a value that has the first 2^levels times in it."""
    steps = [b"0" + code(level(Raw(b"h" + bytes([i])))) + b"q%c" % (i + 1) for i in range(levels)]
    return Raw(code(start) + b"q\x00" + b"".join(steps))


LISTS = doubled([], lambda x: [x, x], 24)
"""Its text has 100 million characters; with more levels, a test that fails would not end."""

MANY = {f"_{i}": None for i in range(1000)}


def module(parts):
    return of_state({"_modules": parts})


def of_state(state, type="class"):
    function = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    return Call(function, ({"type": type, "state": state},))


def tf_network(parts, variables=()):
    state = {"components": parts, "variables": variables}
    return Call(Global("dnnlib.tflib.network", "Network"), (), state)


def tensors(count):
    """A state dict of one tensor under many names."""
    reference = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 4))
    tensor = Call(Global("torch._utils", "_rebuild_tensor_v2"), (reference, 0, (4,), (1,)))
    return remembered(tensor, lambda x: {str(i): x for i in range(count)})


def zip_of(value):
    return torch_zip({}, pickled=dumps(value), extra=[("archive/data/0", bytes(16))])


def stream(pickled):
    return torch_stream({}, pickled=pickled)


def zip_with(names, comment=b""):
    """A zip file whose only storage is in its directory under more names."""
    file = io.BytesIO(torch_zip({}, extra=[("archive/data/0", bytes(10_000))]))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more", b"")  # so that the directory is written again
        for name in names:
            info = copy.copy(archive.getinfo("archive/data/0"))
            info.filename, info.comment = name, comment
            archive.filelist.append(info)
    return file.getvalue()


AMPLIFIED = {
    "lists of lists as a size": (view(LISTS, (1,)), "shape a list"),
    "lists of lists as a type": (dumps(Call(Global("numpy", "dtype"), (LISTS,))), "type a list"),
    "lists of lists as a reference": (
        storage("storage", Global("torch", "FloatStorage"), "0", "cpu", LISTS),
        "of a list numbers",
    ),
    "lists of lists as a key": (torch_stream({}, keys=[LISTS]), "storages are not those"),
    "lists of lists as a kind": (
        dumps({"G": of_state({}, LISTS)}),
        "persistent a list",
    ),
    "modules in modules": (
        dumps({"G": doubled(module({}), lambda x: module({"a": x, "b": x}), 16)}),
        f"{LIMITS.items:,} items in containers",
    ),
    "networks in networks": (
        dumps((doubled(tf_network({}), lambda x: tf_network({"a": x, "b": x}), 16),)),
        f"{LIMITS.items:,} items in containers",
    ),
    "a state in many modules": (
        dumps({"G": remembered(MANY, lambda x: module({str(i): of_state(x) for i in range(101)}))}),
        f"{LIMITS.items:,} items in containers",
    ),
    "parts of many modules": (
        dumps({"G": remembered(MANY, lambda x: module({str(i): module(x) for i in range(101)}))}),
        f"{LIMITS.items:,} items in containers",
    ),
    "variables of many networks": (
        dumps(
            (
                remembered(
                    [*MANY.items()],
                    lambda x: tf_network({str(i): tf_network({}, x) for i in range(101)}),
                ),
            )
        ),
        f"{LIMITS.items:,} items in containers",
    ),
    "a state dict in many": (
        zip_of(remembered(tensors(500), lambda x: {str(i): x for i in range(500)})),
        f"{LIMITS.arrays:,} arrays",
    ),
    "dicts in dicts": (
        zip_of(doubled({}, lambda x: {str(i): x for i in range(400)}, 3)),
        f"{LIMITS.items:,} items in containers",
    ),
    "objects in objects": (
        zip_of(
            doubled(
                New(Global("a", "B")),
                lambda x: New(Global("a", "B"), entries={str(i): x for i in range(400)}),
                3,
            )
        ),
        f"{LIMITS.items:,} items in containers",
    ),
    "whole modules in modules": (
        zip_of(
            doubled(
                New(Global("a", "B"), (), {"_modules": {}}),
                lambda x: New(Global("a", "B"), (), {"_modules": {"a": x, "b": x}}),
                15,
            )
        ),
        f"{LIMITS.items:,} items in containers",
    ),
    "counts copied often": (
        dumps(remembered(MANY, lambda x: [Call(Global("collections", "Counter"), (x,))] * 101)),
        f"{LIMITS.items:,} items in containers",
    ),
    "a text encoded often": (
        dumps(remembered("x" * 100_000, lambda x: [Call(ENCODE, (x, "latin1"))] * 90)),
        f"{LIMITS.copied:,} bytes of texts",
    ),
    "a dict copied often": (
        dumps(remembered(MANY, lambda x: [Call(ORDERED_DICT, (x,))] * 101)),
        f"{LIMITS.items:,} items in containers",
    ),
    "a stream loaded often": (
        dumps(
            remembered(stream(b"N0" * 10_000 + b"N."), lambda x: [Call(LOAD, (x,))] * 36),
        ),
        f"{LIMITS.opcodes:,} opcodes",
    ),
    "a size of many bytes": (dumps(Call(SIZE, (b"x" * 100_000,))), "shape a memoryview"),
    "a zip of overlapping parts": (zip_with(map(str, range(200))), "larger than itself"),
    "a zip of a large directory": (
        zip_with(map(str, range(MAX_DIRECTORY // 60_000 + 1)), b"x" * 60_000),
        f"directory of more than {MAX_DIRECTORY:,} bytes",
    ),
}

EXACT = {
    "opcodes": lambda n: b"\x80\x02" * (1 + (n - 3) % 2) + b"N0" * ((n - 3) // 2) + b"N.",
    "stack": lambda n: b"\x80\x02" + b"}" * n + b".",
    "memo": lambda n: b"\x80\x04N" + b"\x94" * n + b".",
    "calls": lambda n: dumps([Call(SIZE, ())] * n),
    "copied": lambda n: dumps(["x" * (n - 9), Raw(b"C\x09" + b"y" * 9)]),
    "items": lambda n: dumps([Call(ORDERED_DICT, ([(str(i), None) for i in range(n)],))]),
    "arrays": lambda n: zip_of({"g": tensors(n)}),
    "odd_keys": lambda n: dumps({i * (2**61 - 1): None for i in range(n)}),
    "key_length": lambda n: dumps({"x" * n: None}),
}
"""Files that cost exactly so much, by the kind of work."""
