"""FFHQ's quad and its crop, beside the formula written another way and pixels that are known."""

import numpy as np
import pytest

from perceptual_jax.photographs.align import (
    crop_face,
    crop_to_photograph,
    ffhq_quad,
    native_side,
    photograph_to_crop,
)
from perceptual_jax.photographs.face import Face
from tests.helpers.faces import quad_at

POINTS = np.array([[30.0, 41.0], [52.0, 44.0], [40.0, 57.0], [31.0, 68.0], [48.0, 70.0]])


def on_grid(left, top, side):
    """The quad whose pixels are those from `left` and `top` on."""
    return quad_at(left + side / 2 - 0.5, top + side / 2 - 0.5, side)


def smooth(seed, height, width):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 25
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0, 2, (3, 3))]
    return np.rint(128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def test_the_quad_is_ffhqs():
    """The same with complex numbers: a quarter turn is a multiplication by i."""
    z = POINTS @ [1, 1j]
    eye, mouth = (z[0] + z[1]) / 2, (z[3] + z[4]) / 2
    e2e, e2m = z[1] - z[0], mouth - eye
    x = e2e - 1j * e2m
    x *= max(2.0 * abs(e2e), 1.8 * abs(e2m)) / abs(x)
    corners = eye + 0.1 * e2m + np.array([-x - 1j * x, -x + 1j * x, x + 1j * x, x - 1j * x])
    expected = np.stack([corners.real, corners.imag], axis=1)
    np.testing.assert_allclose(ffhq_quad(POINTS), expected, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_the_quad_turns_and_grows_with_the_face(angle):
    turn = 3 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = POINTS @ turn + [100.0, -7.0]
    np.testing.assert_allclose(ffhq_quad(moved), ffhq_quad(POINTS) @ turn + [100, -7], atol=1e-9)


def test_landmarks_that_are_no_face_are_refused():
    with pytest.raises(ValueError, match="five landmarks of a face are needed"):
        ffhq_quad(np.ones((5, 2)))
    with pytest.raises(ValueError, match="five landmarks of a face are needed"):
        ffhq_quad(np.full((5, 2), np.nan))


def test_the_transforms_are_inverse_and_half_pixel_exact():
    quad = ffhq_quad(POINTS)
    forth, back = crop_to_photograph(quad, 31), photograph_to_crop(quad, 31)
    np.testing.assert_allclose(forth @ back, np.eye(3), atol=1e-12)
    # The corners of the crop are its edges: half a pixel outside its centres.
    edges = np.array([[-0.5, -0.5, 1], [-0.5, 30.5, 1], [30.5, 30.5, 1], [30.5, -0.5, 1]])
    np.testing.assert_allclose((edges @ forth.T)[:, :2], quad, atol=1e-12)
    np.testing.assert_array_equal(crop_to_photograph(on_grid(0, 0, 8), 8), np.eye(3))


@pytest.mark.parametrize("turns", range(4))
def test_a_quad_on_the_grid_gives_the_pixels(turns):
    photograph = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    quad = np.roll(on_grid(8, 5, 24), -turns, axis=0)
    crop = crop_face(photograph, quad, None)
    np.testing.assert_array_equal(crop, np.rot90(photograph[5:29, 8:32], -turns))
    whole = crop_face(photograph[:, :40], on_grid(0, 0, 40), 40)
    np.testing.assert_array_equal(whole, photograph[:, :40])


def test_a_reduced_crop_is_antialiased():
    photograph = np.zeros((64, 64, 3), np.uint8)
    photograph[::2] = 200
    crop = crop_face(photograph, on_grid(0, 0, 64), 16)
    assert np.abs(crop[2:-2].astype(int) - 100).max() <= 2
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (64, 64, 3)[:2])
    reduced = crop_face(np.stack([ramp] * 3, axis=-1), on_grid(0, 0, 64), 16)
    np.testing.assert_allclose(reduced[2:-2, 8, 0], 4 * np.arange(2, 14) + 1.5, atol=0.51)


@pytest.mark.parametrize(("degrees", "side"), [(20, 40), (-73, 90), (180, 30)])
def test_a_turned_crop_shows_what_lies_there(degrees, side):
    photograph = smooth(0, 120, 120)
    quad = quad_at(60.3, 59.1, 40, degrees)
    crop, matrix = crop_face(photograph, quad, side).astype(float), crop_to_photograph(quad, side)
    rng = np.random.default_rng(1)
    for row, column in rng.integers(0, side, (20, 2)):
        x, y = (matrix @ [column, row, 1])[:2]
        i, j = int(y), int(x)
        a, b = y - i, x - j
        p = photograph.astype(float)
        expected = (1 - a) * ((1 - b) * p[i, j] + b * p[i, j + 1])
        expected += a * ((1 - b) * p[i + 1, j] + b * p[i + 1, j + 1])
        assert np.abs(crop[row, column] - expected).max() < 2


def test_beyond_the_border_the_photograph_is_reflected_and_fades():
    photograph = smooth(1, 60, 60)
    crop = crop_face(photograph, on_grid(-20, 0, 60), 60)
    np.testing.assert_array_equal(crop[:, 20:], photograph[:, :40])
    near, mirrored = crop[:, 18:20].astype(int), photograph[:, 1:3][:, ::-1]
    assert np.abs(near - mirrored).max() < 25
    # The fade is complete where the region ends, 3 px outside the crop.
    far = crop_face(photograph, on_grid(-500, 0, 60), 60)
    assert np.ptp(far[:, 0], axis=0).max() <= 2
    assert np.ptp(crop[:, 0], axis=0).max() < 0.5 * np.ptp(photograph[:, 20], axis=0).max()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 30, 3), (30, 2, 3)])
def test_photographs_of_a_line_have_crops(shape):
    photograph = np.full(shape, 77, np.uint8)
    assert (crop_face(photograph, quad_at(0.0, 0.0, 12.3, 33), None) == 77).all()


def test_a_face_is_written_and_read_again():
    quad = quad_at(10, 20, 30, 5)
    face = Face((1.0, 2.0, 3.0, 4.5), 0.9, None, POINTS, quad, "the reason", 2)
    again = Face.from_json(face.to_json())
    assert again.to_json() == face.to_json()
    assert face.to_json()["landmarks"]["nose"] == [40, 57]
    assert again.side == pytest.approx(30)
    assert native_side(quad) == 30
