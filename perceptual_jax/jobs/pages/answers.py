"""Analyses the answers to a preference study: finds the files and the key, words the result."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.preference import Preference
from perceptual_jax.evaluation.study import (
    MAX_FAILED_CATCHES,
    Analysis,
    Answers,
    Key,
    StudyError,
    analyse,
    read_answers,
    read_key,
)
from perceptual_jax.io.files import printable, reason_of


def analyse_study(
    files: Iterable[Path],
    *,
    key: Path | None = None,
    max_failed_catches: int = MAX_FAILED_CATCHES,
) -> tuple[Analysis, tuple[tuple[str, str], ...]]:
    """Analyses files of answers.

    Args:
        files: Files of answers, folders of them, and perhaps the key.
        key: The key; None takes the one among the files, or the one beside them that fits.
        max_failed_catches: Most catch trials that a rater may fail and still be pooled.

    Returns:
        The analysis, and the files that cannot be used, each with the reason.

    Raises:
        UsageError: If the key is not found, or no file can be used.
        StudyError: If the key is damaged.
    """
    paths = list(dict.fromkeys(_listed(files)))
    failed: list[tuple[str, str]] = []
    values: dict[Path, Any] = {}
    for path in paths:
        try:
            values[path] = _json(path)
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it is no JSON"
            failed.append((printable(path), f"cannot be read: {reason}"))
    keys = [value for value in values.values() if _is_key(value)]
    sheets = {path: value for path, value in values.items() if not _is_key(value)}
    found = _key(key, keys, sheets)
    by_rater: dict[str, tuple[Path, Answers]] = {}
    for path, value in sheets.items():
        try:
            answers = read_answers(value, found)
            if answers.rater in by_rater and by_rater[answers.rater][1].choices != answers.choices:
                other = printable(by_rater[answers.rater][0])
                raise StudyError(f"it has other answers of the same rater as {other}; remove one")
        except StudyError as error:
            failed.append((printable(path), str(error)))
            continue
        by_rater.setdefault(answers.rater, (path, answers))
    if not by_rater:
        reason = f"; the first one: {': '.join(failed[0])}" if failed else ""
        raise UsageError(f"no file of answers to study {found.study} was found{reason}")
    result = analyse(
        found,
        [answers for _, answers in by_rater.values()],
        max_failed_catches=max_failed_catches,
    )
    return result, tuple(failed)


def _listed(files: Iterable[Path]) -> Iterator[Path]:
    for path in map(Path, files):
        yield from sorted(path.glob("*.json")) if path.is_dir() else [path]


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _is_key(value: Any) -> bool:
    try:
        read_key(value)
    except StudyError:
        return False
    return True


def _key(path: Path | None, keys: Sequence[Any], sheets: Mapping[Path, Any]) -> Key:
    if path is not None:
        try:
            return read_key(_json(path))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read as a key: {reason_of(error)}") from error
    studies = {value.get("study") for value in sheets.values() if isinstance(value, dict)}
    folders = dict.fromkeys([*(sheet.parent for sheet in sheets), Path()])
    for file in [file for folder in folders for file in sorted(folder.glob("*.key.json"))]:
        try:
            keys = [*keys, _json(file)]
        except (OSError, ValueError):
            continue
    fitting = {key.study: key for key in map(read_key, filter(_is_key, keys))}
    fitting = {study: key for study, key in fitting.items() if study in studies}
    if len(fitting) != 1:
        number = "the keys of several studies" if fitting else "no key that fits"
        raise UsageError(
            f"expected answers to one study and its key, found {number}; give the file that "
            "`study make` wrote beside the page as --key STUDY.key.json"
        )
    return next(iter(fitting.values()))


def lines_of(result: Analysis) -> Iterator[str]:
    """Yields an analysis as lines for the user."""
    key = result.key
    pairs = sum(not trial.is_catch for trial in key.trials.values())
    yield f"study {key.study}: A is {key.a}, B is {key.b}; {pairs} pairs"
    for rater in result.raters:
        who = printable(" ".join(rater.name.split()) or rater.rater)
        extra = f"; chose left {_share(rater.left)}"
        extra += f", failed {rater.catches_failed} of {rater.catches} catch trials"
        extra += f", {rater.missing} missing" if rater.missing else ""
        extra += "" if rater.attentive else ": not pooled"
        yield f"{who}: prefers A {described(rater.found)}{extra}"
    pooled = sum(rater.attentive for rater in result.raters)
    yield f"pooled over {pooled} of {len(result.raters)} raters: A {described(result.pooled)}"
    yield f"by pair, most raters: A {described(result.by_pair)}"
    if result.agreement is not None:
        alpha = "undefined" if result.alpha is None else f"{result.alpha:.2f}"
        yield f"raters agree on {result.agreement:.0%} of answers; Krippendorff's alpha is {alpha}"


def described(found: Preference) -> str:
    """A preference in words: counts, the share, its exact interval and the test of one half."""
    ties = f", {found.ties} without a difference" if found.ties else ""
    if found.share is None:
        return f"0 of 0{ties}"
    interval = f"95 % interval {found.low:.1%} to {found.high:.1%}, p = {found.p_value:.2g}"
    total = found.wins + found.losses
    return f"{found.wins} of {total} = {found.share:.1%} ({interval}{ties})"


def _share(found: Preference) -> str:
    return "never" if found.share is None else f"{found.share:.0%}"


def as_json(result: Analysis) -> dict[str, Any]:
    """An analysis as plain values."""
    key = result.key
    return {
        "study": key.study,
        "a": key.a,
        "b": key.b,
        "raters": [
            rater._asdict() | {"found": rater.found._asdict(), "left": rater.left._asdict()}
            for rater in result.raters
        ],
        "pooled": result.pooled._asdict(),
        "by_pair": result.by_pair._asdict(),
        "agreement": result.agreement,
        "krippendorff_alpha": result.alpha,
    }
