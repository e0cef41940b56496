import math

import numpy as np
import pytest

from perceptual_jax.evaluation.summary import compare, summarise


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        found = summarise(list(rng.normal(3, 2, size=40)), seed=trial)
        covered += found.low <= 3 <= found.high
    # 95 % of 60 are 57; fewer than 50 have a probability of 1e-3 even at 92 %.
    assert covered >= 50


def test_what_has_no_interval():
    assert summarise([]) is None
    assert summarise([math.nan, math.inf]) is None
    assert summarise([2.0, math.nan]) == (1, 2.0, 2.0, None, None)
    assert summarise([2.0, 2.0]) == (2, 2.0, 2.0, 2.0, 2.0)


def test_the_interval_is_the_same_in_every_run():
    scores = list(np.random.default_rng(0).normal(size=9))
    assert summarise(scores) == summarise(scores)
    assert summarise(scores) != summarise(scores, seed=1)


def test_the_sign_test_ignores_ties_and_the_rate_halves_them():
    found = compare([1, 1, 1, 1, 1, 5.0], [2, 2, 2, 2, 2, 5.0], lower_is_better=True)
    assert found[:4] == (6, 5, 0, 1)
    assert found.win_rate == pytest.approx(5.5 / 6)
    assert found.p_value == pytest.approx(2 / 32)
    assert found.difference == pytest.approx(-5 / 6)
    assert compare([1.0], [2.0], lower_is_better=False).wins == 0
    assert compare([1.0], [1.0], lower_is_better=False).p_value == 1


def test_infinity_is_a_score_and_nan_is_none():
    found = compare([20.0, math.inf, math.nan], [math.inf, math.inf, 1.0], lower_is_better=False)
    assert found[:4] == (2, 0, 1, 1)
    assert found.difference is None
    assert compare([math.nan], [1.0], lower_is_better=False) is None
