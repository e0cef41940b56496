"""Evaluates folders of restored pictures: pairs them by name, scores them, and summarises.

The pictures of a plain folder are paired with originals and inputs of the same name. The folder of
a job knows the names of its inputs, and where they lie, so that it needs nothing else for the
metrics without originals.

Scores are kept in the cache folder by the content of the files, so that the same command, after an
interruption or with some new pictures, computes only what is missing.
"""

import functools
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.foreign.rankiqa_files import read_rankiqa
from perceptual_jax.checkpoints.measures import load_measure
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics.metric_list import (
    METRICS,
    RANK_VGG,
    RANKIQA,
    check_metrics,
    usual_metrics,
)
from perceptual_jax.evaluation.metrics.rank_vgg import SHIPPED
from perceptual_jax.evaluation.scores import SIZE, VERSION, Scored, Scorer, set_distance
from perceptual_jax.evaluation.summary import Comparison, Summary, compare, summarise
from perceptual_jax.io.files import printable
from perceptual_jax.jobs.scoring.pairing import (
    Report,
    by_name,
    is_job,
    listed,
    note_missing,
    pictures_of,
)
from perceptual_jax.jobs.scoring.score_cache import ScoreCache
from perceptual_jax.jobs.scoring.style_scores import score_styles
from perceptual_jax.jobs.scoring.subjects import Ready, Task, read_ahead
from perceptual_jax.types import Generator


class Method(NamedTuple):
    """The scores of the pictures in one folder."""

    folder: str
    pictures: dict[str, dict[str, float]]
    """Scores by metric, by the name of the picture."""
    summaries: dict[str, Summary]
    """By metric; those without a finite score are left out."""
    sets: dict[str, float]
    """Distances of the whole set to its originals."""


class Evaluation(NamedTuple):
    """The result of `evaluate_files`."""

    metrics: tuple[str, ...]
    size: int
    """Pixels of the shorter side at which pictures were compared with their originals."""
    methods: tuple[Method, ...]
    """The restored folder first."""
    comparisons: tuple[dict[str, Comparison], ...]
    """The first method against each other one, by metric."""
    failed: tuple[tuple[str, str], ...]
    """Pairs of source and reason."""


def evaluate_files(
    restored: str | os.PathLike[str],
    *,
    original: str | os.PathLike[str] | None = None,
    degraded: str | os.PathLike[str] | None = None,
    versus: Sequence[str | os.PathLike[str]] = (),
    metrics: Sequence[str] = (),
    rankiqa: str | os.PathLike[str] | None = None,
    size: int = SIZE,
    report: Report | None = None,
    progress: Callable[[float, int], None] | None = None,
    load: Callable[[str], Mapping[str, Any]] | None = None,
    generator: Generator | None = None,
) -> Evaluation:
    """Scores the pictures of a folder, and of others in comparison.

    Args:
        restored: Folder of restored pictures, or of a job.
        original: Folder of the originals, under the names of the restored pictures.
        degraded: Folder of the degraded pictures, likewise; a job's folder knows its own.
        versus: Folders of other methods.
        metrics: Names of `scores.METRICS`; empty computes the usual ones for which the folders
            and the networks are there.
        rankiqa: File of RankIQA's weights, see `rankiqa_files`.
        size: Pixels of the shorter side for comparisons with originals.
        report: Receives lines for the user.
        progress: Called with the number of pictures done and the total.
        load: Loads the arrays of a measure; None fetches them on first use.
        generator: Of the jobs whose styles are tested against its prior; None loads the one that
            each job names.

    Raises:
        UsageError: If a metric is unknown or lacks what it needs, or no picture can be scored.
        InputError: If a folder holds no picture.
        WeightsError: If a named metric's network cannot be fetched, or a file of weights cannot be
            read.
    """
    say = report or (lambda line: None)
    check_metrics(metrics)
    failed: list[tuple[str, str]] = []
    folders = [restored, *versus]
    found = [pictures_of(folder, failed, say) for folder in folders]
    originals = None if original is None else by_name(original, failed, say)
    inputs = None if degraded is None else by_name(degraded, failed, say)
    has_input = inputs is not None or any(given for one in found for _, given in one.values())
    there = {
        "picture": True,
        "original": originals is not None,
        "originals": originals is not None,
        "degraded": has_input,
        "styles": any(map(is_job, folders)),
    }
    chosen = _chosen(metrics, there, ranks=rankiqa is not None)
    load = load or functools.partial(load_measure, report=say)
    ranks = {} if rankiqa is None else {"rankiqa": read_rankiqa(Path(rankiqa))}
    chosen, loaded = _loaded(chosen, load, say, insist=bool(metrics), loaded=ranks)
    of_pictures = [name for name in chosen if METRICS[name].needs != "styles"]
    scorer = Scorer(of_pictures, size=size, load=loaded.__getitem__)
    tasks = []
    for index, (folder, pictures) in enumerate(zip(folders, found, strict=True)):
        note_missing(folder, pictures, originals, "original", failed, say)
        note_missing(folder, pictures, inputs, "degraded picture", failed, say)
        for name, (picture, given) in pictures.items():
            own = given if inputs is None else inputs.get(name)
            of = None if originals is None else originals.get(name)
            tasks.append(Task(index, name, picture, of, own))
    caches = [ScoreCache(folder, say) for folder in folders]
    scored: list[dict[str, Scored]] = [{} for _ in folders]
    setting = f"{VERSION} {size} {' '.join(sorted(of_pictures))} {_digest(rankiqa)}"
    if {*chosen} & {*RANK_VGG}:
        setting += f" {_digest(SHIPPED)}"
    for done, ready in enumerate(read_ahead(tasks, caches, setting), start=1):
        result = _score(ready, scorer, caches, failed)
        if result is not None:
            scored[ready.task.method][ready.task.name] = result
        if progress is not None:
            progress(done, len(tasks))
    tested = [name for name in chosen if METRICS[name].needs == "styles"]
    for folder, each in zip(folders, scored, strict=True) if tested else ():
        found_there = score_styles(folder, each, generator=generator, say=say, insist=bool(metrics))
        for name, scores in found_there.items():
            kept = {metric: value for metric, value in scores.items() if metric in tested}
            each[name] = each[name]._replace(scores=each[name].scores | kept)
    if not any(each.scores for each in scored[0].values()):
        raise UsageError(_why_nothing(restored, failed))
    methods = tuple(
        _method(str(folder), chosen, each, failed, say)
        for folder, each in zip(folders, scored, strict=True)
    )
    comparisons = tuple(_compared(methods[0], other, say) for other in methods[1:])
    return Evaluation(chosen, size, methods, comparisons, tuple(failed))


def _digest(file: str | os.PathLike[str] | None) -> str:
    if file is None:
        return "-"
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _chosen(metrics: Sequence[str], there: Mapping[str, bool], *, ranks: bool) -> tuple[str, ...]:
    """The metrics for which folders and weights are there; named ones must have theirs."""
    for name in metrics:
        if METRICS[name].needs == "styles" and not there["styles"]:
            raise UsageError(f"the metric {name} needs the folder of a job, which has styles")
        if not there[METRICS[name].needs]:
            option = "--degraded" if METRICS[name].needs == "degraded" else "--original"
            raise UsageError(f"the metric {name} needs {option} DIR")
        if name in RANKIQA and not ranks:
            raise UsageError(
                f"the metric {name} needs --rankiqa FILE, the authors' caffemodel or a torch port"
            )
    usual = [*(RANKIQA if ranks else ()), *usual_metrics()]
    chosen = metrics or [name for name in usual if there[METRICS[name].needs]]
    return tuple(dict.fromkeys(chosen))


def _loaded(
    metrics: Sequence[str],
    load: Callable[[str], Mapping[str, Any]],
    say: Report,
    *,
    insist: bool,
    loaded: dict[str, Any],
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What the metrics need; those whose files cannot be had are left out unless asked for."""
    missing: dict[str, str] = {}
    for measure in dict.fromkeys(METRICS[name].measure for name in metrics):
        if measure is None or measure in loaded:
            continue
        try:
            loaded[measure] = load(measure)
        except WeightsError as error:
            if insist:
                raise
            missing[measure] = str(error)
    for measure, reason in missing.items():
        names = ", ".join(name for name in metrics if METRICS[name].measure == measure)
        say(f"without {names}: {reason}")
    return tuple(name for name in metrics if METRICS[name].measure not in missing), loaded


def _score(
    ready: Ready, scorer: Scorer, caches: Sequence[ScoreCache], failed: list[tuple[str, str]]
) -> Scored | None:
    """The scores of a picture; None, listing the failure, if there are none."""
    source = printable(ready.task.restored.path)
    if ready.problem is not None:
        failed.append((source, ready.problem.removeprefix(f"cannot read {source}: ")))
        return None
    cache = caches[ready.task.method]
    known = cache.get(ready.key)
    if known is not None or ready.subject is None:
        return known
    try:
        result = scorer.score(ready.subject)
    except ValueError as error:
        failed.append((source, str(error)))
        return None
    cache.add(ready.key, result)
    return result


def _method(
    folder: str,
    metrics: Sequence[str],
    scored: Mapping[str, Scored],
    failed: list[tuple[str, str]],
    say: Report,
) -> Method:
    summaries, sets = {}, {}
    for metric in metrics:
        if METRICS[metric].needs == "originals":
            distance = set_distance(metric, [each.features for each in scored.values()])
            if distance is not None:
                sets[metric] = distance
            continue
        refused = [name for name, each in scored.items() if metric in each.refused]
        if refused:
            say(f"{folder}: no {metric} of {listed(refused)}: {scored[refused[0]].refused[metric]}")
        values = {n: each.scores[metric] for n, each in scored.items() if metric in each.scores}
        failed += [
            (f"{folder}: {name}", f"{metric} has no value: the picture has too little contrast")
            for name, value in values.items()
            if math.isnan(value)
        ]
        equal = [name for name, value in values.items() if math.isinf(value)]
        if equal:
            say(f"{folder}: {metric} of {listed(equal)} is infinite and left out of the mean")
        summary = summarise(list(values.values()))
        if summary is not None:
            summaries[metric] = summary
    pictures = {name: each.scores for name, each in scored.items()}
    return Method(folder, pictures, summaries, sets)


def _compared(first: Method, second: Method, say: Report) -> dict[str, Comparison]:
    names = [name for name in first.pictures if name in second.pictures]
    if not names:
        say(f"{second.folder} has no picture in common with {first.folder}")
    found = {}
    for metric in dict.fromkeys(name for each in first.pictures.values() for name in each):
        scores = [
            [method.pictures[name].get(metric, math.nan) for name in names]
            for method in (first, second)
        ]
        result = compare(*scores, lower_is_better=METRICS[metric].lower_is_better)
        if result is not None:
            found[metric] = result
    return found


def _why_nothing(folder: str | os.PathLike[str], failed: Sequence[tuple[str, str]]) -> str:
    reasons = "; ".join(f"{source}: {reason}" for source, reason in failed[:3])
    return f"{folder} has no picture that can be evaluated ({reasons or 'nothing fits'})"
