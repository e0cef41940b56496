"""Nested weights and their flat names.

Networks read their weights from nested dicts, files keep flat ones; the name of an array is its
path with dots: `weights["b8"]["conv0"]["bias"]` is `b8.conv0.bias`.
"""

from collections.abc import Mapping
from typing import Any


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Flat dotted names to nested dicts.

    Example:
        >>> nested({"a.b": 1, "a.c": 2})
        {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, leaf = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = array
    return tree


def flattened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts to flat dotted names: the inverse of `nested`.

    Example:
        >>> flattened({"a": {"b": 1, "c": 2}})
        {'a.b': 1, 'a.c': 2}
    """
    arrays: dict[str, Any] = {}
    for name, branch in tree.items():
        if isinstance(branch, Mapping):
            arrays |= {f"{name}.{leaf}": array for leaf, array in flattened(branch).items()}
        else:
            arrays[name] = branch
    return arrays
