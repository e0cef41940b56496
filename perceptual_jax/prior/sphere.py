"""Search on spheres: PULSE's projection after every optimiser step.

A Gaussian in many dimensions lies near a sphere, so PULSE keeps each style, and each noise map it
optimises, at its initial norm. The optimiser itself is unconstrained: gradient and moments are
those of the free space, and the point is pulled back radially after each step,

    p  <-  radius * (p + u) / |p + u|.

Here this is the last transformation of an optax chain. One norm is taken per vector, never
over a whole array or tree as `optax.projections.projection_l2_sphere` does (which gives NaN at
zero).

Source: Menon et al., "PULSE", CVPR 2020 (`SphericalOptimizer` of its code; the 1e-9 it adds to
the squared norm is below the resolution of float32 at any norm above 0.1 and is left out).
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Axis = int | tuple[int, ...]


def project_to_sphere(
    x: Float[Array, "..."], radius: float | Float[Array, "..."], *, axis: Axis = -1
) -> Float[Array, "..."]:
    """The nearest points of norm `radius`, one for each vector along `axis`: radius * x / |x|.

    A zero vector has no direction and stays zero. A NaN stays within its own vector.

    Args:
        x: Vectors along `axis`.
        radius: One number, or one for each vector (the shape of `x` without `axis`), at least 0.
        axis: The axis or axes a norm is taken over.

    Example:
        >>> x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
        >>> project_to_sphere(x, 10.0).tolist()
        [[6.0, 8.0], [0.0, 0.0]]
    """
    norm = _norm(x, axis)
    # The inner `where` keeps 0 / 0 out of the gradient, too.
    scale = radius / jnp.where(norm == 0, 1, norm)
    return x * jnp.expand_dims(scale, axis)


@dataclasses.dataclass(frozen=True)
class Sphere:
    """The spheres that the vectors of one array of parameters are projected to."""

    radius: float | Float[Array, "..."] | Literal["initial"] = "initial"
    """Radius: "initial" for the initial norm of each vector, one number, or one number for each
    vector (the shape of the parameters without `axis`). `math.inf` does not constrain a vector."""
    axis: Axis = -1
    """The axis or axes of one vector: -1 for styles [k d], (-2, -1) for a map [r r]."""


class KeepOnSphereState(NamedTuple):
    """State of `keep_on_sphere`."""

    radius: Any
    """The radius of every vector, as a tree with the structure of the parameters."""


def keep_on_sphere(spheres: Any) -> optax.GradientTransformation:
    """Changes each update so that `optax.apply_updates` lands on the sphere.

    It must be the last transformation of a chain. Parameters that are not on a sphere of given
    radius reach it at the first update; use `project_to_sphere` to start on it. A vector of
    zeros with radius "initial" stays zero.

    Args:
        spheres: A `Sphere` for all parameters, or a tree of them: a prefix of the parameters' tree.

    Returns:
        A transformation whose state holds the radii, so under `jax.vmap` each image has its own.
        Its `update` raises ValueError when it is called without the parameters.

    Source: PULSE, as above.

    Example:
        >>> params = {"styles": 3 * jnp.eye(2), "bias": jnp.ones(2)}
        >>> spheres = {"styles": Sphere(), "bias": Sphere(radius=float("inf"))}
        >>> optimizer = optax.chain(optax.sgd(0.5), keep_on_sphere(spheres))
        >>> state = optimizer.init(params)
        >>> grads = jax.tree.map(jnp.ones_like, params)
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = optax.apply_updates(params, updates)
        >>> [round(float(norm), 5) for norm in jnp.linalg.norm(params["styles"], axis=-1)]
        [3.0, 3.0]
        >>> params["bias"].tolist()
        [0.5, 0.5]
    """

    def init(params: Any) -> KeepOnSphereState:
        return KeepOnSphereState(jax.tree.map(_radius, jax.tree.broadcast(spheres, params), params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("keep_on_sphere needs the parameters: update(grads, state, params)")

        def project(
            sphere: Sphere, radius: Array, param: Float[Array, "..."], step: Float[Array, "..."]
        ) -> Float[Array, "..."]:
            projected = project_to_sphere(param + step, radius, axis=sphere.axis)
            free = jnp.isinf(jnp.expand_dims(radius, sphere.axis))
            return jnp.where(free, step, projected - param)

        broadcast = jax.tree.broadcast(spheres, params)
        return jax.tree.map(project, broadcast, state.radius, params, updates), state

    return optax.GradientTransformation(init, update)


def _radius(sphere: Sphere, param: Float[Array, "..."]) -> Float[Array, "..."]:
    norm = _norm(param, sphere.axis)
    if isinstance(sphere.radius, str):
        return norm
    return jnp.broadcast_to(jnp.asarray(sphere.radius, norm.dtype), norm.shape)


def _norm(x: Float[Array, "..."], axis: Axis) -> Float[Array, "..."]:
    squared = jnp.sum(jnp.square(x), axis=axis)
    # sqrt has an infinite slope at 0, and 0 * inf is NaN, so 0 must not reach it.
    zero = squared == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squared)))
