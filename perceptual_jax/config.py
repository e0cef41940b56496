"""The settings of a restoration: frozen dataclasses, read from and written to TOML.

Order of precedence: the defaults here < a TOML file < the command line. Everything is plain
Python and hashable, so a config is a static argument of `jax.jit`. The range of a number is part
of its annotation, and every config is checked when it is built, wherever it comes from.
"""

import dataclasses
import json
import math
import tomllib
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple


class UsageError(ValueError):
    """What was asked for cannot be begun; the message is one sentence for the user."""


class ConfigError(UsageError):
    """A setting that does not exist or does not fit."""


class Range(NamedTuple):
    """The finite numbers from `low` (without it if `open`) to `high`."""

    low: float
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: object) -> bool:
        """Whether `value` is a finite number of the range."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return self.low <= value <= self.high and not (self.open and value == self.low)

    def __str__(self) -> str:
        """The range in words, to follow "a number"."""
        if self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"


NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open=True)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0)]
Size = Annotated[int, Range(1)]


class Checked:
    """Base of the configs: building one checks every field against its annotation."""

    def __post_init__(self) -> None:
        """Checks and, where a whole number stands for a number, converts."""
        table = type(self).__name__.removesuffix("Config").lower()
        where = "" if table == "restore" else f"{table}."
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            value = checked_value(hint, getattr(self, name), where + name)
            object.__setattr__(self, name, value)


def checked_value(hint: Any, value: Any, path: str) -> Any:
    """`value`, as a float where `hint` asks for one, or a `ConfigError` about the field `path`."""
    expected: list[str] = []
    options = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    for option in options:
        if typing.get_origin(option) is Literal:
            expected += map(repr, typing.get_args(option))
            if value in typing.get_args(option):
                return value
            continue
        base, *ranges = typing.get_args(option) or (option,)
        allowed = (int, float) if base is float else (base,)
        if type(value) in allowed and all(value in r for r in ranges):
            return base(value) if base is float else value
        name = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
        expected.append(" ".join([name.get(base, base.__name__), *map(str, ranges)]))
    raise ConfigError(f"{path} must be {' or '.join(expected)}, got {value!r}")


MIN_SIZE = 4
"""Pixels: a smaller picture holds too little of a face to search for."""


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """The data term: how far the restored image is from degrading to the given one."""

    downscale: Literal["bicubic", "area"] = "bicubic"
    """Filter of the downscale: PULSE's antialiased cubic (a = -0.5), or the mean over areas."""
    weight: NonNegative = 300.0
    """Weight of the mean squared error (of images in [0, 1]) on the draft."""
    floor: NonNegative = 0.0
    """Smallest value of the term that still has a gradient (PULSE's eps: 2e-3)."""
    nll_weight: NonNegative = 10.0
    """Weight of the bits/dim under a learned likelihood (the paper's "pixelcnn coefficient": 1, 10
    and 50 in its Table 2)."""
    min_log_scale: Annotated[float, Range(-10, 0)] = -5.0
    """Smallest log-scale of the likelihood in a search: tempers the pull of single pixels."""
    nll_rows: Size = 2
    """The likelihood is taken of the first of so many rows each."""
    low_size: Size = 64
    """Beside a likelihood the squared error is taken at this many pixels of a side only: large
    areas' colour and brightness, which a likelihood hardly sees."""
    condition_size: Count = 0
    """The likelihood sees the restored image at this many pixels of a side (the paper: 256), then
    brought to the degraded image's own size; 0 goes there at once."""
    max_size: Annotated[int, Range(MIN_SIZE)] = 256
    """Larger inputs are reduced to this many pixels before the search; smaller ones stay."""


@dataclasses.dataclass(frozen=True)
class PriorConfig(Checked):
    """Where the search may go: its space, its start, its sphere, and its prior terms."""

    space: Literal["w", "whitened"] = "w"
    """W itself, or W made Gaussian (PULSE: an inverse leaky ReLU, then standardised)."""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """Of the whitening: PULSE's per-coordinate standard deviations, or the whole matrix."""
    start: Literal["mean", "random"] = "mean"
    """The mean of W for every style, or an independent prior draw for each."""
    spread: Share = 0.0
    """Moves a mean start this share of the way to a random prior draw, so that samples differ."""
    tile: bool = False
    """With a random start, one draw for all styles."""
    sphere: Literal["none", "initial", "expected"] | Positive = "initial"
    """Every style stays at its initial norm, at the prior's mean norm, at a number, or is free."""
    cross_weight: NonNegative = 0.05
    """Weight of PULSE's geodesic cross loss."""
    mmd_weight: NonNegative = 20.0
    """Weight of the squared MMD between the styles and the prior bank."""
    kernel: Literal["gaussian", "laplacian"] = "gaussian"
    """exp(-d^2 / bandwidth), or the printed Eq. 7: exp(-d / bandwidth)."""
    bandwidth: Literal["paper", "median"] | Positive = "paper"
    """The paper's 512, which it gave for FFHQ's generators (others': as wide beside their latents);
    the median over the bank of what the kernel divides; or a number."""
    unbiased: bool = False
    """U-statistic instead of the printed V-statistic."""
    bank_size: Annotated[int, Range(2)] = 1000
    """Mapped prior samples the styles are compared with."""


@dataclasses.dataclass(frozen=True)
class NoiseConfig(Checked):
    """The generator's noise inputs during the search."""

    mode: Literal["const", "random", "none"] = "const"
    """The generator's own maps, one draw per image, or zeros."""
    trainable: Count = 0
    """How many of the coarsest maps the search moves, each on its own sphere (PULSE: 5)."""
    zero_last: bool = False
    """Set the finest map to zero (PULSE)."""


@dataclasses.dataclass(frozen=True)
class SearchConfig(Checked):
    """The search on drafts."""

    steps: Count = 100
    """Steps on the drafts, the coarse ones included."""
    learning_rate: Positive = 0.1
    """Peak of Adam's learning rate."""
    schedule: Literal["one_cycle_drop", "one_cycle", "fixed"] = "one_cycle_drop"
    """PULSE's schedules over the whole of `steps`."""
    draft: Count = 256
    """Resolution of the search; 0 searches at the generator's full resolution throughout."""
    coarse: Size = 128
    """Resolution of the first steps; of all of them for inputs of a quarter of it or less."""
    coarse_fraction: Share = 0.6
    """Share of `steps` taken at `coarse`."""


@dataclasses.dataclass(frozen=True)
class FinishConfig(Checked):
    """The last steps, at full resolution, with a heavier data term."""

    steps: Count = 20
    """Steps after the search; 0 renders the search's result as it is."""
    learning_rate: Positive = 0.05
    """Peak, on the same schedule over `steps`."""
    data_weight: NonNegative = 1000.0
    """Weight of the data term in place of `data.weight`."""
    nll_weight: NonNegative = 30.0
    """Weight of the likelihood in place of `data.nll_weight`."""


@dataclasses.dataclass(frozen=True)
class RestoreConfig(Checked):
    """Everything that decides what a restoration looks like."""

    generator: str = "mobilestylegan-ffhq"
    """A name of `perceptual-jax weights list`, or the path of a converted file."""
    fidelity: Share = 0.5
    """0 = natural, 1 = faithful: scales the data weights by 1/4 to 4 and the steps of the finish
    by 1/2 to 2; 0.5 leaves them as they are."""
    degradation: str = "auto"
    """How the inputs came about: `l2` (downscaled), `dct_box` (a JPEG with a header), `jpeg` or
    `blind` (learned), the path of a trained model; or `auto`, which looks at each input."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the generator's activations; latents, optimiser and losses stay float32."""
    data: DataConfig = DataConfig()
    prior: PriorConfig = PriorConfig()
    noise: NoiseConfig = NoiseConfig()
    search: SearchConfig = SearchConfig()
    finish: FinishConfig = FinishConfig()


def from_dict(cls: type, values: dict[str, Any], *, where: str = "") -> Any:
    """Builds the dataclass `cls` from nested dicts.

    Raises:
        ConfigError: On an unknown key (naming the valid ones) or a value that does not fit.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        table = f"[{where}]" if where else "the top level"
        raise ConfigError(
            f"unknown key {unknown[0]!r} in {table}; valid keys are {', '.join(sorted(hints))}"
        )
    fields = {}
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if not dataclasses.is_dataclass(hints[name]):
            fields[name] = checked_value(hints[name], value, path)
        elif isinstance(value, dict):
            fields[name] = from_dict(hints[name], value, where=path)
        else:
            raise ConfigError(f"{path} must be a table, got {value!r}")
    return cls(**fields)


def from_toml(path: str | Path) -> RestoreConfig:
    """Reads a config; settings that the file does not name keep their defaults.

    Raises:
        ConfigError: If the file cannot be read, is no TOML, or holds a setting that does not fit.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    return parse_toml(content, name=str(path))


def parse_toml(content: bytes, *, name: str) -> RestoreConfig:
    """A config from the content of a file; `name` is what errors call the file.

    Raises:
        ConfigError: If it is no TOML, or holds a setting that does not fit.
    """
    try:
        values = tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{name} is not a TOML file: {error}") from error
    try:
        return from_dict(RestoreConfig, values)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def to_toml(config: Any) -> str:
    """The config as TOML, every setting named; `from_toml` of it gives an equal config.

    Example:
        >>> print(to_toml(FinishConfig(steps=5)), end="")
        steps = 5
        learning_rate = 0.05
        data_weight = 1000.0
        nll_weight = 30.0
    """
    values = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)]
    plain = [f"{n} = {_toml(v)}\n" for n, v in values if not dataclasses.is_dataclass(v)]
    tables = [f"\n[{n}]\n{to_toml(v)}" for n, v in values if dataclasses.is_dataclass(v)]
    return "".join(plain + tables)


def _toml(value: str | bool | int | float) -> str:
    # A JSON string is a TOML basic string except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def presets() -> dict[str, Path]:
    """The configs that come with the package, by name."""
    package = Path(__file__).parent
    folder = package / "configs"  # in a wheel; in a source checkout beside the package
    if not folder.is_dir():
        folder = package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_config(name_or_path: str | Path = "default") -> RestoreConfig:
    """A preset by its bare name, such as `pulse`, or the TOML file at a path.

    Raises:
        ConfigError: If there is no such preset or file, or the file does not fit.
    """
    path = Path(name_or_path)
    if path.suffix or len(path.parts) > 1:
        return from_toml(path)
    known = presets()
    if str(path) not in known:
        raise ConfigError(
            f"no preset is called {str(path)!r}; presets are {', '.join(known)}, "
            f"and the path of a file ends in .toml"
        )
    return from_toml(known[str(path)])


def override(
    config: RestoreConfig,
    *,
    generator: str | None = None,
    degradation: str | None = None,
    steps: int | None = None,
    finish_steps: int | None = None,
    fidelity: float | None = None,
) -> RestoreConfig:
    """The config with the settings that are given (not None) in place of its own.

    Raises:
        ConfigError: If a setting does not fit.
    """
    top = {"generator": generator, "fidelity": fidelity, "degradation": degradation}
    changes: dict[str, Any] = {name: value for name, value in top.items() if value is not None}
    if steps is not None:
        changes["search"] = dataclasses.replace(config.search, steps=steps)
    if finish_steps is not None:
        changes["finish"] = dataclasses.replace(config.finish, steps=finish_steps)
    return dataclasses.replace(config, **changes)
