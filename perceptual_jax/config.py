"""The settings of a restoration: frozen dataclasses, read from and written to TOML.

Order of precedence: the defaults here < a TOML file < the command line. Everything is plain
Python and hashable, so a config is a static argument of `jax.jit`, and it is checked when it is
built, wherever it comes from.

The defaults are written down here and nowhere else, each with its reading of the paper (Han, Duan,
Tao, Lu): quotations are the paper's, the number in brackets is their section; what is called
PULSE's is of Menon et al. 2020; what is called ours or measured is in neither.
"""

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from perceptual_jax.validation import (
    Checked,
    ConfigError,
    Count,
    NonNegative,
    Positive,
    Range,
    Share,
    Size,
    from_dict,
)

MIN_SIZE = 4
"""Pixels: a smaller picture holds too little of a face to search for."""


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """The data term: how far the restored image is from degrading to the given one."""

    downscale: Literal["bicubic", "area"] = "bicubic"
    """Filter of the downscale: PULSE's antialiased cubic (a = -0.5), or the mean over areas. The
    paper does not name its own (4.2: "the same method")."""
    weight: NonNegative = 300.0
    """Weight of the mean squared error (of images in [0, 1]) on the draft. PULSE has 100; measured:
    more faithful and not less natural at 300."""
    floor: NonNegative = 0.0
    """Smallest value of the term that still has a gradient (PULSE's eps: 2e-3). The paper sets no
    threshold and runs all steps (4.1)."""
    nll_weight: NonNegative = 10.0
    """Weight of the bits/dim under a learned likelihood: the paper's "pixelcnn coefficient" (1, 10
    and 50 in its Table 2)."""
    min_log_scale: Annotated[float, Range(-10, 0)] = -5.0
    """Smallest log-scale of the likelihood in a search, ours: tempers the pull of single pixels."""
    nll_rows: Size = 2
    """The likelihood is taken of the first of so many rows each. Ours: every second row tells
    nearly as much for half the time."""
    low_size: Size = 64
    """Beside a likelihood the squared error is taken at this many pixels of a side only. Ours:
    colour and brightness of large areas, which a likelihood hardly sees."""
    condition_size: Count = 0
    """The likelihood sees the restored image at this many pixels of a side (the paper: 256), then
    brought to the degraded image's own size; 0 goes there at once."""
    max_size: Annotated[int, Range(MIN_SIZE)] = 256
    """Larger inputs are reduced to this many pixels before the search; smaller ones stay."""


@dataclasses.dataclass(frozen=True)
class PriorConfig(Checked):
    """Where the search may go: its space, its start, its sphere, and its prior terms."""

    space: Literal["w", "whitened"] = "w"
    """W itself, "we optimize the latent code in W space directly" (4.1), or W made Gaussian
    (PULSE: an inverse leaky ReLU, then standardised)."""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """Of the whitening: PULSE's per-coordinate standard deviations, or the whole matrix."""
    start: Literal["mean", "random"] = "mean"
    """The mean of W for every style, "initializes from the mean embedding of W" (4.1), or an
    independent prior draw for each."""
    spread: Share = 0.0
    """Moves a mean start this share of the way to a random prior draw, so that samples differ."""
    tile: bool = False
    """With a random start, one draw for all styles."""
    sphere: Literal["none", "initial", "expected"] | Positive = "initial"
    """Every style stays at its initial norm, at the prior's mean norm, at a number, or is free. "We
    keep the spherical gradient descent" (4.1) is read as PULSE's class reused: from the mean start
    the radius is |w_mean|."""
    cross_weight: NonNegative = 0.05
    """Weight of PULSE's geodesic cross loss: "and the cross loss" (4.1), with PULSE's weight."""
    mmd_weight: NonNegative = 20.0
    """Weight of the squared MMD between the styles and the prior bank. The paper names none;
    measured: identity and naturalness balance at 20."""
    kernel: Literal["gaussian", "laplacian"] = "gaussian"
    """exp(-d^2 / bandwidth), the text's "Gaussian kernel" (3.1), or the printed Eq. 7:
    exp(-d / bandwidth)."""
    bandwidth: Literal["paper", "median"] | Positive = "paper"
    """The paper's 512, "we set the bandwidth to 512" (4.1), read as a squared distance. It
    holds for FFHQ's generators; for others it is as wide beside their latents. Or the median over
    the bank of what the kernel divides, or a number."""
    unbiased: bool = False
    """U-statistic instead of the printed V-statistic."""
    bank_size: Annotated[int, Range(2)] = 1000
    """Mapped prior samples the styles are compared with: "we take 1000 samples" (4.1)."""


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
    """Steps on the drafts, the coarse ones included: "run 100 steps for all test images" (4.1)."""
    learning_rate: Positive = 0.1
    """Peak of Adam's learning rate; not in the paper. PULSE's 0.4 is in whitened units."""
    schedule: Literal["one_cycle_drop", "one_cycle", "fixed"] = "one_cycle_drop"
    """PULSE's schedules over the whole of `steps`."""
    draft: Count = 256
    """Resolution of the search, ours: it looks at drafts, never larger than this. 0 searches at the
    generator's full resolution throughout."""
    coarse: Size = 128
    """Resolution of the first steps, ours; of all of them for inputs of a quarter of it or less."""
    coarse_fraction: Share = 0.6
    """Share of `steps` taken at `coarse`. Measured: as faithful as 256 px throughout (25.7, 25.8
    and 25.9 dB) in two thirds of the time."""


@dataclasses.dataclass(frozen=True)
class FinishConfig(Checked):
    """The last steps, at full resolution, with a heavier data term."""

    steps: Count = 20
    """Steps after the search; 0 renders the search's result as it is. Ours: they bring back what
    the draft misses."""
    learning_rate: Positive = 0.05
    """Peak, on the same schedule over `steps`."""
    data_weight: NonNegative = 1000.0
    """Weight of the data term in place of `data.weight`. Measured: 300 is less faithful and no more
    natural, 3000 smoother."""
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
    `blind` (learned), the path of a trained model; or `auto`, which looks at each input: small ones
    are taken for downscaled, JPEGs with their tables go to `jpeg`, others to `blind`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the generator's activations; latents, optimiser and losses stay float32."""
    data: DataConfig = DataConfig()
    prior: PriorConfig = PriorConfig()
    noise: NoiseConfig = NoiseConfig()
    search: SearchConfig = SearchConfig()
    finish: FinishConfig = FinishConfig()


def from_toml(path: str | Path, *, row: str | None = None) -> RestoreConfig:
    """Reads a config; settings that the file does not name keep their defaults.

    Args:
        path: The file.
        row: Which config of a file that has several: a table `[rows.NAME]` changes settings that
            all its rows share.

    Raises:
        ConfigError: If the file cannot be read, is no TOML, or holds a setting that does not fit.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    return parse_toml(content, name=str(path), row=row)


def parse_toml(content: bytes, *, name: str, row: str | None = None) -> RestoreConfig:
    """A config from the content of a file; `name` is what errors call the file.

    Raises:
        ConfigError: If it is no TOML, lacks the row, or holds a setting that does not fit.
    """
    try:
        values = tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{name} is not a TOML file: {error}") from error
    try:
        return from_dict(RestoreConfig, _row_of(values, row))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _row_of(values: dict[str, Any], row: str | None) -> dict[str, Any]:
    if row is None and "rows" not in values:
        return values
    shared = {name: value for name, value in values.items() if name != "rows"}
    rows = values.get("rows", {})
    if not isinstance(rows, dict) or not isinstance(rows.get(row, {}), dict):
        raise ConfigError("rows must be tables, [rows.NAME]")
    if row not in rows:
        what = "a row must be named, FILE:ROW" if row is None else f"no row is called {row!r}"
        raise ConfigError(f"{what}; its rows are {', '.join(rows) or 'none'}")
    return _merged(shared, rows[row])


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested tables, one over the other."""
    tables = {
        n for n, own in over.items() if isinstance(own, dict) and isinstance(under.get(n), dict)
    }
    return under | over | {name: _merged(under[name], over[name]) for name in tables}


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


def presets() -> tuple[str, ...]:
    """The names that `load_config` knows: of the files in `configs/`, and of the rows in them."""
    names = []
    for name, path in _files().items():
        rows = tomllib.loads(path.read_text("utf-8")).get("rows")
        names += [f"{name}:{row}" for row in rows] if rows else [name]
    return tuple(names)


def _files() -> dict[str, Path]:
    package = Path(__file__).parent
    # In a wheel the folder is inside the package, in a checkout of the source beside it.
    folders = (package / "configs", package.parent / "configs")
    folder = next(folder for folder in folders if folder.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_config(name_or_path: str | Path = "default") -> RestoreConfig:
    """A preset by its bare name, such as `pulse`, or the TOML file at a path.

    Of a file with rows, the row follows a colon: `table2:mean_mmd_sphere`, `mine.toml:fast`.

    Raises:
        ConfigError: If there is no such preset, file or row, or the file does not fit.
    """
    match = re.fullmatch(r"(.+):([\w-]+)", str(name_or_path))
    name, row = match.groups() if match else (name_or_path, None)
    path = Path(name)
    if path.suffix or len(path.parts) > 1:
        return from_toml(path, row=row)
    files = _files()
    if str(path) not in files:
        raise ConfigError(
            f"no preset is called {str(path)!r}; presets are {', '.join(presets())}, "
            f"and the path of a file ends in .toml"
        )
    return from_toml(files[str(path)], row=row)


def override(config: RestoreConfig, settings: Mapping[str, Any]) -> RestoreConfig:
    """The config with other values of some settings.

    Args:
        config: Where all other settings come from.
        settings: Values by name, `fidelity` or `search.steps`; one that is None is left as it is.

    Raises:
        ConfigError: If there is no such setting, or a value does not fit.

    Example:
        >>> override(RestoreConfig(), {"search.steps": 7, "fidelity": None}).search.steps
        7
    """
    values = dataclasses.asdict(config)
    for name, value in settings.items():
        if value is not None:
            for table in reversed(name.split(".")):
                value = {table: value}
            values = _merged(values, value)
    return from_dict(RestoreConfig, values)
