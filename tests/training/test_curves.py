import numpy as np
import pytest

from perceptual_jax.training.curves import COLOURS, draw_curves


def _has(picture, colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere(np.abs(picture.astype(int) - rgb[None, None]).sum(axis=-1) < 30)


def test_a_falling_curve_goes_from_the_upper_left_to_the_lower_right():
    picture = draw_curves({"loss": [(0, 4.0), (100, 1.0)]}, x="step", y="bits/dim")
    at = _has(picture[:, :600], COLOURS[0])
    left, right = at[at[:, 1].argmin()], at[at[:, 1].argmax()]
    assert left[0] < right[0]


def test_every_curve_has_its_colour():
    curves = {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 2.0), (1, 1.0)]}
    picture = draw_curves(curves, x="x", y="y")
    assert all(len(_has(picture, colour)) > 50 for colour in COLOURS[:2])


@pytest.mark.parametrize(
    "points", [[], [(0, 1.0)], [(3, 1.0), (3, 1.0)], [(0, float("nan")), (1, float("inf"))]]
)
def test_few_or_broken_points_are_no_error(points):
    assert draw_curves({"loss": points}, x="step", y="loss").shape == (432, 720, 3)
