"""Parameters of modules by name, as files of weights store them.

A name is the path of a parameter through its module, joined by dots: `b8.conv0.bias` is
`module.b8.conv0.bias`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from flax import nnx
from jaxtyping import Array

Module = TypeVar("Module", bound=nnx.Module)

Arrays = Mapping[str, Any]
"""A tree of arrays: names to arrays, or to the trees of sublayers."""


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
    """A copy of the module with other values of its parameters.

    Args:
        module: Any module; its parameters may be `jax.ShapeDtypeStruct`s.
        arrays: The value of each parameter, by name.

    Raises:
        KeyError: If the value of a parameter is missing.
    """
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    flat = [
        (path, nnx.Param(arrays[".".join(map(str, path))])) for path, _ in nnx.to_flat_state(params)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat), rest)
