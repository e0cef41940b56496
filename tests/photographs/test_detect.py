"""The search for faces: an oracle on painted faces, the networks on generated ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from perceptual_jax.errors import UsageError
from perceptual_jax.photographs import nets as nets_module
from perceptual_jax.photographs.align import crop_face, photograph_to_crop
from perceptual_jax.photographs.detect import find_faces
from perceptual_jax.photographs.framing import is_aligned
from perceptual_jax.photographs.nets import FaceNets, load_face_nets
from perceptual_jax.photographs.retinaface import area, intersection
from tests.helpers.face_oracle import Oracle, paint
from tests.helpers.photographs import frame

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("face*.png"))


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
    found = find_faces(painted(3000, 3000, (100, 100, 2800)), oracle)
    check_boxes(found, [(100, 100, 2800)])
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


@pytest.mark.parametrize("min_face", [0, -3.0, np.nan, np.inf])
def test_the_smallest_face_has_a_size(min_face):
    with pytest.raises(ValueError, match="positive number of pixels"):
        find_faces(np.zeros((9, 9, 3), np.uint8), Oracle(), min_face=min_face)


def test_without_onnxruntime_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nets_module, "is_installed", lambda: False)
    with pytest.raises(UsageError, match="extra `photos`"):
        load_face_nets()
    with pytest.raises(UsageError, match="extra `photos`"):
        FaceNets(np.zeros(1, np.uint8), np.zeros(1, np.uint8))


@pytest.fixture(scope="module")
def nets():
    return load_face_nets()


def background(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(6))


def put(photograph, face, quad):
    """Puts a picture into the square of a quad; its ellipse only, as a head has no corners."""
    size = face.width
    # Pillow counts from edges, where the centre of the first pixel is 1/2.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = shift @ photograph_to_crop(quad, size) @ np.linalg.inv(shift)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    mask = Image.fromarray(np.uint8(255 * (np.hypot(x / 0.42, y / 0.5) < 1)))
    arguments = (photograph.size, Image.Transform.AFFINE, tuple(matrix[:2].ravel()))
    warped = face.transform(*arguments, resample=Image.Resampling.BICUBIC)
    photograph.paste(warped, (0, 0), mask.transform(*arguments))


PLACES = [
    (frame((420, 500), 620), 0),
    (frame((1250, 420), 300, degrees=25), 1),
    (frame((1800, 300), 300, degrees=-20), 2),
    (frame((1900, 900), 150), 3),
    (frame((1200, 1000), 80, degrees=12), 4),
    (frame((1500, 1300), 48), 5),
    (frame((2150, 1450), 32), 0),
]
"""Quads in a photograph of 2200 x 1500, and which generated face each one gets."""


@pytest.fixture(scope="module")
def group():
    photograph = background(1500, 2200)
    for quad, i in PLACES:
        size = max(round(float(np.hypot(*(quad[3] - quad[0])))), 16)
        with Image.open(EXAMPLES[i]) as face:
            put(photograph, face.convert("RGB").resize((size, size), Image.Resampling.BOX), quad)
    return np.asarray(photograph)


@pytest.mark.slow
def test_generated_faces_are_found_where_they_are(nets, group):
    """Quads of 32 to 620 px, boxes of 18 to 340 px, turned by up to 25 degrees."""
    found = find_faces(group, nets)
    assert len(found) == len(PLACES)
    for quad, _ in PLACES:
        side = float(np.hypot(*(quad[3] - quad[0])))
        centre = quad.mean(axis=0)
        face = min(found, key=lambda face: np.hypot(*(face.quad.mean(axis=0) - centre)))
        assert face.skipped is None
        assert np.abs(face.quad - quad).max() < (0.06 if side >= 80 else 0.1) * side
        # The detector's boxes have no truth; they reach from the brows, or the hair, to the chin.
        left, top, right, bottom = face.box
        region = np.array([left, top, right, bottom])
        expected = np.concatenate([centre - 0.25 * side, centre + np.array([0.25, 0.35]) * side])
        shared = intersection(region, expected[None])[0]
        assert shared > 0.5 * (area(region[None]) + area(expected[None]) - shared)[0]


@pytest.mark.slow
def test_a_photograph_on_its_head_is_found_out(nets, group):
    part = group[100:900, 60:1500]
    upright = find_faces(part, nets)[0]
    turned = find_faces(np.ascontiguousarray(np.rot90(part, 2)), nets)[0]
    assert (upright.turned, turned.turned) == (0, 2)
    expected = np.array(part.shape[1::-1]) - 1 - upright.quad
    assert np.abs(turned.quad - expected).max() < 0.03 * upright.side


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 256, 1024])
def test_generated_faces_are_aligned_crops(nets, side):
    for path in EXAMPLES[:3]:
        with Image.open(path) as image:
            crop = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        pixels = np.asarray(crop)
        assert is_aligned(pixels, find_faces(pixels, nets)), path.name
        closer = np.asarray(crop.crop((side // 8, side // 8, side * 7 // 8, side * 7 // 8)))
        assert not is_aligned(closer, find_faces(closer, nets)), path.name


@pytest.mark.slow
def test_there_are_no_faces_in_a_background(nets):
    assert find_faces(np.asarray(background(400, 304)), nets) == []
