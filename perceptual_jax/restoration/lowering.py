"""Whole searches lowered for devices that are not there, and what they would compute.

A search is exported as StableHLO for named platforms, without compiling it and without values:
shapes in place of arrays do. Its costs are counted in the jaxpr, before any optimisation:

    FLOPs    of matrix products and convolutions, 2 for a multiplication and an addition; the steps
             of a scan are multiplied
    bytes    of the operands and results of these products, each read or written once
    memory   largest sum of live arrays if every operation wrote its result: an upper bound, since
             a compiler fuses most of them
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from perceptual_jax.restoration.run import run
from perceptual_jax.types import Given, Restoration, unknown_header


class Costs(NamedTuple):
    """Costs of a program, see the head of this file."""

    flops: dict[str, int]
    """Floating-point operations of products, by the dtype of their operands."""
    float32: dict[str, int]
    """Those of products of float32, by the function of this package that they are in."""
    bytes: int
    memory: float
    f64: bool
    """Whether any array is of float64."""


class Lowered(NamedTuple):
    """A search lowered for some platforms."""

    stablehlo: str
    devices: int
    costs: Costs

    def callbacks(self) -> list[str]:
        """Targets of custom calls that would call the host; none in a search."""
        targets = re.findall(r"custom_call @?\"?([\w.]+)", self.stablehlo)
        return sorted({t for t in targets if re.search("callback|python|host", t.lower())})

    def has_f64(self) -> bool:
        """Whether any array is of float64."""
        return self.costs.f64 or re.search(r"[<x]f64\b", self.stablehlo) is not None

    def float32_share(self) -> float:
        """Share of the products' FLOPs whose operands are not bfloat16."""
        flops = self.costs.flops
        return 1 - flops.get("bfloat16", 0) / max(sum(flops.values()), 1.0)


def abstract(tree: Any) -> Any:
    """The tree with shapes in place of its arrays."""
    return jax.eval_shape(lambda: tree)


def lower(
    search: tuple[Sequence[jax.ShapeDtypeStruct], Any],
    size: int,
    *,
    batch: int,
    devices: int,
    platforms: Sequence[str],
) -> Lowered:
    """Lowers a whole search for a batch that is sharded over some devices.

    Args:
        search: The shapes of a search's arrays, and its tree, see `presets.abstract_search`.
        size: Pixels of a side of the degraded images.
        batch: Number of images, a multiple of `devices`.
        devices: Number of devices, none of which has to exist.
        platforms: Platforms, such as "tpu" and "cuda".
    """
    mesh = AbstractMesh((devices,), ("images",))
    by_image, everywhere = (NamedSharding(mesh, PartitionSpec(*p)) for p in (["images"], []))

    def placed(tree: Any, sharding: NamedSharding, *leading: int) -> Any:
        def one(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype, sharding=sharding)

        return jax.tree.map(one, tree)

    leaves, tree = search
    image = jax.ShapeDtypeStruct((size, size, 3), "float32")
    header = jax.tree.map(jnp.asarray, unknown_header())
    args = (
        placed(leaves, everywhere),
        Given(placed(image, by_image, batch), placed(header, by_image, batch)),
        placed(jax.eval_shape(jax.random.key, 0), by_image, batch),
    )

    @jax.jit
    def batched(leaves: list[Array], given: Given, keys: Key[Array, " n"]) -> Restoration:
        return jax.vmap(run, (None, 0, 0))(jax.tree.unflatten(tree, leaves), given, keys)

    exported = export.export(batched, platforms=platforms)(*args)
    costs = costs_of(batched.trace(*args).jaxpr)
    return Lowered(exported.mlir_module(), exported.nr_devices, costs)


def costs_of(jaxpr: Any) -> Costs:
    """The costs of a program, counted in its jaxpr."""
    flops, float32, moved, f64 = Counter[str](), Counter[str](), 0, False
    for equation, times in _equations(jaxpr.jaxpr, 1):
        values = [x.aval for x in (*equation.invars, *equation.outvars)]
        f64 = f64 or any(str(getattr(x, "dtype", "")) == "float64" for x in values)
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            flops[str(values[0].dtype)] += times * _flops(equation)
            if values[0].dtype == "float32":
                float32[_place(equation)] += times * _flops(equation)
            moved += times * sum(map(_bytes, values))
    return Costs(dict(flops), dict(float32), moved, _live(jaxpr.jaxpr), f64)


def _inner(equation: Any) -> list[Any]:
    """The jaxprs in an equation."""
    values = [v for x in equation.params.values() for v in (x if isinstance(x, tuple) else (x,))]
    return [getattr(v, "jaxpr", v) for v in values if hasattr(v, "jaxpr") or hasattr(v, "eqns")]


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """All equations, and how often each is evaluated; a `while` counts once."""
    for equation in jaxpr.eqns:
        inner = _inner(equation)
        if not inner:
            yield equation, times
        for one in inner:
            yield from _equations(one, times * equation.params.get("length", 1))


def _flops(equation: Any) -> int:
    left, right = (x.aval.shape for x in equation.invars)
    out = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * out * math.prod(left[i] for i in contracted)
    numbers = equation.params["dimension_numbers"]
    taps = [right[i] for i in numbers.rhs_spec[2:]]
    # Multiplications by the zeros between dilated inputs are not counted.
    zeros = math.prod(equation.params["lhs_dilation"])
    return 2 * out * math.prod(taps) * right[numbers.rhs_spec[1]] // zeros


def _place(equation: Any) -> str:
    """The module and the function of this package that an equation comes from."""
    trace = equation.source_info.traceback
    for frame in () if trace is None else trace.frames:
        _, found, module = frame.file_name.rpartition("perceptual_jax/")
        if found and module.endswith(".py"):
            return f"{module.removesuffix('.py')}.{frame.function_name.rpartition('.')[2]}"
    return "unknown"


def _bytes(x: Any) -> int:
    size = getattr(getattr(x, "dtype", None), "itemsize", 0)
    return math.prod(getattr(x, "shape", ())) * size


def _live(jaxpr: Any) -> float:
    """Largest sum of live arrays, with those of inner programs where they run."""
    last = {id(x): i for i, equation in enumerate(jaxpr.eqns) for x in equation.invars}
    last |= {id(x): len(jaxpr.eqns) for x in jaxpr.outvars}
    held = {id(x): _bytes(x.aval) for x in (*jaxpr.invars, *jaxpr.constvars)}
    now = most = float(sum(held.values()))
    for i, equation in enumerate(jaxpr.eqns):
        inside = max(
            (_live(one) - sum(_bytes(x.aval) for x in one.invars) for one in _inner(equation)),
            default=0.0,
        )
        for x in equation.outvars:
            held[id(x)] = _bytes(x.aval)
            now += held[id(x)]
        most = max(most, now + max(inside, 0.0))
        for x in {id(x) for x in (*equation.invars, *equation.outvars)}:
            if last.get(x, -1) <= i and x in held:
                now -= held.pop(x)
    return most
