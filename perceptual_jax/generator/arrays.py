"""The parameters of modules by the names that files have for them.

A name is the path of a parameter through its module, joined by dots: `b8.conv0.bias` is
`module.b8.conv0.bias`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from flax import nnx
from jaxtyping import Array

Module = TypeVar("Module", bound=nnx.Module)

Arrays = Mapping[str, Any]
"""Names to arrays, or to mappings of the same kind: the arrays of the layers of a layer."""


def named_params(module: nnx.Module) -> dict[str, Any]:
    """The values of all parameters (`nnx.Param`) of a module, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = nnx.List([nnx.Param(jnp.zeros(3))])
        >>> {name: x.shape for name, x in named_params(layer).items()}
        {'0': (3,)}
    """
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {".".join(map(str, path)): param.get_value() for path, param in flat}


def with_params(module: Module, arrays: Mapping[str, Array]) -> Module:
    """The module with other values of its parameters; what it was given stays as it is.

    Args:
        module: Any module; its parameters may be `jax.ShapeDtypeStruct`s.
        arrays: A value for each parameter, by name.

    Raises:
        KeyError: If one is missing.
    """
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    flat = [
        (path, nnx.Param(arrays[".".join(map(str, path))])) for path, _ in nnx.to_flat_state(params)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat), rest)
