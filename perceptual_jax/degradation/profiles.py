"""Profiles: chains of random degradations, written as TOML.

    [[step]]
    operation = "jpeg"              # a name of OPERATIONS
    quality = [5, 60]               # a range is drawn from uniformly; a number stands for itself
    subsampling = ["4:2:0", "4:4:4"]    # one of these is drawn
    probability = 0.8               # of being done at all; 1 if left out

    [[step]]
    one_of = [                      # one of these is drawn, by weight
      {weight = 3, operation = "webp", quality = [10, 60]},
      {weight = 1, steps = [{operation = "grey"}, {profile = "jpeg"}]},
    ]

`profile` runs another profile; a path is relative to the folder of the file that names it. The
shipped ones are in `recipes`.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.degradation.operations import OPERATIONS, Parameter, Run
from perceptual_jax.errors import UsageError
from perceptual_jax.types import JpegHeader, unknown_header

_FOLDER = Path(__file__).parent / "recipes"
_DEEPEST = 8


class ProfileError(UsageError):
    """A profile that cannot be used; the message is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation, and the values or ranges that its parameters are drawn from."""

    operation: str
    parameters: Mapping[str, Any]
    probability: float = 1.0


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several nodes, drawn by weight."""

    nodes: tuple["Node", ...]
    weights: tuple[float, ...]
    probability: float = 1.0


@dataclasses.dataclass(frozen=True)
class Chain:
    """Nodes one after the other."""

    nodes: tuple["Node", ...]
    probability: float = 1.0


Node = Step | OneOf | Chain


@dataclasses.dataclass(frozen=True)
class Profile:
    """A chain with a name."""

    name: str
    chain: Chain


class Degradation(NamedTuple):
    """The result of a profile on an image."""

    image: UInt8[np.ndarray, "h w 3"]
    record: tuple[dict[str, Any], ...]
    """Operations in the order of their application, with the parameters that were drawn."""
    header: JpegHeader
    """Header of the last JPEG, if no operation came after it; else unknown."""
    encoded: bytes | None
    """File of that JPEG, of which `image` is the decoded picture; None if there is none."""


def profile_names() -> tuple[str, ...]:
    """The profiles that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_profile(name_or_path: str | os.PathLike[str]) -> Profile:
    """A shipped profile by its name, or the TOML file at a path.

    Raises:
        ProfileError: If there is none, it is no TOML, or something in it does not fit.
    """
    return _load(Path(name_or_path), depth=0)


def apply_profile(
    profile: Profile, image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> Degradation:
    """Degrades an image.

    Args:
        profile: Profile to draw the operations from.
        image: Clean image.
        rng: Source of all randomness; its state advances.

    Raises:
        ValueError: If the image is too small for what was drawn.

    Example:
        >>> clean = np.zeros((32, 32, 3), np.uint8)
        >>> apply_profile(load_profile("jpeg"), clean, np.random.default_rng(0)).record
        ({'operation': 'jpeg', 'quality': 52, 'subsampling': '4:2:0'},)
    """
    height, width, _ = image.shape
    run = Run(image, unknown_header(), None, (height, width), rng)
    record: list[dict[str, Any]] = []
    run = _apply(profile.chain, run, record)
    return Degradation(run.image, tuple(record), run.header, run.encoded)


def _apply(node: Node, run: Run, record: list[dict[str, Any]]) -> Run:
    if node.probability < 1 and run.rng.random() >= node.probability:
        return run
    if isinstance(node, Chain):
        for inner in node.nodes:
            run = _apply(inner, run, record)
        return run
    if isinstance(node, OneOf):
        weights = np.array(node.weights)
        chosen = run.rng.choice(len(node.nodes), p=weights / weights.sum())
        return _apply(node.nodes[chosen], run, record)
    operation = OPERATIONS[node.operation]
    drawn = {
        name: parameter.draw(node.parameters.get(name, parameter.default), run.rng)
        for name, parameter in operation.parameters.items()
    }
    record.append({"operation": node.operation, **drawn})
    return operation.apply(run, **drawn)


def _load(path: Path, *, depth: int) -> Profile:
    if not path.suffix and len(path.parts) == 1:
        if str(path) not in profile_names():
            raise ProfileError(
                f"no profile is called {str(path)!r}; profiles are "
                f"{', '.join(profile_names())}, and the path of a file ends in .toml"
            )
        path = _FOLDER / f"{path}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProfileError(f"cannot read the profile {path} ({reason})") from error
    except ValueError as error:
        raise ProfileError(f"{path} is not a TOML file: {error}") from error
    try:
        _refuse_unknown(values, ("step",), "the top level")
        nodes = _nodes(values.get("step"), "step", _Place(path.parent, depth))
    except ProfileError as error:
        # A profile that runs itself names itself once.
        message = str(error).removeprefix(f"{path.name}: ")
        raise ProfileError(f"{path.name}: {message}") from error
    return Profile(path.stem, Chain(nodes))


class _Place(NamedTuple):
    """Location of a node: the folder of its profile, and the depth of its nesting."""

    folder: Path
    depth: int

    def below(self) -> "_Place":
        return self._replace(depth=self.depth + 1)


def _nodes(values: Any, where: str, place: _Place, *own: str) -> tuple[Node, ...]:
    """Nodes from a list of tables, which may have a probability and the keys `own`."""
    if not isinstance(values, list) or not values:
        raise ProfileError(f"{where} must be a list of at least one step, got {values!r}")
    shared = ("probability", *own)
    return tuple(_node(value, f"{where}[{i}]", place, shared) for i, value in enumerate(values))


def _node(values: Any, where: str, place: _Place, shared: tuple[str, ...]) -> Node:
    if place.depth > _DEEPEST:
        raise ProfileError(f"{where} is nested too deeply; does a profile run itself?")
    if not isinstance(values, dict):
        raise ProfileError(f"{where} must be a table, got {values!r}")
    kinds = [kind for kind in ("operation", "one_of", "steps", "profile") if kind in values]
    if len(kinds) != 1:
        raise ProfileError(
            f"{where} must have one of operation, one_of, steps and profile, got {kinds or 'none'}"
        )
    probability = _number(values.get("probability", 1.0), 0, 1, f"{where}.probability")
    if kinds == ["operation"]:
        return _step(values, probability, where, shared)
    _refuse_unknown(values, (kinds[0], *shared), where)
    inner = values[kinds[0]]
    if kinds == ["one_of"]:
        nodes = _nodes(inner, f"{where}.one_of", place.below(), "weight")
        weights = [_number(v.get("weight", 1.0), 0, 1e6, f"{where}.weight") for v in inner]
        if sum(weights) == 0:
            raise ProfileError(f"{where}.one_of must have a weight above 0")
        return OneOf(nodes, tuple(weights), probability)
    if kinds == ["steps"]:
        return Chain(_nodes(inner, f"{where}.steps", place.below()), probability)
    if not isinstance(inner, str):
        raise ProfileError(f"{where}.profile must be a name, got {inner!r}")
    path = Path(inner)
    if path.suffix:
        path = place.folder / path
    chain = _load(path, depth=place.depth + 1).chain
    return dataclasses.replace(chain, probability=probability)


def _step(
    values: Mapping[str, Any], probability: float, where: str, shared: tuple[str, ...]
) -> Step:
    name = values["operation"]
    if not isinstance(name, str) or name not in OPERATIONS:
        raise ProfileError(
            f"{where}.operation must be one of {', '.join(sorted(OPERATIONS))}, got {name!r}"
        )
    parameters = OPERATIONS[name].parameters
    _refuse_unknown(values, ("operation", *shared, *parameters), where)
    for key, parameter in parameters.items():
        if key not in values and parameter.default is None:
            raise ProfileError(f"{where} lacks {key}, which {name} needs")
        if key in values:
            _check_parameter(values[key], parameter, f"{where}.{key}")
    return Step(name, {k: values[k] for k in parameters if k in values}, probability)


def _check_parameter(value: Any, parameter: Parameter, where: str) -> None:
    problem = parameter.problem(value)
    if problem:
        raise ProfileError(f"{where} must be {problem}, got {value!r}")


def _number(value: Any, low: float, high: float, where: str) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise ProfileError(f"{where} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def _refuse_unknown(values: Mapping[str, Any], valid: Sequence[str], where: str) -> None:
    unknown = sorted(set(values) - set(valid))
    if unknown:
        raise ProfileError(
            f"unknown key {unknown[0]!r} in {where}; valid keys are {', '.join(sorted(valid))}"
        )
