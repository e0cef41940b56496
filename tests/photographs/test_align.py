"""FFHQ's quad, its crop and the way back, beside the formula written another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptual_jax.photographs.align import (
    crop_face,
    crop_to_photograph,
    ffhq_quad,
    native_side,
    photograph_to_crop,
)
from tests.helpers.photographs import frame, smooth_photograph

POINTS = np.array([[30.0, 41.0], [52.0, 44.0], [40.0, 57.0], [31.0, 68.0], [48.0, 70.0]])


def upright(left, top, side):
    """The quad of a square whose first pixel is `left`, `top`."""
    return frame((left + side / 2 - 0.5, top + side / 2 - 0.5), side)


def test_the_quad_is_ffhqs():
    """The same with complex numbers, where a quarter turn is a multiplication by i."""
    z = POINTS @ [1, 1j]
    eye, mouth = (z[0] + z[1]) / 2, (z[3] + z[4]) / 2
    e2e, e2m = z[1] - z[0], mouth - eye
    x = e2e - 1j * e2m
    x *= max(2.0 * abs(e2e), 1.8 * abs(e2m)) / abs(x)
    corners = eye + 0.1 * e2m + np.array([-x - 1j * x, -x + 1j * x, x + 1j * x, x - 1j * x])
    expected = np.stack([corners.real, corners.imag], axis=1)
    np.testing.assert_allclose(ffhq_quad(POINTS), expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    angle=st.floats(-3.2, 3.2),
    scale=st.floats(0.05, 50),
    shift=st.tuples(st.floats(-5e3, 5e3), st.floats(-5e3, 5e3)),
)
def test_the_quad_moves_turns_and_grows_with_the_face(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = ffhq_quad(POINTS) @ turn + shift
    np.testing.assert_allclose(ffhq_quad(POINTS @ turn + shift), expected, atol=1e-6)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_points_without_a_face_have_no_quad(points):
    with pytest.raises(ValueError, match="five landmarks of a face"):
        ffhq_quad(points)


@pytest.mark.parametrize("side", [1, 7, 64, 300])
def test_transforms_go_there_and_back(side):
    quad = ffhq_quad(POINTS)
    there, back = crop_to_photograph(quad, side), photograph_to_crop(quad, side)
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-9)
    # The corners of the crop are half a pixel beyond the centres of its outer pixels.
    end = side - 0.5
    corners = np.array([[-0.5, -0.5, 1], [-0.5, end, 1], [end, end, 1], [end, -0.5, 1]])
    np.testing.assert_allclose((corners @ there.T)[:, :2], quad, atol=1e-9)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("side", [24, None])
def test_a_square_on_the_grid_gives_the_pixels(turns, side):
    photograph = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    quad = np.roll(upright(8, 5, 24), -turns, axis=0)
    expected = np.rot90(photograph[5:29, 8:32], -turns)
    np.testing.assert_array_equal(crop_face(photograph, quad, side), expected)


@pytest.mark.parametrize("place", [(0, 0), (26, 16)])
def test_a_square_at_the_border_gives_the_pixels(place):
    """What is made up beyond the border is not in the crop, so it must not reach into it."""
    photograph = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    left, top = place
    crop = crop_face(photograph, upright(left, top, 24), 24)
    np.testing.assert_array_equal(crop, photograph[top : top + 24, left : left + 24])


def test_pixels_inside_stay_when_the_square_reaches_beyond():
    photograph = smooth_photograph(60, 60)
    crop = crop_face(photograph, upright(-20, 0, 60), 60)
    np.testing.assert_array_equal(crop[:, 20:], photograph[:, :40])
    # Near the border the reflection is seen, further out it has faded.
    reflected = photograph[:, 1:21][:, ::-1].astype(float)
    error = np.abs(crop[:, :20] - reflected).mean(axis=(0, 2))
    assert error[-1] < 10
    assert crop[:, :3].std(axis=(0, 1)).max() < 0.5 * photograph.std(axis=(0, 1)).min()


def area(photograph, quad, side, *, taps=16):
    """The mean colour of the part of the photograph under each pixel of the crop, from samples."""
    result = np.zeros((side, side, 3))
    matrix = crop_to_photograph(quad, side)
    for row in range(side):
        for column in range(side):
            a, b = (np.mgrid[:taps, :taps] + 0.5) / taps - 0.5
            x, y, _ = np.einsum("ij,jkl->ikl", matrix, np.stack([column + a, row + b, a * 0 + 1]))
            i, j = (np.rint(v).astype(int) for v in (y, x))
            result[row, column] = photograph[i, j].mean(axis=(0, 1))
    return result


def test_a_reduced_crop_has_no_aliases():
    """Fine noise becomes grey as under a mean of areas, and places do not move by half a pixel."""
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (160, 160, 3), np.uint8)
    quad = frame((79.5, 79.5), 64, degrees=17)
    crop = crop_face(noise, quad, 8).astype(float)
    assert crop.std() < 2 * area(noise, quad, 8).std()
    x = np.arange(160.0)
    ramp = np.repeat(np.rint((x[:, None] + x) / 2 + 20)[..., None], 3, axis=2).astype(np.uint8)
    column, row = np.meshgrid(np.arange(8), np.arange(8))
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1)
    expected = (pixels @ crop_to_photograph(quad, 8).T)[..., :2].sum(axis=-1) / 2 + 20
    error = crop_face(ramp, quad, 8) - expected[..., None]
    assert np.abs(error).max() < 1.5
    assert abs(error.mean()) < 0.1  # half a pixel of the crop would be 4 levels


@pytest.mark.parametrize("side", [40, 56])
def test_a_turned_crop_shows_what_lies_there(side):
    scale = 8  # the same formula on a fine grid is the truth between the pixels
    photograph = smooth_photograph(120, 120)
    fine = smooth_photograph(120, 120, scale=scale)
    quad = frame((60, 58), 40, degrees=20)
    rows, columns = np.mgrid[:side, :side]
    places = (
        np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ crop_to_photograph(quad, side).T
    )
    x, y = np.moveaxis(np.rint((places[..., :2] + 0.5) * scale - 0.5).astype(int), -1, 0)
    error = crop_face(photograph, quad, side).astype(float) - fine[y, x]
    assert np.abs(error).max() < 4
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2)])
def test_the_smallest_photographs_have_crops(shape):
    photograph = np.full((*shape, 3), 77, np.uint8)
    crop = crop_face(photograph, frame((0.3, 0.2), 5.5, degrees=30), None)
    assert crop.shape == (6, 6, 3)
    np.testing.assert_array_equal(crop, 77)


def test_the_native_side_keeps_the_size():
    assert native_side(frame((5, 5), 41.4, degrees=33)) == 41
    assert native_side(frame((5, 5), 0.2)) == 1
