"""Values that training scripts save beside a network: paths, times, settings, containers.

None of them is imported or made. A call of one of these names gives an inert `Instance`, or the
plain container that it stands for; a call of any other name is refused. Objects that are only
allocated are inert whatever their class is called (see `pickles`): most classes are pickled so.

Source: the documentation of `pickle`, and of the projects whose training states hold such values.
"""

from collections.abc import Mapping
from typing import Any

from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    Instance,
    Maker,
    Name,
    UnsafeCheckpointError,
    instance_of,
    safe_repr,
)

_NAMES: dict[str, tuple[str, ...]] = {
    "argparse": ("Namespace",),
    "types": ("SimpleNamespace",),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "re": ("_compile",),
    "time": ("struct_time",),
    "fractions": ("Fraction",),
    "uuid": ("UUID", "SafeUUID"),
    "builtins": ("bytearray", "complex", "range", "slice"),
    "__builtin__": ("bytearray", "complex", "slice", "xrange"),
    "torch": ("device", "Generator"),
    "torch.serialization": ("_get_layout",),
    "torch._utils": (
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_meta_tensor_no_storage",
        "_rebuild_nested_tensor",
        "_rebuild_qtensor",
        "_rebuild_sparse_csr_tensor",
        "_rebuild_sparse_tensor",
        "_rebuild_tensor_v3",
    ),
}
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_DICTS = (Name("dnnlib", "EasyDict"), Name("dnnlib.util", "EasyDict"))


def _ordered_dict_of(budget: Budget, *args: Any) -> dict[Any, Any]:
    """The dict for an `OrderedDict` of no arguments, a dict or pairs."""
    if not args or args == ((),):
        return {}
    (items,) = args
    budget.spend("items", len(items))
    made = {}
    for key, value in items.items() if type(items) is dict else items:
        budget.check_key(key)
        made[key] = value
    return made


def _dict_of(budget: Budget, *args: Any) -> dict[Any, Any]:
    """The dict for a subclass of dict, made of nothing or of a dict."""
    items = args[0] if len(args) == 1 and type(args[0]) is dict else {}
    budget.spend("items", len(items))
    return dict(items)


def _set_of(budget: Budget, items: Any = ()) -> set[Any]:
    budget.spend("items", len(items))
    for item in items:
        budget.check_key(item)
    return set(items)


def _list_of(budget: Budget, items: Any = (), *_: Any) -> list[Any]:
    items = items if type(items) in (list, tuple) else ()
    budget.spend("items", len(items))
    return list(items)


def _counter_of(budget: Budget, items: Any = (), *_: Any) -> dict[Any, Any]:
    """The dict of a `Counter`, as schedules of learning rates hold it: made of counts only."""
    if items != () and type(items) is not dict:
        raise UnsafeCheckpointError(
            f"the file calls collections.Counter with {safe_repr(items)}, not with counts"
        )
    return _dict_of(budget, items)


def _allocated(_: Budget, kind: Any, *__: Any) -> Instance:
    """The stand-in for an object of protocol 0 or 1, which names its class as an argument."""
    return Instance(kind if isinstance(kind, Name) else Name("builtins", "object"))


HARMLESS_MAKERS: Mapping[Name, Maker] = {
    **{
        name: instance_of(name)
        for name in (
            *(Name(module, name) for module, names in _NAMES.items() for name in names),
            *(Name(module, name) for module in ("pathlib", "pathlib._local") for name in _PATHS),
        )
    },
    **dict.fromkeys(_DICTS, _dict_of),
    Name("collections", "Counter"): _counter_of,
    Name("collections", "OrderedDict"): _ordered_dict_of,
    Name("collections", "defaultdict"): lambda *_: {},
    Name("collections", "deque"): _list_of,
    **{
        Name(module, name): _set_of
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset")
    },
    **{Name(module, "bytes"): lambda *_: b"" for module in ("builtins", "__builtin__")},
    **{Name(module, "_reconstructor"): _allocated for module in ("copyreg", "copy_reg")},
}
"""Makers of inert values, by the name called."""
