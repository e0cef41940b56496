"""An evaluation as text, JSON, CSV and parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perceptual_jax.evaluation.metrics.metric_list import METRICS
from perceptual_jax.io.files import printable, save_json, write_atomically
from perceptual_jax.jobs.scoring.evaluate import Evaluation, Method
from perceptual_jax.jobs.status import write_csv


def table_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yields a table of each method, and one of each comparison."""
    for method in evaluation.methods:
        yield f"{printable(method.folder)}: {_counted(len(method.pictures))}"
        yield from _aligned(_rows(evaluation, method))
        yield ""
    first = evaluation.methods[0]
    for other, comparison in zip(evaluation.methods[1:], evaluation.comparisons, strict=True):
        yield f"{printable(first.folder)} against {printable(other.folder)}"
        rows = [["", "pictures", "difference", "wins", "losses", "win rate", "p (sign test)"]]
        for name, found in comparison.items():
            difference = "" if found.difference is None else _number(found.difference)
            counts = [str(found.wins), str(found.losses), f"{100 * found.win_rate:.0f} %"]
            p_value = f"{found.p_value:.2g}"
            rows.append([METRICS[name].shown, str(found.pictures), difference, *counts, p_value])
        yield from _aligned(rows)
        yield ""
    yield (
        f"Compared with originals at {evaluation.size} pixels of the shorter side; intervals are "
        "95 % of the bootstrap over pictures."
    )


def _counted(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _rows(evaluation: Evaluation, method: Method) -> list[list[str]]:
    rows = [["", "unit", "better", "pictures", "mean", "95 % interval", "median"]]
    for name in evaluation.metrics:
        metric = METRICS[name]
        about = [metric.shown, metric.unit, "lower" if metric.lower_is_better else "higher"]
        if name in method.sets:
            rows.append([*about, str(len(method.pictures)), _number(method.sets[name]), "", ""])
        elif (found := method.summaries.get(name)) is not None:
            interval = ""
            if found.low is not None and found.high is not None:
                interval = f"{_number(found.low)} to {_number(found.high)}"
            mean, median = _number(found.mean), _number(found.median)
            rows.append([*about, str(found.pictures), mean, interval, median])
        else:
            rows.append([*about, "0", "", "", ""])
    return rows


def _number(value: float) -> str:
    """A number with four significant digits, at most four of them after the point.

    Example:
        >>> [_number(x) for x in (27.31456, 0.123456, 0.99999, 1234.5)]
        ['27.31', '0.1235', '1.000', '1234']
    """
    size = round(abs(value), 4)
    whole = len(str(int(size))) if size >= 1 else 0
    return f"{value:.{max(4 - whole, 0)}f}"


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i < 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Writes all scores, summaries and comparisons.

    Raises:
        WriteError: If the file cannot be written.
    """
    methods = [
        {
            "folder": printable(method.folder),
            "summaries": {name: found._asdict() for name, found in method.summaries.items()},
            "sets": method.sets,
            "pictures": {printable(name): scores for name, scores in method.pictures.items()},
        }
        for method in evaluation.methods
    ]
    comparisons = [
        {
            "first": printable(evaluation.methods[0].folder),
            "second": printable(other.folder),
            "metrics": {name: found._asdict() for name, found in comparison.items()},
        }
        for other, comparison in zip(evaluation.methods[1:], evaluation.comparisons, strict=True)
    ]
    about = {
        name: {
            "unit": METRICS[name].unit,
            "better": "lower" if METRICS[name].lower_is_better else "higher",
            "about": METRICS[name].about,
        }
        | ({"label": METRICS[name].label} if METRICS[name].label else {})
        for name in evaluation.metrics
    }
    failed = [
        {"source": printable(source), "reason": reason} for source, reason in evaluation.failed
    ]
    value = {"size": evaluation.size, "metrics": about, "methods": methods}
    save_json(path, value | {"comparisons": comparisons, "failed": failed})


def write_table(path: Path, evaluation: Evaluation) -> None:
    """Writes a row for each picture of each folder: CSV, or parquet by the name of the file.

    Raises:
        WriteError: If the file cannot be written.
    """
    columns = [name for name in evaluation.metrics if METRICS[name].needs != "originals"]
    rows: list[dict[str, Any]] = [
        {"folder": printable(method.folder), "name": printable(name)}
        | {metric: scores.get(metric) for metric in columns}
        for method in evaluation.methods
        for name, scores in method.pictures.items()
    ]
    names = ["folder", "name", *columns]
    if path.suffix != ".parquet":
        write_atomically(path, lambda file: write_csv(file, names, rows))
        return
    import pyarrow  # imported here, since only this needs it and it takes 0.1 s
    import pyarrow.parquet

    arrays = {name: [row[name] for row in rows] for name in names}
    write_atomically(path, lambda file: pyarrow.parquet.write_table(pyarrow.table(arrays), file))
