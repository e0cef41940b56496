"""Preferences between two methods: exact intervals, and the agreement of raters.

An answer is +1 where a rater preferred the first method, -1 the second, 0 where they saw no
difference. Intervals are Clopper and Pearson's, which hold for any number of answers; ties are
counted and left out of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Preference(NamedTuple):
    """How often the first of two was preferred."""

    wins: int
    losses: int
    ties: int
    share: float | None
    """wins / (wins + losses); None where there is neither."""
    low: float
    """Lower end of the exact 95 % interval of the share."""
    high: float
    p_value: float
    """Exact two-sided binomial test of a share of 1/2."""


def preference(answers: Iterable[int]) -> Preference:
    """The share of answers that prefer the first, with its exact interval.

    Args:
        answers: +1, -1 or 0 each; they should be independent.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 1934.

    Example:
        >>> found = preference([1, 1, 1, -1, 0])
        >>> found.wins, found.losses, found.ties, found.share, round(found.low, 4)
        (3, 1, 1, 0.75, 0.1941)
    """
    counted = list(answers)
    wins, losses, ties = (counted.count(sign) for sign in (1, -1, 0))
    if not wins + losses:
        return Preference(wins, losses, ties, None, 0.0, 1.0, 1.0)
    test = stats.binomtest(wins, wins + losses, 0.5)
    interval = test.proportion_ci(CONFIDENCE, method="exact")
    share = wins / (wins + losses)
    ends = float(interval.low), float(interval.high)
    return Preference(wins, losses, ties, share, *ends, float(test.pvalue))


def majorities(answers: Mapping[str, Sequence[int]]) -> list[int]:
    """The preference of most raters in each pair that anybody answered; 0 where they are split.

    Example:
        >>> majorities({"a": [1, 1, -1], "b": [1, -1], "c": [], "d": [-1, 0]})
        [1, 0, -1]
    """
    sums = [sum(signs) for signs in answers.values() if signs]
    return [(total > 0) - (total < 0) for total in sums]


def agreement(answers: Mapping[str, Sequence[int]]) -> float | None:
    """The share of pairs of answers to the same question that are equal; None if there are none."""
    equal = total = 0
    for signs in answers.values():
        total += len(signs) * (len(signs) - 1)
        equal += sum(signs.count(sign) * (signs.count(sign) - 1) for sign in set(signs))
    return equal / total if total else None


def krippendorff_alpha(answers: Mapping[str, Sequence[int]]) -> float | None:
    """Krippendorff's alpha for nominal data: 1 is perfect agreement, 0 is that of chance.

        alpha = 1 - observed disagreement / expected disagreement

    Args:
        answers: The answers to each question, of any number of raters; questions with fewer than
            two answers do not count.

    Returns:
        Alpha; None where all answers are equal or nothing can be compared, since it is undefined.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.

    Example:
        >>> krippendorff_alpha({"a": [1, 1], "b": [-1, -1]})
        1.0
    """
    compared = [list(signs) for signs in answers.values() if len(signs) > 1]
    values = [sign for signs in compared for sign in signs]
    total = len(values)
    expected = total**2 - sum(values.count(sign) ** 2 for sign in set(values))
    if not expected:
        return None
    observed = sum(
        (len(signs) ** 2 - sum(signs.count(sign) ** 2 for sign in set(signs))) / (len(signs) - 1)
        for signs in compared
    )
    return 1 - (total - 1) * observed / expected
