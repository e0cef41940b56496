"""The search for faces: canvases that cover a photograph, and the nets on generated faces."""

import itertools

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.photographs.detection import find, nets
from perceptual_jax.photographs.detection.canvases import (
    Canvas,
    canvases,
    closer,
    draw,
    is_cut,
    tiles,
    to_photograph,
)
from perceptual_jax.photographs.detection.find import find_faces
from perceptual_jax.photographs.detection.nets import load_face_nets
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.framing import is_aligned
from perceptual_jax.photographs.marks import marked_faces
from tests.helpers.faces import ConstantNets, background, generated_faces, put, quad_at

SIZES = [(300, 200), (1024, 1024), (1025, 30), (4000, 3000), (12000, 700), (5, 3), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_every_face_is_whole_on_some_canvas_and_of_a_size_that_is_found(size):
    found = canvases(size)
    assert all(max(canvas.size) <= 1280 for canvas in found)
    rng = np.random.default_rng(0)
    if min(size) < 24:
        return
    for _ in range(300):
        face = 24 * (min(size) / 24) ** rng.uniform()
        left, top = (rng.uniform(0, n - face) for n in size)

        def shows(canvas, left=left, top=top, face=face):
            whole = canvas.box[0] <= left and canvas.box[1] <= top
            whole &= left + face <= canvas.box[2] + 1e-6 and top + face <= canvas.box[3] + 1e-6
            return whole and 24 * 0.99 <= face * canvas.scale <= 1024

        assert any(map(shows, found))


def test_tiles_overlap_and_cover_the_photograph():
    found = list(tiles((4000, 3000), 1.0))
    assert len(found) == 4 * 3
    columns = sorted({(canvas.box[0], canvas.box[2]) for canvas in found})
    assert (columns[0][0], columns[-1][1]) == (0, 4000)
    assert min(a[1] - b[0] for a, b in itertools.pairwise(columns)) >= 159.9
    assert len(list(tiles((1280, 90), 1.0))) == 1


def test_hints_are_looked_at_closer():
    hints = np.array([[10.0, 10, 22, 22], [300, 20, 312, 31], [301, 22, 313, 32], [0, 0, 90, 90]])
    found = closer((600, 400), hints, scale=1.0, min_face=12)
    assert [canvas.box for canvas in found] == [(0, 0, 304, 304), (208, 0, 560, 304)]
    assert found[0].scale == pytest.approx(32 / 12)
    assert closer((600, 400), hints, scale=3.0, min_face=12) == []
    assert closer((600, 400), np.zeros((0, 4)), scale=1.0, min_face=12) == []


def test_a_canvas_is_drawn_half_pixel_exact():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    picture = Image.fromarray(np.ascontiguousarray(ramp))
    canvas = Canvas((40.0, 10.0, 140.0, 60.0), 0.5)
    pixels = draw(picture, canvas)
    assert pixels.shape == (32, 64, 3)
    assert (pixels[:25, 50:] == [127, 117, 104]).all()
    places = to_photograph(canvas, np.stack([np.arange(50) + 0.5, np.full(50, 3.0)], axis=1))
    np.testing.assert_allclose(places[:, 0], pixels[3, :50, 0] + 0.5, atol=0.51)
    assert places[0].tolist() == [41, 16]


def test_faces_that_a_canvas_cuts_are_left_to_its_neighbour():
    canvas = Canvas((100.0, 0.0, 612.0, 512.0), 1.0)
    box = np.array(
        [[90.0, 50, 190, 150], [150, -9, 250, 90], [550, 50, 611, 90], [150, 50, 190, 90]]
    )
    assert is_cut(canvas, box, (2000, 2000)).tolist() == [True, False, True, False]
    assert is_cut(canvas, box, (612, 512)).tolist() == [True, False, False, False]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_faces_of_a_turned_photograph_are_turned_back(turns):
    marked = np.zeros((40, 60), np.uint8)
    marked[10, 25] = 1
    row, column = np.argwhere(np.rot90(marked, turns))[0].tolist()
    points = np.tile([float(column), float(row)], (5, 1))
    box = (column + 0.0, row + 0.0, column + 1.0, row + 1.0)
    face = Face(box, 1.0, 1.0, points, points[:4])
    back = find._turned_back(face, turns, (60, 40))
    np.testing.assert_array_equal(back.landmarks, np.tile([25.0, 10.0], (5, 1)))
    assert back.box == (25, 10, 26, 11)
    assert back.turned == turns


def test_one_candidate_stays_for_each_face():
    def face(x, side, confirmed, score=0.9):
        quad = quad_at(x, 100.0, side)
        half = 0.25 * side
        box = (x - half, 100 - half, x + half, 100 + half)
        return Face(box, score, confirmed, np.zeros((5, 2)), quad)

    twin, surest, eye, neighbour = (
        face(101, 90, 0.9),
        face(100, 90, 1.0),
        face(90, 20, 0.8),
        face(160, 90, 0.9),
    )
    assert find._without_parts([eye, twin, surest, neighbour]) == [surest, neighbour]
    doubtful = face(100, 90, 0.4)
    assert find._without_parts([doubtful, eye]) == [doubtful, eye]


def test_what_no_face_size_is():
    with pytest.raises(ValueError, match="min_face must be a positive number of pixels, got 0"):
        find_faces(np.zeros((8, 8, 3), np.uint8), ConstantNets(1), min_face=0.0)


def test_without_onnxruntime_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nets, "is_installed", lambda: False)
    with pytest.raises(UsageError, match="extra `photos`"):
        load_face_nets()


@pytest.fixture(scope="module")
def networks():
    return load_face_nets()


PLACES = (
    (quad_at(300, 320, 400), 0),
    (quad_at(900, 300, 250, 25), 1),
    (quad_at(1300, 250, 120, -30), 2),
    (quad_at(800, 700, 60, 10), 3),
    (quad_at(1250, 760, 36), 4),
    (quad_at(500, 800, 24), 5),
)


@pytest.fixture(scope="module")
def photograph():
    picture, faces = background(900, 1500), generated_faces()
    for quad, i in PLACES:
        put(picture, faces[i], quad)
    return np.array(picture)


@pytest.mark.slow
def test_generated_faces_are_found_where_they_are(networks, photograph):
    found = find_faces(photograph, networks)
    assert [face.skipped for face in found] == [None] * len(PLACES)
    for face, (quad, _) in zip(found, PLACES, strict=True):
        side = np.hypot(*(quad[3] - quad[0]))
        assert np.hypot(*(face.quad - quad).T).max() < (0.06 if side > 50 else 0.1) * side
        left, top, right, bottom = face.box
        assert left < quad[:, 0].mean() < right
        assert top < quad[:, 1].mean() < bottom
        assert face.turned == 0
        assert face.confirmed > 0.9
    left_alone = [face.skipped for face in find_faces(photograph, networks, min_face=30.0)]
    assert left_alone[:3] == [None] * 3
    assert "faces below 30 px are left alone" in left_alone[-1]


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photographs_on_their_side_are_turned(networks, photograph, turns):
    upright = photograph[:640, :1000]
    given = np.ascontiguousarray(np.rot90(upright, -turns))
    found = find_faces(given, networks)
    assert len(found) == 2
    height, width, _ = upright.shape
    for face, (quad, _) in zip(found, PLACES, strict=False):
        x, y = quad.T
        for _ in range(turns):  # clockwise: the lower edge becomes the left one
            x, y = height - 1 - y, x
            height, width = width, height
        height, width, _ = upright.shape
        side = np.hypot(*(quad[3] - quad[0]))
        assert np.hypot(*(face.quad - np.stack([x, y], axis=1)).T).max() < 0.06 * side
        assert face.turned in (0, turns)


@pytest.mark.slow
def test_aligned_crops_and_what_is_no_face(networks):
    for face in generated_faces():
        for side in (32, 160):
            crop = np.array(face.resize((side, side), Image.Resampling.BOX))
            assert is_aligned(crop, find_faces(crop, networks))
        closer_crop = np.array(face.crop((20, 20, 140, 140)))
        assert not is_aligned(closer_crop, find_faces(closer_crop, networks))
    assert find_faces(np.array(background(400, 300)), networks) == []
    for shape in ((1, 1, 3), (1, 900, 3), (700, 2, 3)):
        assert find_faces(np.full(shape, 90, np.uint8), networks) == []


@pytest.mark.slow
def test_a_marked_box_has_landmarks(networks, photograph):
    for quad, _ in PLACES[:4]:
        centre, side = quad.mean(axis=0) + 0.5, np.hypot(*(quad[3] - quad[0]))
        box = np.concatenate([centre - 0.28 * side, centre + 0.32 * side])
        (face,) = marked_faces(photograph, [box], networks, name="a")
        assert face.skipped is None
        assert np.hypot(*(face.quad - quad).T).max() < 0.08 * side
    (nothing,) = marked_faces(photograph, [np.array([20.0, 700, 120, 800])], networks, name="a")
    assert "no face is seen" in nothing.skipped
