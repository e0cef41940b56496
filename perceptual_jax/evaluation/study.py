"""A blind preference study of two methods: its trials, its key, its answers, and their analysis.

Each trial shows the two results of one input side by side. The page holds neither the names of the
methods nor which picture is whose: the key does, a file that stays with the organiser. The browser
draws the order of the trials and the sides anew for each rater. Catch trials show a picture beside
the same one, strongly blurred; who prefers the blurred one did not look.
"""

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from perceptual_jax.errors import Error
from perceptual_jax.evaluation.page import build_page
from perceptual_jax.evaluation.preference import (
    Preference,
    agreement,
    krippendorff_alpha,
    majorities,
    preference,
)

KEY, ANSWERS = "perceptual_jax study key", "perceptual_jax study answers"
"""The `format` of the two kinds of files."""

VERSION = 1

QUESTION = "Which picture looks more natural and is of better quality?"
"""The question of the paper's study."""

MAX_FAILED_CATCHES = 1
"""Most catch trials that a rater may fail and still be pooled."""


class StudyError(Error, ValueError):
    """A file of a study that cannot be used; the message is one sentence for the user."""


class Trial(NamedTuple):
    """A trial, and what only the key knows of it."""

    id: str
    """A random name, which tells raters nothing."""
    name: str
    """Name of the pair."""
    first: str
    """Whose picture is the first of the page's two: `a` or `b`; of a catch trial, `good` or
    `bad`."""

    @property
    def is_catch(self) -> bool:
        """Whether the answer is known."""
        return self.first in ("good", "bad")


def draw_trials(names: Sequence[str], catches: Sequence[str], *, seed: int) -> list[Trial]:
    """Draws which picture of each trial comes first, and the trials' random names and order.

    Args:
        names: Names of the pairs.
        catches: Names of the pairs of which a catch trial is made.
        seed: Seed of the draws.

    Example:
        >>> trials = draw_trials(["x", "y"], ["x"], seed=0)
        >>> sorted((trial.name, trial.is_catch) for trial in trials)
        [('x', False), ('x', True), ('y', False)]
    """
    rng = random.Random(seed)
    ids = {f"{rng.getrandbits(32):08x}": None for _ in range(2 * (len(names) + len(catches)) + 8)}
    kinds = [(name, ("a", "b")) for name in names] + [(name, ("good", "bad")) for name in catches]
    rng.shuffle(kinds)
    return [
        Trial(one, name, rng.choice(first)) for one, (name, first) in zip(ids, kinds, strict=False)
    ]


class Key(NamedTuple):
    """What the organiser knows."""

    study: str
    """Identifies the study; its page and its answers have it, too."""
    a: str
    """Label of the first method."""
    b: str
    trials: Mapping[str, Trial]
    """The trials by their ids."""

    def to_json(self) -> dict[str, Any]:
        """The content of the key's file."""
        trials = [trial._asdict() for trial in self.trials.values()]
        header = {"format": KEY, "version": VERSION, "study": self.study, "a": self.a, "b": self.b}
        return header | {"trials": trials}


def read_key(value: Any) -> Key:
    """The key in the content of its file.

    Raises:
        StudyError: If it is none, or is damaged.
    """
    try:
        if value["format"] != KEY or value["version"] != VERSION:
            raise ValueError
        trials = [Trial(str(t["id"]), str(t["name"]), str(t["first"])) for t in value["trials"]]
        if not trials or {t.first for t in trials} - {"a", "b", "good", "bad"}:
            raise ValueError
        named = {trial.id: trial for trial in trials}
        return Key(str(value["study"]), str(value["a"]), str(value["b"]), named)
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError("expected the key of a study, as `study make` writes it") from error


class Answers(NamedTuple):
    """The answers of one rater."""

    study: str
    rater: str
    """A random name that the browser drew."""
    name: str
    """What the rater typed, if anything."""
    choices: Mapping[str, int | None]
    """The chosen picture of each trial, 0 or 1; None where the rater saw no difference."""
    lefts: Mapping[str, int]
    """The picture that was on the left, or above, in each trial."""
    seconds: Mapping[str, float]

    @property
    def checksum(self) -> str:
        """CRC-32 of study, rater and answers, as the page computes it."""
        parts = [self.study, self.rater]
        for trial, choice in self.choices.items():
            parts.append(f"{trial}:{'-' if choice is None else choice}:{self.lefts[trial]}")
        return f"{zlib.crc32('|'.join(parts).encode('utf-8', 'replace')):08x}"


def read_answers(value: Any, key: Key) -> Answers:
    """The answers in the content of a file that a study's page has exported.

    Args:
        value: The content of the JSON file.
        key: The key of the study.

    Raises:
        StudyError: If it is no such file, is of another study, or was changed after the export.
    """
    try:
        if value["format"] != ANSWERS or value["version"] != VERSION:
            raise ValueError
        listed = [(str(one["trial"]), one) for one in value["answers"]]
        found = Answers(
            study=str(value["study"]),
            rater=str(value["rater"]),
            name=str(value.get("name", "")),
            choices={trial: _side(one["choice"], tie=True) for trial, one in listed},
            lefts={trial: _side(one["left"], tie=False) or 0 for trial, one in listed},
            seconds={trial: float(one["seconds"]) for trial, one in listed},
        )
        check = str(value["check"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudyError("expected answers, as the page of a study exports them") from error
    if found.study != key.study:
        raise StudyError(f"its answers are of study {found.study}, not of {key.study}")
    if len(listed) != len(found.choices) or not key.trials.keys() >= found.choices.keys():
        raise StudyError("it answers a trial twice, or one that the study does not have")
    if check != found.checksum:
        raise StudyError("its answers were changed after the export; ask the rater for the file")
    return found


def _side(value: Any, *, tie: bool) -> int | None:
    if value is None and tie:
        return None
    if isinstance(value, bool) or value not in (0, 1):
        raise ValueError
    return int(value)


class Rater(NamedTuple):
    """The result of one rater."""

    rater: str
    name: str
    found: Preference
    left: Preference
    """How often the left picture was chosen, whosever it was."""
    missing: int
    """Pairs without an answer."""
    catches_failed: int
    catches: int
    """Catch trials that were answered."""
    median_seconds: float | None
    attentive: bool
    """Whether few enough catch trials were failed for the answers to be pooled."""


class Analysis(NamedTuple):
    """The result of a study: preferences are for the first method."""

    key: Key
    raters: tuple[Rater, ...]
    pooled: Preference
    """Over all answers of attentive raters, as if they were independent."""
    by_pair: Preference
    """Over pairs, each with the preference of most attentive raters: pairs are independent."""
    agreement: float | None
    alpha: float | None


def analyse(
    key: Key, sheets: Sequence[Answers], *, max_failed_catches: int = MAX_FAILED_CATCHES
) -> Analysis:
    """Analyses the answers of all raters.

    Args:
        key: The key of the study.
        sheets: The answers, one for each rater.
        max_failed_catches: Most catch trials that a rater may fail and still be pooled.
    """
    raters = tuple(_rater(key, sheet, max_failed_catches) for sheet in sheets)
    answers: dict[str, list[int]] = {t.id: [] for t in key.trials.values() if not t.is_catch}
    for sheet, rater in zip(sheets, raters, strict=True):
        for trial, sign in _signs(key, sheet) if rater.attentive else ():
            answers[trial].append(sign)
    return Analysis(
        key=key,
        raters=raters,
        pooled=preference(sign for signs in answers.values() for sign in signs),
        by_pair=preference(majorities(answers)),
        agreement=agreement(answers),
        alpha=krippendorff_alpha(answers),
    )


def _signs(key: Key, sheet: Answers) -> Iterator[tuple[str, int]]:
    """Yields the pairs that a rater answered: +1 for the first method, -1 for the second."""
    for one, choice in sheet.choices.items():
        trial = key.trials[one]
        if not trial.is_catch:
            chosen_first = choice == 0
            yield one, 0 if choice is None else 1 if chosen_first == (trial.first == "a") else -1


def _rater(key: Key, sheet: Answers, max_failed_catches: int) -> Rater:
    catches = [one for one in sheet.choices if key.trials[one].is_catch]
    right = {one: 0 if key.trials[one].first == "good" else 1 for one in catches}
    failed = sum(sheet.choices[one] != right[one] for one in catches)
    signs = [sign for _, sign in _signs(key, sheet)]
    lefts = [
        0 if choice is None else 1 if choice == sheet.lefts[one] else -1
        for one, choice in sheet.choices.items()
    ]
    seconds = sorted(sheet.seconds.values())
    return Rater(
        rater=sheet.rater,
        name=sheet.name,
        found=preference(signs),
        left=preference(lefts),
        missing=sum(not trial.is_catch for trial in key.trials.values()) - len(signs),
        catches_failed=failed,
        catches=len(catches),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        attentive=failed <= max_failed_catches,
    )


def study_page(
    key: Key,
    pictures: Mapping[str, tuple[str, str]],
    *,
    references: Mapping[str, str],
    question: str = QUESTION,
    ties: bool = False,
) -> str:
    """The page of a study.

    Args:
        key: The key; the page holds nothing of it but the ids.
        pictures: The addresses of the two pictures of each trial, by its id.
        references: The address of the picture that both are results of, by the trial's id, or none.
        question: The question.
        ties: Whether raters may answer that they see no difference.
    """
    trials = [
        {"id": one, "pictures": list(pictures[one]), "reference": references.get(one)}
        for one in sorted(key.trials)
    ]
    data = {
        "format": ANSWERS,
        "version": VERSION,
        "study": key.study,
        "question": question,
        "ties": ties,
        "trials": trials,
    }
    return build_page("study", title="Which picture?", data=data, scripts=["study.js"])
