"""What is left alone and why, and which crops go in as they are."""

import numpy as np
import pytest

from perceptual_jax.photographs.align import ffhq_quad
from perceptual_jax.photographs.detection.rules import EYES, part_outside, reason_to_skip
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.framing import is_aligned
from tests.helpers.faces import quad_at

POINTS = np.array([[80.0, 80.0], [102.0, 80.0], [91.0, 95.0], [83.0, 104.0], [99.0, 104.0]])


def why(points=POINTS, quad=None, confirmed=1.0, height=40.0, min_face=12):
    quad = ffhq_quad(points) if quad is None else quad
    return reason_to_skip(points, quad, confirmed, (200, 200), height=height, min_face=min_face)


def test_a_front_is_restored():
    assert why() is None
    assert why(confirmed=0.6, height=12.0) is None


def test_what_is_left_alone_and_why():
    assert "uncertain whether this is a face (score 0.59" in why(confirmed=0.59)
    assert "11 px large, and faces below 12 px are left alone" in why(height=11.0)
    small = POINTS * 0.99 * EYES / 22
    assert "eyes are only 5.0 px apart, and 5 px are needed" in why(small)
    narrow = POINTS.copy()
    narrow[:2, 0] = 91 - 7, 91 + 7  # 14 apart, 24 to the mouth
    assert "distance of its eyes is 0.58 of that from eyes to mouth" in why(narrow)
    aside = POINTS.copy()
    aside[2, 0] += 0.11 * np.hypot(*(ffhq_quad(POINTS)[3] - ffhq_quad(POINTS)[0]))
    assert "its nose lies 0.11 of the crop beside the middle" in why(aside)
    outside = quad_at(45 - 0.34 * 90 - 0.5, 60, 90)
    assert "34% of the face's crop lies outside the photograph" in why(quad=outside)


def test_the_part_outside():
    assert part_outside(quad_at(4.5, 4.5, 10), (10, 10)) == 0
    assert part_outside(quad_at(-0.5, 4.5, 10), (10, 10)) == pytest.approx(0.5)
    assert part_outside(quad_at(-0.5, -0.5, 10), (10, 10)) == pytest.approx(0.75)
    assert part_outside(quad_at(50, 50, 10, 30), (10, 10)) == 1


def face_of(quad, turned=0):
    return Face((0.0, 0.0, 1.0, 1.0), 1.0, 1.0, POINTS, quad, None, turned)


@pytest.mark.parametrize(
    ("quad", "expected"),
    [
        (quad_at(49.5, 49.5, 100), True),
        (quad_at(48, 51, 104, 2), True),
        (quad_at(57.5, 49.5, 100), False),  # displaced
        (quad_at(49.5, 49.5, 75), False),  # a wider framing
        (quad_at(49.5, 49.5, 134), False),  # a closer one
        (quad_at(49.5, 49.5, 100, 12), False),
        (quad_at(49.5, 49.5, 100, 90), False),
    ],
)
def test_an_aligned_crop_holds_one_face_in_ffhqs_framing(quad, expected):
    picture = np.zeros((100, 100, 3), np.uint8)
    assert is_aligned(picture, [face_of(quad)]) is expected
    assert is_aligned(picture, [face_of(quad), face_of(quad_at(20, 20, 30))]) is expected


def test_other_pictures_are_no_aligned_crops():
    picture, face = np.zeros((100, 100, 3), np.uint8), face_of(quad_at(49.5, 49.5, 100))
    assert is_aligned(picture, [face])
    assert not is_aligned(picture[:99], [face])
    assert not is_aligned(picture, [])
    assert not is_aligned(picture, [face, face_of(quad_at(49.5, 49.5, 60))])
    assert not is_aligned(picture, [face_of(face.quad, turned=2)])
