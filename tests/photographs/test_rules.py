"""What is left alone and why, which crops are aligned, and a face as JSON."""

import json
import math

import numpy as np
import pytest

from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.framing import is_aligned
from perceptual_jax.photographs.rules import CONFIRMED, EYES, part_outside, reason_to_skip
from tests.helpers.photographs import LANDMARKS, frame, landmarks_of

QUAD = frame((100, 110), 80, degrees=12)


def why(points=None, quad=QUAD, *, confirmed=0.9, height=40.0, size=(200, 220), min_face=12.0):
    points = landmarks_of(quad) if points is None else points
    return reason_to_skip(points, quad, confirmed, size, height=height, min_face=min_face)


def test_a_face_from_the_front_is_restored():
    assert why() is None
    assert why(height=12.0, confirmed=CONFIRMED) is None


def moved(index, x):
    """The landmarks with some of them moved by parts of the side along the face's width."""
    points = LANDMARKS.copy()
    points[index, 0] += x
    return QUAD[0] + points[:, :1] * (QUAD[3] - QUAD[0]) + points[:, 1:] * (QUAD[1] - QUAD[0])


def test_each_reason_is_told():
    assert "uncertain whether this is a face (score 0.59" in why(confirmed=0.59)
    assert "below 12 px" in why(height=11.0)
    tiny = frame((100, 110), 0.99 * EYES / 0.23)
    assert "eyes are only" in why(quad=tiny)
    narrow = moved([0, 1], np.array([0.06, -0.06]))  # 0.11 apart, 0.255 above the mouth
    assert "turned to the side (the distance" in why(narrow)
    for aside in (0.11, -0.11):
        assert "turned to the side (its nose" in why(moved(2, aside))
    assert why(moved(2, 0.09)) is None
    assert "lies outside the photograph" in why(quad=QUAD - [100, 0])


def test_eyes_at_the_height_of_the_mouth_divide_nothing_by_zero():
    points = np.array([[10.0, 10], [40, 10], [25, 10], [10, 10], [40, 10]])
    assert why(points, frame((25, 10), 30), height=60.0) is None


@pytest.mark.parametrize("quad", [frame((-3, 8), 22, degrees=30), frame((25, 33), 30, degrees=-8)])
def test_the_part_outside_is_that_of_a_fine_grid(quad):
    rng = np.random.default_rng(0)
    u, v = rng.uniform(size=(2, 40_000, 1))
    x, y = (quad[0] + u * (quad[3] - quad[0]) + v * (quad[1] - quad[0])).T
    expected = 1 - ((x >= -0.5) & (x <= 29.5) & (y >= -0.5) & (y <= 39.5)).mean()
    assert part_outside(quad, (40, 30)) == pytest.approx(expected, abs=0.012)


def face_of(quad, **fields):
    return Face((0.0, 0.0, 1.0, 1.0), 0.9, 0.8, landmarks_of(quad), quad, **fields)


@pytest.mark.parametrize(
    ("quad", "expected"),
    [
        (frame((49.5, 49.5), 100), True),
        (frame((51.5, 47.5), 104), True),
        (frame((49.5, 49.5), 100, degrees=2), True),
        (frame((69.5, 49.5), 100), False),
        (frame((49.5, 49.5), 70), False),
        (frame((49.5, 49.5), 140), False),
        (frame((49.5, 49.5), 100, degrees=15), False),
        (frame((49.5, 49.5), 100, degrees=90), False),
    ],
)
def test_an_aligned_crop_holds_one_face_in_its_frame(quad, expected):
    picture = np.zeros((100, 100, 3), np.uint8)
    assert is_aligned(picture, [face_of(quad)]) is expected
    behind = face_of(frame((10, 10), 20))
    assert is_aligned(picture, [face_of(quad), behind]) is expected


def test_other_pictures_are_not_aligned():
    picture, quad = np.zeros((100, 100, 3), np.uint8), frame((49.5, 49.5), 100)
    assert not is_aligned(picture, [])
    assert not is_aligned(picture, [face_of(quad), face_of(quad + 1)])
    assert not is_aligned(picture[:99], [face_of(quad)])
    assert not is_aligned(picture, [face_of(quad, turned=2)])


@pytest.mark.parametrize("confirmed", [0.75, None])
def test_a_face_goes_through_json(confirmed):
    face = Face((1.5, 2, 30, 40), 0.9, confirmed, landmarks_of(QUAD), QUAD, "why", turned=3)
    back = Face.from_json(json.loads(json.dumps(face.to_json())))
    assert (back.box, back.score, back.confirmed) == (face.box, face.score, face.confirmed)
    assert (back.skipped, back.turned) == ("why", 3)
    np.testing.assert_array_equal(back.landmarks, face.landmarks)
    np.testing.assert_array_equal(back.quad, face.quad)
    assert math.isclose(back.side, 80)
