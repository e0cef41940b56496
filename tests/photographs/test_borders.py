"""What lies at the border of a photograph, or reaches beyond, is neither lost nor changed."""

import numpy as np
import pytest

from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.detection.canvases import canvases, is_cut
from tests.helpers.photographs import frame, smooth_photograph

SIZES = [(300, 200), (1024, 1024), (2117, 1411), (4000, 3000), (12000, 700), (5, 3), (1, 3000)]


@pytest.mark.parametrize("size", SIZES)
def test_faces_of_any_size_lie_whole_in_a_canvas_that_shows_them(size):
    """Those of 20 to 600 px are seen; smaller ones are looked at closer, where a hint was seen."""
    found = canvases(size)
    scale = np.array([canvas.scale for canvas in found])
    edges = np.array([canvas.box for canvas in found])
    rng = np.random.default_rng(0)
    for _ in range(300):
        side = 20 * (min(size) / 20) ** rng.uniform() if min(size) > 20 else min(size)
        # Half of them touch a border, where a tile that ends too early would cut them.
        left, top = (rng.choice([0, n - side, rng.uniform(0, n - side)]) for n in size)
        box = np.array([[left, top, left + side, top + side]])
        seen = (side * scale >= 19.9) & (side * scale <= 601)
        seen &= (edges[:, :2] <= box[:, :2] + 1e-6).all(axis=1)
        seen &= (edges[:, 2:] >= box[:, 2:] - 1e-6).all(axis=1)
        assert side < 20 or any(not is_cut(found[i], box, size)[0] for i in np.flatnonzero(seen))


def test_a_tile_ends_where_the_photograph_ends():
    for width in range(1025, 7000, 37):
        size = width, 2 * width // 3
        box = np.array([[width - 30.0, size[1] - 30, width, size[1]]])
        last = canvases(size)[-1]
        assert not is_cut(last, box, size)[0], size


def upright(left, top, side):
    """The quad of a square whose first pixel is `left`, `top`."""
    return frame((left + side / 2 - 0.5, top + side / 2 - 0.5), side)


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
