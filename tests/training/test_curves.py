import importlib
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import perceptual_jax.training
from perceptual_jax.errors import UsageError
from perceptual_jax.training.curves import draw_curves


def _has(picture, colour):
    rgb = np.rint(np.multiply(to_rgb(colour), 255))
    return np.argwhere(np.abs(picture.astype(int) - rgb).sum(axis=-1) < 30)


def test_a_falling_curve_goes_from_the_upper_left_to_the_lower_right():
    picture = draw_curves({"loss": [(0, 4.0), (100, 1.0)]}, x="step", y="bits/dim")
    at = _has(picture[:, :600], "C0")
    left, right = at[at[:, 1].argmin()], at[at[:, 1].argmax()]
    assert left[0] < right[0]


def test_a_first_loss_far_above_the_others_does_not_flatten_them():
    points = [(0, 1000.0), *((i, 2.0 + i % 2) for i in range(1, 200))]
    rows = _has(draw_curves({"loss": points}, x="step", y="bits/dim"), "C0")[:, 0]
    assert np.ptp(rows) > 200


def test_every_curve_has_its_colour():
    curves = {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 2.0), (1, 1.0)]}
    picture = draw_curves(curves, x="x", y="y")
    assert all(len(_has(picture, colour)) > 50 for colour in ("C0", "C1"))


@pytest.mark.parametrize(
    "points", [[], [(0, 1.0)], [(3, 1.0), (3, 1.0)], [(0, float("nan")), (1, float("inf"))]]
)
def test_few_or_broken_points_are_no_error(points):
    assert draw_curves({"loss": points}, x="step", y="loss").shape == (432, 720, 3)


def test_without_its_extra_one_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"needs matplotlib: install .* with its extra `train`"):
        importlib.reload(perceptual_jax.training)
