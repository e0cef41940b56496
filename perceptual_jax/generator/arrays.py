"""The parameters of modules by the names that files have for them.

A name is the path of a parameter through its module, joined by dots: `b8.conv0.bias` is
`module.b8.conv0.bias`.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
from jaxtyping import Array

Arrays = Mapping[str, Any]
"""Names to arrays, or to mappings of the same kind: the arrays of the layers of a layer."""


def named_params(module: nnx.Module) -> dict[str, Array]:
    """The values of all parameters (`nnx.Param`) of a module, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = nnx.List([nnx.Param(jnp.zeros(3))])
        >>> {name: x.shape for name, x in named_params(layer).items()}
        {'0': (3,)}
    """
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {".".join(map(str, path)): param[...] for path, param in flat}
