"""`report.html`: a page of a job's folder, to judge a run by looking.

It is made from the folder alone: the records, the pictures and the traces that they name, and the
scores in `evaluate*.json` and `evaluation*.json` if such files lie there (`read_scores`). Other
runs on the same inputs, jobs or plain folders of pictures, are matched by the names of the results.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.page import is_page
from perceptual_jax.evaluation.report import (
    Row,
    Shown,
    report_page,
    thin_curve,
)
from perceptual_jax.io.bundles import BundleError, read_again
from perceptual_jax.io.files import (
    Place,
    place_of,
    printable,
    write_atomically,
)
from perceptual_jax.io.images import ImageError, read_image
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs import log
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.pages.embedding import Pictures, Pixels, thumb
from perceptual_jax.jobs.pages.runs import (
    Run,
    check_match,
    choose_shown,
    descriptions,
    file_in,
    is_restored,
    labelled,
    other_run,
    scores_in,
    with_metrics,
)
from perceptual_jax.jobs.reading import read_picture
from perceptual_jax.jobs.resume import CONFIG
from perceptual_jax.jobs.writing import TRACE

PAGE = "report.html"
"""Name of the page in the job's folder."""

INSIDE_MOST = 200
"""Most pictures that are put into the page by default: about 60 MB at 1024 pixels."""

LIMIT = 2000
"""Most inputs that a page shows by default; browsers are slow with many more."""

_THREADS = 4

Where = Literal["auto", "inside", "beside"]


def write_report(
    out: str | Place,
    *,
    versus: Sequence[str | Place] = (),
    pictures: Where = "auto",
    limit: int = LIMIT,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Place:
    """Writes the report of a job into its folder.

    Args:
        out: The job's folder.
        versus: Other runs on the same inputs: folders of jobs, or of pictures with the same names.
        pictures: Whether pictures are put into the page, or beside it, see `Pictures`; `auto`
            chooses by their number.
        limit: Most inputs that are shown: those that failed, then the least consistent ones.
        overwrite: Whether a `report.html` that is not a report may be replaced.
        report: Receives lines for the user: inputs that other runs lack.
        progress: Called with the number of inputs that are done, and of all.

    Returns:
        The path of the page.

    Raises:
        UsageError: If `out` is not a job's folder or has no result, another run has no picture of
            its inputs, a foreign file would be replaced, or the limit is not positive.
        WriteError: If a file cannot be written.
    """
    out = place_of(out)
    if limit < 1:
        raise UsageError(f"limit must be at least 1 input, got {limit}")
    if not (out / CONFIG).is_file():
        raise UsageError(f"{out} is not the folder of a job: it has no {CONFIG}")
    page = out / PAGE
    if page.is_file() and not overwrite and not is_page(page.read_bytes(), "report"):
        raise UsageError(f"{page} exists and is not a report of this tool; give --overwrite")
    records, statuses = choose_shown(out, limit)
    if not records:
        raise UsageError(f"{out} has no result yet")
    names = [record["name"] for record in records if is_restored(record)]
    others = [other_run(one, label, names={*names}) for one, label in labelled(versus)]
    for other in others:
        check_match(other, names, report)
    scores = scores_in(out)
    own, *others = [with_metrics(run, scores) for run in (Run("restored", out), *others)]
    counted = sum(len(record.get("files", ())) for record in records) + len(others) * len(names)
    inside = counted <= INSIDE_MOST if pictures == "auto" else pictures == "inside"
    target = Pictures(out, inside)
    rows = []
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(lambda record: _row(record, own, others, target), records)
        for row in made:
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(records))
    text = report_page(
        rows,
        title=printable(out.absolute().name if not out.name else out.name),
        summary=_summary(statuses, len(records)),
        others=[other.label for other in others],
        about=_about(records),
        config=(out / CONFIG).read_bytes().decode(errors="replace"),
        described=descriptions(scores, *(scores_in(one.folder) for one in others)),
    )
    write_atomically(page, text.encode("utf-8", "backslashreplace"))
    return page


def _summary(statuses: Mapping[str, int], shown: int) -> str:
    restored, total = statuses.get("OK", 0), sum(statuses.values())
    text = f"{restored} restored" + (f", {total - restored} failed" if restored < total else "")
    if shown < total:
        text += f"; {shown} are shown: those that failed, then the least consistent (--limit)"
    return text


def _about(records: Sequence[Record]) -> list[tuple[str, str]]:
    first = next(filter(is_restored, records), {})
    versions = first.get("versions", {})
    settings = first.get("settings", {})
    facts = {
        "generator": first.get("generator"),
        "resolution": first.get("resolution"),
        "seed": settings.get("seed"),
        "device": first.get("device"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _row(record: Record, own: Run, others: Sequence[Run], target: Pictures) -> Row:
    about = record["input"]
    name = record.get("name")
    row = Row(
        name=printable(name if isinstance(name, str) else log.input_path(record)),
        status=str(record.get("status")),
        message=printable(str(record.get("message", ""))),
        path=printable(log.input_path(record)),
    )
    if not is_restored(record):
        return row
    try:
        return _restored_row(row, record, own, others, target)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"its record is damaged ({type(error).__name__}); restore it again"
        return Row(row.name, "DAMAGED", what, row.path, size=about.get("size"))


def _restored_row(
    row: Row, record: Record, own: Run, others: Sequence[Run], target: Pictures
) -> Row:
    name, about = record["name"], record["input"]
    notes = [printable(note) for note in about.get("notes", ())]
    pixels, problem = _given(record)
    shown: list[Shown] = []
    if pixels is not None:
        src = target.address(pixels, None, f"{name}.png")
        shown.append(Shown("given", "given", src, thumb=thumb(pixels)))
    notes += [problem] if problem else []
    shown += _shown(own, record, target, notes)
    for other in others:
        if there := other.records.get(name):
            first = {**there, "restorations": there["restorations"][:1], "nll_map": None}
            first.pop("spread", None)
            shown += _shown(other, first, target, notes)
        elif source := other.files.get(name):
            values = other.metrics.get(name)
            shown += _picture(source.path, source, target, other.label, "other", notes, values)
    degradation = record["degradation"]
    return Row(
        row.name,
        row.status,
        row.message,
        row.path,
        term=printable(str(degradation["term"])),
        reason=printable(str(degradation["reason"])),
        notes=notes,
        size=[int(side) for side in about["size"]],
        used=[int(side) for side in about["restored_from"]],
        pictures=shown,
    )


def _given(record: Record) -> tuple[Pixels | None, str | None]:
    """The input as the search got it, if it can still be read, and what is wrong with it."""
    path = log.input_path(record)
    try:
        data = read_again(path)
        source = Input(place_of(path), record["name"], lambda: data)
        pixels = read_picture(source, max_size=record["input"]["restored_from"][0]).pixels
    except (OSError, ImageError, BundleError, UsageError):
        return None, "the input can no longer be read"
    changed = hashlib.sha256(data).hexdigest() != record["input"]["sha256"]
    return pixels, "the input has changed since it was restored" if changed else None


def _shown(run: Run, record: Record, target: Pictures, notes: list[str]) -> Iterator[Shown]:
    """Yields the restorations and the maps of a record."""
    name, own = record["name"], run.folder == target.out
    restorations = record["restorations"]
    shared = {"seconds": record.get("seconds"), **run.metrics.get(name, {})}
    for key, table in (("bits", "nll_map"), ("spread", "spread")):
        shared[key] = (record.get(table) or {}).get("mean")
    curves = _curves(run.folder / f"{name}.npz", len(restorations))
    for number, one in enumerate(restorations):
        label = run.label if len(restorations) == 1 else f"sample {number}"
        terms = {f"term:{term}": value for term, value in one["terms"].items()}
        plain = {key: one.get(key) for key in ("consistency_psnr", "best_step")}
        values = {k: v for k, v in {**plain, **shared, **terms}.items() if v is not None}
        found = {term: trace[number] for term, trace in curves.items()}
        for shown in _picture(
            file_in(run.folder, one["image"]),
            None,
            target,
            label,
            "restored" if own else "other",
            notes,
            {key: float(value) for key, value in values.items()},
        ):
            yield _with_curves(shown, found, one)
    maps = (("nll_map", "nll", "likelihood", " bits/dim"), ("spread", "spread", "spread", ""))
    for key, end, label, unit in maps:
        if about := record.get(key):
            legend = f"{label}: black is 0, white is {float(about['white']):.3g}{unit} and more"
            file = file_in(run.folder, f"{name}_{end}.png")
            for shown in _picture(file, None, target, f"{label} map", "map", notes, None):
                yield Shown(shown.label, "map", shown.src, legend=legend)


def _picture(
    file: Place,
    source: Input | None,
    target: Pictures,
    label: str,
    kind: Literal["restored", "map", "other"],
    notes: list[str],
    values: Mapping[str, float] | None,
) -> Iterator[Shown]:
    """Yields a picture of a file, unless it cannot be read, which becomes a note."""
    try:
        data = None if source is None or source.read is None else source.read_bytes()
        pixels = read_image(file, data=data)
    except (OSError, ImageError):
        notes.append(f"{label}: {printable(file.name)} cannot be read")
        return
    there = file if data is None and file.suffix.lower() in _BROWSERS else None
    src = target.address(pixels, there, f"{printable(label).replace('/', '-')}_{file.stem}.png")
    small = thumb(pixels) if kind == "restored" else None
    yield Shown(label, kind, src, thumb=small, values=values)


_BROWSERS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif"})
"""Files that browsers show."""


def _with_curves(shown: Shown, traces: Mapping[str, np.ndarray], one: Record) -> Shown:
    curves = {name: thin_curve(trace) for name, trace in traces.items()}
    curves = {name: curve for name, curve in curves.items() if any(v is not None for v in curve)}
    if not curves:
        return shown
    steps = len(next(iter(traces.values())))
    return Shown(
        **{**vars(shown), "curves": curves, "steps": steps, "best_step": int(one["best_step"])}
    )


def _curves(path: Place, samples: int) -> dict[str, np.ndarray]:
    """The terms of all steps [s t] in the arrays of a picture; empty if they hold none."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            found = {key: arrays[key] for key in arrays if key.startswith(TRACE)}
    except Exception:  # A damaged archive may raise anything, and the rest of the report stands.
        return {}
    shaped = {key.removeprefix(TRACE): np.atleast_2d(trace) for key, trace in found.items()}
    return {k: x for k, x in shaped.items() if x.ndim == 2 and len(x) == samples and x.size}
