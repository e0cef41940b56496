"""Summaries of scores: means with intervals, and paired comparisons of two methods.

Intervals are of the bootstrap: percentiles of the mean over pictures drawn with replacement. They
say how far the mean of other pictures of the same kind may lie, not how far one picture may.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, Section 13.3.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 9999


class Summary(NamedTuple):
    """The scores of a method in one metric."""

    pictures: int
    """Number of finite scores."""
    mean: float
    median: float
    low: float | None
    """Lower end of the 95 % interval of the mean; None for a single picture."""
    high: float | None


class Comparison(NamedTuple):
    """Two methods on the pictures that both have."""

    pictures: int
    wins: int
    """Pictures on which the first method is better."""
    losses: int
    ties: int
    win_rate: float
    """Wins and half of the ties over the pictures, in [0, 1]."""
    p_value: float
    """Two-sided sign test: probability of so uneven a split if neither were better; ties do not
    count."""
    difference: float | None
    """Mean of first minus second where both are finite, in the metric's unit."""


def summarise(scores: Sequence[float], *, seed: int = 0) -> Summary | None:
    """Mean, median and 95 % interval of the finite scores; None if there is none.

    Args:
        scores: A score of each picture, in any order; NaN and infinities are left out.
        seed: Seed of the bootstrap.

    Example:
        >>> summarise([1.0, 2.0, 6.0, float("nan")])[:3]
        (3, 3.0, 2.0)
    """
    values = np.array([score for score in scores if math.isfinite(score)], np.float64)
    if not len(values):
        return None
    low = high = None
    if len(values) > 1 and np.ptp(values) == 0:
        low = high = float(values[0])
    elif len(values) > 1:
        # Batches bound the memory: resamples x pictures numbers otherwise.
        found = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, 2**20 // len(values)),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    return Summary(len(values), float(values.mean()), float(np.median(values)), low, high)


def compare(
    first: Sequence[float], second: Sequence[float], *, lower_is_better: bool
) -> Comparison | None:
    """Compares two methods picture by picture; None if no picture has two scores.

    Args:
        first: Scores of the first method; NaN where there is none. Infinity is a score.
        second: Scores of the second method on the same pictures.
        lower_is_better: The direction of the metric.

    Example:
        >>> compare([1.0, 2.0, 3.0], [2.0, 2.0, 4.0], lower_is_better=True)[:5]
        (3, 2, 0, 1, 0.8333333333333334)
    """
    pairs = [pair for pair in zip(first, second, strict=True) if not any(map(math.isnan, pair))]
    if not pairs:
        return None
    higher, lower = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
    wins, losses = (lower, higher) if lower_is_better else (higher, lower)
    p_value = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    rate = (wins + (len(pairs) - wins - losses) / 2) / len(pairs)
    finite = [x - y for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    difference = float(np.mean(finite)) if finite else None
    ties = len(pairs) - wins - losses
    return Comparison(len(pairs), wins, losses, ties, rate, float(p_value), difference)
