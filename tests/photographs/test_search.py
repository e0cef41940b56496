"""The whole search for faces on painted ones, which an oracle sees in place of the networks."""

import numpy as np
import pytest

from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.detection.find import find_faces
from tests.helpers.face_oracle import Oracle, paint


def painted(height, width, *squares):
    photograph = np.full((height, width, 3), 128, np.uint8)
    for left, top, side in squares:
        paint(photograph, left, top, side)
    return photograph


def check_boxes(found, squares, *, tolerance=0.1):
    """Each square has one face, the largest first."""
    expected = sorted(squares, key=lambda square: -square[2])
    assert len(found) == len(expected)
    for face, (left, top, side) in zip(found, expected, strict=True):
        error = np.array(face.box) - (left, top, left + side, top + side)
        assert np.abs(error).max() < max(tolerance * side, 1), (face.box, (left, top, side))


@pytest.mark.parametrize(
    ("size", "squares"),
    [
        ((300, 400), [(10, 20, 40), (200, 100, 150)]),
        ((64, 64), [(8, 8, 48)]),
        ((2000, 3000), [(5, 7, 12), (2988, 1988, 12), (1100, 600, 300), (1500, 1500, 30)]),
        ((1411, 2117), [(2087, 1381, 30), (0, 0, 30), (1000, 100, 1000)]),
        ((600, 9000), [(8970, 570, 24), (4000, 100, 400)]),
    ],
)
def test_every_face_is_found_once(size, squares):
    check_boxes(find_faces(painted(*size, *squares), Oracle()), squares)


def test_a_face_that_fills_a_large_photograph_is_found_and_little_more_is_looked_at():
    oracle = Oracle()
    found = find_faces(painted(2200, 2200, (100, 100, 2000)), oracle)
    check_boxes(found, [(100, 100, 2000)])
    assert all(max(size) <= 1280 for size in oracle.canvases)


def test_faces_below_the_smallest_are_left_alone():
    found = find_faces(painted(400, 600, (20, 20, 60), (300, 300, 30)), Oracle(), min_face=40)
    assert found[0].skipped is None
    assert all("below 40 px" in face.skipped for face in found[1:])


@pytest.mark.parametrize(("score", "count"), [(0.29, 0), (0.31, 1), (0.61, 1)])
def test_the_second_network_has_to_confirm(score, count):
    found = find_faces(painted(300, 400, (50, 60, 90)), Oracle(confirmed=score))
    assert len(found) == count
    if count:
        assert (found[0].skipped is None) == (score >= 0.6)
        assert found[0].confirmed == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_faces_of_a_turned_photograph_are_found_where_they_are(turns):
    upright = painted(300, 420, (50, 60, 90), (250, 150, 60))
    expected = find_faces(upright, Oracle())
    turned = np.ascontiguousarray(np.rot90(upright, -turns))
    found = find_faces(turned, Oracle())
    assert [face.turned for face in found] == [turns, turns]
    for face, other in zip(found, expected, strict=True):
        left, top, right, bottom = (round(edge) for edge in face.box)
        inside = turned[top + 3 : bottom - 3, left + 3 : right - 3]
        assert (inside != 128).any(axis=-1).all()
        # The crop is the same, upright.
        side = round(other.side)
        np.testing.assert_allclose(
            crop_face(turned, face.quad, side).astype(int),
            crop_face(upright, other.quad, side),
            atol=2,
        )


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (40, 33)])
def test_photographs_without_faces_have_none(shape):
    assert find_faces(np.full((*shape, 3), 90, np.uint8), Oracle()) == []
