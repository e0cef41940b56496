"""The canvases cover a photograph, so that every face lies whole in one that shows it well."""

import itertools

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.photographs.canvases import (
    Canvas,
    canvases,
    closer,
    draw,
    is_cut,
    tiles,
    to_photograph,
)

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


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.67])
def test_tiles_have_a_limit_and_overlap(scale):
    found = list(tiles((4001, 2777), scale))
    assert all(max(canvas.size) <= 1280 for canvas in found)
    rows = sorted({(canvas.box[1], canvas.box[3]) for canvas in found})
    columns = sorted({(canvas.box[0], canvas.box[2]) for canvas in found})
    for line, end in ((columns, 4001), (rows, 2777)):
        assert line[0][0] == 0
        assert line[-1][1] == pytest.approx(end)
        for (_, before), (after, _) in itertools.pairwise(line):
            assert (before - after) * scale >= 159.9


def test_hints_are_looked_at_closer():
    hints = np.array(
        [[10.0, 10, 22, 24], [15, 12, 28, 26], [990, 690, 1000, 700], [0, 0, 200, 200]]
    )
    found = closer((1000, 700), hints, scale=1.0, min_face=12)
    assert len(found) == 2
    for hint, canvas in zip(hints[[0, 2]], found, strict=True):
        assert canvas.scale == pytest.approx(32 / 12)
        assert not is_cut(canvas, hint[None], (1000, 700))[0]
    assert closer((1000, 700), hints, scale=4.0, min_face=12) == []
    assert closer((1000, 700), np.zeros((0, 4)), scale=1.0, min_face=12) == []


def test_places_on_a_canvas_are_those_of_the_photograph():
    """Half a pixel aside would move the mean of a ramp."""
    y, x = np.mgrid[:200, :300]
    ramp = np.stack([x / 2 + 20, y / 2 + 20, x * 0 + 50], axis=-1).astype(np.uint8)
    canvas = Canvas((33.0, 21.0, 233.0, 171.0), 0.64)
    pixels = draw(Image.fromarray(ramp), canvas)
    assert pixels.shape == (96, 128, 3)
    row, column = np.mgrid[8:88, 8:120]
    places = to_photograph(canvas, np.stack([column, row], axis=-1) + 0.5) - 0.5
    error = pixels[8:88, 8:120, :2] - (places / 2 + 20)
    assert abs(error.mean() + 0.25) < 0.1  # the ramp itself was cut to whole levels
    assert np.abs(error).max() < 1.1


def test_what_a_tile_cuts_is_left_to_its_neighbour():
    canvas, size = Canvas((100.0, 0.0, 612.0, 512.0), 2.0), (2000, 512)
    boxes = np.array(
        [[101.0, 50, 140, 90], [125, 0, 175, 45], [560, 50, 611, 80], [300, 490, 320, 512]]
    )
    assert is_cut(canvas, boxes, size).tolist() == [True, False, True, False]
