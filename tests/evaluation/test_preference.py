import pytest
from scipy import stats

from perceptual_jax.evaluation.preference import (
    agreement,
    krippendorff_alpha,
    majorities,
    preference,
)


@pytest.mark.parametrize(("wins", "losses"), [(81, 19), (0, 7), (7, 0), (1, 1), (3, 17)])
def test_intervals_are_those_of_clopper_and_pearson(wins, losses):
    found = preference([1] * wins + [-1] * losses + [0] * 4)
    n = wins + losses
    assert (found.wins, found.losses, found.ties, found.share) == (wins, losses, 4, wins / n)
    low = stats.beta.ppf(0.025, wins, losses + 1) if wins else 0.0
    high = stats.beta.ppf(0.975, wins + 1, losses) if losses else 1.0
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    # A symmetric distribution: twice the smaller tail.
    tail = stats.binom.cdf(min(wins, losses), n, 0.5)
    assert found.p_value == pytest.approx(min(2 * tail, 1.0), rel=1e-9)


def test_the_papers_share_by_hand():
    found = preference([1] * 9 + [-1])
    # P(X <= 1) + P(X >= 9) of 10 tosses is 22 / 1024.
    assert found.p_value == pytest.approx(22 / 1024)


def test_without_answers_nothing_is_known():
    assert preference([0, 0]) == (0, 0, 2, None, 0.0, 1.0, 1.0)


def test_majorities_and_agreement_by_hand():
    answers = {"a": [1, 1, -1], "b": [1, -1], "c": [], "d": [-1, 0], "e": [1]}
    assert majorities(answers) == [1, 0, -1, 1]
    # Pairs of answers: 3 of a (1 equal), 1 of b, 1 of d.
    assert agreement(answers) == pytest.approx(1 / 5)
    assert agreement({"a": [1]}) is None


def test_alpha_of_krippendorffs_examples():
    """Sections A and C of his 2011 paper: two observers, and four with missing data."""
    first = "0100000010"
    second = "1110010000"
    both = {str(i): [int(x), int(y)] for i, (x, y) in enumerate(zip(first, second, strict=True))}
    assert krippendorff_alpha(both) == pytest.approx(0.095, abs=5e-4)
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    units = {str(i): [int(one[i]) for one in observers if one[i] != "."] for i in range(12)}
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_undefined_without_variation():
    assert krippendorff_alpha({"a": [1, 1], "b": [1, 1]}) is None
    assert krippendorff_alpha({"a": [1]}) is None
    assert krippendorff_alpha({}) is None
