"""The preference of models between two methods, beside a study and never in place of one.

A model that scores pictures on their own, such as NIQE, "prefers" the picture with the better
score. This tells what the model measures; nobody was asked.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics.metric_list import METRICS, check_metrics
from perceptual_jax.evaluation.preference import Preference, preference
from perceptual_jax.io.files import printable
from perceptual_jax.jobs.pages.answers import described
from perceptual_jax.jobs.scoring.evaluate import evaluate_files
from perceptual_jax.jobs.scoring.pairing import Report

MODELS = ("rank_vgg", "niqe")
"""The models that are asked unless others are named."""


class ModelPreferences(NamedTuple):
    """The preferences of models, for the first method."""

    a: str
    """Folder of the first method."""
    b: str
    found: Mapping[str, Preference]
    """By the name of the metric, over the pictures that both folders have."""
    failed: tuple[tuple[str, str], ...]
    """Pairs of source and reason."""


def prefer_by_models(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    models: Sequence[str] = MODELS,
    report: Report | None = None,
    progress: Callable[[float, int], None] | None = None,
    load: Callable[[str], Mapping[str, Any]] | None = None,
) -> ModelPreferences:
    """How often models prefer the first of two methods, on the pictures that both have.

    Args:
        a: Folder of the first method: of a job, or of pictures.
        b: Folder of the second method, with results of the same names.
        models: Metrics that look at nothing but the picture.
        report: Receives lines for the user.
        progress: Called with the number of pictures done and the total.
        load: Loads the arrays of a measure; None fetches them on first use.

    Raises:
        UsageError: If there is no such metric, it looks at more than the picture, or no picture has
            two scores.
        InputError: If a folder holds no picture.
        WeightsError: If a model's network cannot be fetched.
    """
    check_metrics(models)
    for name in models:
        if METRICS[name].needs != "picture" or METRICS[name].measure == "rankiqa":
            able = (m.name for m in METRICS.values() if m.needs == "picture")
            others = ", ".join(m for m in able if METRICS[m].measure != "rankiqa")
            raise UsageError(
                f"expected a model that sees one picture, such as {others}; got {name}"
            )
    evaluation = evaluate_files(
        a, versus=[b], metrics=models, report=report, progress=progress, load=load
    )
    first, second = (method.pictures for method in evaluation.methods)
    found = {}
    for name in models:
        sign = -1 if METRICS[name].lower_is_better else 1
        pairs = [
            (first[picture].get(name, math.nan), second[picture].get(name, math.nan))
            for picture in first
            if picture in second
        ]
        differences = [sign * (x - y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
        if not differences:
            raise UsageError(f"no picture of both {a} and {b} has a score by {name}")
        found[name] = preference((d > 0) - (d < 0) for d in differences)
    return ModelPreferences(str(a), str(b), found, evaluation.failed)


def model_lines(result: ModelPreferences) -> Iterator[str]:
    """Yields the preferences as lines for the user."""
    yield f"A is {printable(result.a)}, B is {printable(result.b)}"
    for name, found in result.found.items():
        yield f"the model {METRICS[name].shown} prefers A {described(found)}"
    yield "These are models' preferences, not a study: nobody was asked."


def model_json(result: ModelPreferences) -> dict[str, Any]:
    """The preferences as plain values."""
    models = {
        name: {"model": METRICS[name].shown, **found._asdict()}
        for name, found in result.found.items()
    }
    return {"kind": "model preference, not a study", "a": printable(result.a)} | {
        "b": printable(result.b),
        "models": models,
    }
