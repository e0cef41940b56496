"""The report of a job: what its page shows of each picture, as plain values.

A row is an input with its pictures: the given one, the restorations, maps, and the pictures of
other runs. Values belong to pictures, and columns say what the values are.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped

from perceptual_jax.evaluation.page import build_page

POINTS = 64
"""Most points of a curve in the page."""


class Column(NamedTuple):
    """A number that pictures have."""

    key: str
    label: str
    title: str
    """What it is, in a few words."""
    unit: str = ""
    better: int = 0
    """1 where higher is better, -1 where lower is, 0 where neither holds."""
    hidden: bool = False
    """Whether the list leaves it out at first."""


KNOWN = (
    Column("consistency_psnr", "consistency", "PSNR of the degraded result to the input", "dB", 1),
    Column("bits", "bits/dim", "mean of the likelihood map", "bits", -1),
    Column("spread", "spread", "mean standard deviation over the samples"),
    Column("best_step", "step", "the step that was returned", hidden=True),
    Column("seconds", "time", "time of the search", "s", hidden=True),
)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture of a row."""

    label: str
    kind: Literal["given", "restored", "map", "other"]
    src: str
    """Address of the picture: it holds the picture, or is relative to the page."""
    thumb: str | None = None
    """Address of a small version."""
    legend: str | None = None
    """What the grey values of a map mean."""
    values: Mapping[str, float] | None = None
    curves: Mapping[str, list[float | None]] | None = None
    """Terms over the steps, see `thin_curve`."""
    steps: int = 0
    best_step: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """An input and its pictures."""

    name: str
    status: str
    message: str
    path: str
    term: str | None = None
    reason: str | None = None
    notes: Sequence[str] = ()
    size: Sequence[int] | None = None
    used: Sequence[int] | None = None
    """Width and height that it was restored from, in pixels."""
    pictures: Sequence[Shown] = ()


def thin_curve(values: Shaped[np.ndarray, " t"]) -> list[float | None]:
    """A curve of at most `POINTS` evenly spaced steps, the first and the last among them.

    Args:
        values: The values at all steps; those that are not finite become None.

    Example:
        >>> thin_curve(np.array([3.0, np.nan, 1.00004]))
        [3.0, None, 1.0]
    """
    steps = np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int)
    kept = np.asarray(values, np.float64)[steps]
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in kept]


def columns_of(rows: Iterable[Row], described: Mapping[str, Column]) -> list[Column]:
    """The columns for all values of the rows: known ones, other metrics, terms, all by first use.

    Args:
        rows: The rows.
        described: Columns of metrics that are not known here, by their keys.

    Example:
        >>> shown = Shown("restored", "restored", "a.png", values={"term:l2": 0.1, "LPIPS": 0.2})
        >>> [c.label for c in columns_of([Row("a", "OK", "", "", pictures=[shown])], {})]
        ['LPIPS', 'l2']
    """
    pictures = [picture for row in rows for picture in row.pictures]
    used = dict.fromkeys(key for picture in pictures for key in picture.values or ())
    columns = [column for column in KNOWN if column.key in used]
    names = {column.key for column in columns}
    others = [key for key in used if key not in names and not key.startswith("term:")]
    terms = [key for key in used if key.startswith("term:")]
    extra = [described.get(key, Column(key, key, key)) for key in others]
    labels = {column.label for column in columns}
    extra = [c._replace(label=f"{c.label} (evaluated)") if c.label in labels else c for c in extra]
    costs = [
        Column(key, key[5:], f"loss term {key[5:]}", better=-1, hidden=key != "term:total")
        for key in terms
    ]
    shown = [column for column in columns if not column.hidden]
    return [*shown, *extra, *costs, *(column for column in columns if column.hidden)]


class Scores(NamedTuple):
    """The metrics that a file has of the pictures of one folder."""

    folder: str | None
    """The folder, if the file names it."""
    values: Mapping[str, Mapping[str, float]]
    """Metrics by the names of the pictures."""
    described: Mapping[str, Column]
    """Columns of metrics by their names, as far as the file describes them."""


def read_scores(table: Any) -> list[Scores]:
    """The metrics in what a JSON file of `evaluate`, or of any other tool, holds.

    Args:
        table: Either `{"methods": [{"folder": ..., "pictures": TABLE}, ...]}`, or a TABLE alone, or
            `{"pictures": TABLE}`. A TABLE is a mapping from names of pictures to mappings from
            metrics to numbers, or a list of the latter with a `name`. With `"metrics"` a mapping
            from metrics to `{"unit": ..., "better": "higher" or "lower", "about": ..., "label":
            ...}`. Whatever else it holds is left out.

    Example:
        >>> read_scores({"a.png": {"LPIPS": 0.2}})[0].values
        {'a': {'LPIPS': 0.2}}
    """
    if not isinstance(table, dict):
        return [Scores(None, found, {})] if (found := _values(table)) else []
    about = table.get("metrics")
    described = {
        name: _described(name, one)
        for name, one in (about.items() if isinstance(about, dict) else ())
        if isinstance(one, dict)
    }
    methods = table.get("methods")
    if isinstance(methods, list):
        return [
            Scores(str(one.get("folder")), _values(one.get("pictures")), described)
            for one in methods
            if isinstance(one, dict)
        ]
    found = _values(table.get("pictures", table))
    return [Scores(None, found, described)] if found else []


def _described(name: str, one: Mapping[str, Any]) -> Column:
    better = {"higher": 1, "lower": -1}.get(str(one.get("better")), 0)
    about, unit = str(one.get("about") or name), str(one.get("unit") or "")
    return Column(name, str(one.get("label") or name), about, unit=unit, better=better)


def _values(table: Any) -> dict[str, dict[str, float]]:
    if isinstance(table, list):
        named = [one for one in table if isinstance(one, dict) and isinstance(one.get("name"), str)]
        table = {one["name"]: one for one in named}
    found: dict[str, dict[str, float]] = {}
    for name, values in table.items() if isinstance(table, dict) else ():
        values = values.items() if isinstance(values, dict) else ()
        numbers = {key: float(value) for key, value in values if _is_number(value)}
        if numbers:
            found[_EXTENSION.sub("", name)] = numbers
    return found


_EXTENSION = re.compile(r"\.(png|jpe?g|webp|tiff?|bmp)$", flags=re.IGNORECASE)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def report_page(
    rows: Sequence[Row],
    *,
    title: str,
    summary: str = "",
    others: Sequence[str] = (),
    about: Sequence[tuple[str, str]] = (),
    config: str = "",
    described: Mapping[str, Column] | None = None,
) -> str:
    """The page of a report.

    Args:
        rows: The inputs in their order.
        title: Title of the page.
        summary: How many pictures were restored and failed.
        others: The labels of other runs, as those of their pictures.
        about: Facts about the job, with their names.
        config: The config's text.
        described: See `columns_of`.
    """
    data = {
        "title": title,
        "summary": summary,
        "others": list(others),
        "about": [list(pair) for pair in about],
        "config": config,
        "columns": [column._asdict() for column in columns_of(rows, described or {})],
        "rows": [_without_nothing(dataclasses.asdict(row)) for row in rows],
    }
    scripts = ("viewer.js", "report.js")
    return build_page("report", title=f"{title}: report", data=data, scripts=scripts)


def _without_nothing(value: Any) -> Any:
    """Leaves out what is None in a mapping, since a large job has many of them."""
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nothing(item) for item in value]
    return value
