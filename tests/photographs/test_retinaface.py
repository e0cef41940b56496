"""RetinaFace's anchors, decoding and suppression, beside loops."""

import numpy as np
import pytest

from perceptual_jax.photographs.nets import Detections
from perceptual_jax.photographs.retinaface import (
    anchors,
    decode,
    join,
    non_maximum_suppression,
)

STRIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}


def slow_anchors(height, width):
    return [
        ((column + 0.5) * stride, (row + 0.5) * stride, side)
        for stride, sides in STRIDES.items()
        for row in range(height // stride)
        for column in range(width // stride)
        for side in sides
    ]


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_anchors_are_those_of_a_loop(size):
    np.testing.assert_array_equal(anchors(*size), slow_anchors(*size))


def test_candidates_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    every = slow_anchors(64, 96)
    output = Detections(
        rng.normal(size=(len(every), 4)).astype(np.float32),
        rng.uniform(size=len(every)).astype(np.float32),
        rng.normal(size=(len(every), 10)).astype(np.float32),
    )
    found = decode(output, (64, 96), threshold=0.8)
    i = 0
    for (x, y, side), offset, score, points in zip(every, *output, strict=True):
        if score < 0.8:
            continue
        cx, cy = x + 0.1 * side * offset[0], y + 0.1 * side * offset[1]
        w, h = side * np.exp(0.2 * offset[2]), side * np.exp(0.2 * offset[3])
        box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        np.testing.assert_allclose(found.box[i], box, rtol=1e-5, atol=1e-3)
        for k in range(5):
            point = x + 0.1 * side * points[2 * k], y + 0.1 * side * points[2 * k + 1]
            np.testing.assert_allclose(found.points[i, k], point, rtol=1e-5, atol=1e-3)
        assert found.score[i] == score
        i += 1
    assert len(found.box) == len(found.score) == len(found.points) == i > 10


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_that_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (80, 2))
    box = np.concatenate([corner, corner + rng.uniform(5, 40, (80, 2))], axis=1)
    score = rng.integers(0, 20, 80) / 20  # with equal ones, of which the first is the better
    expected = []
    for i in sorted(range(80), key=lambda i: (-score[i], i)):
        if all(overlap(box[i], box[j]) <= 0.4 for j in expected):
            expected.append(i)
    assert non_maximum_suppression(box, score).tolist() == expected


def test_nothing_is_found_in_nothing():
    nothing = join([])
    assert non_maximum_suppression(nothing.box, nothing.score).tolist() == []
    assert len(join([nothing, nothing]).box) == 0
