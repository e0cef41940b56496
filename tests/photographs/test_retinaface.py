"""RetinaFace's anchors, decoding and suppression, beside loops."""

import numpy as np

from perceptual_jax.photographs.detection.nets import Detections
from perceptual_jax.photographs.detection.retinaface import (
    Boxes,
    anchors,
    area,
    decode,
    intersection,
    join,
    non_maximum_suppression,
)


def test_anchors_are_those_of_a_loop():
    expected = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for i in range(64 // stride):
            for j in range(96 // stride):
                expected += [((j + 0.5) * stride, (i + 0.5) * stride, side) for side in sides]
    np.testing.assert_array_equal(anchors(64, 96), expected)


def test_outputs_are_decoded_as_by_a_loop():
    rng = np.random.default_rng(0)
    places = anchors(32, 64)
    n = len(places)
    output = Detections(
        rng.normal(size=(n, 4)).astype(np.float32),
        rng.uniform(size=n).astype(np.float32),
        rng.normal(size=(n, 10)).astype(np.float32),
    )
    found = decode(output, (32, 64), threshold=0.6)
    assert 0 < len(found.score) < n
    k = 0
    for (x, y, side), box, score, points in zip(places, *output, strict=True):
        if score < 0.6:
            continue
        cx, cy = x + 0.1 * side * box[0], y + 0.1 * side * box[1]
        w, h = side * np.exp(0.2 * box[2]), side * np.exp(0.2 * box[3])
        expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        np.testing.assert_allclose(found.box[k], expected, rtol=1e-5)
        for j in range(5):
            expected = [x + 0.1 * side * points[2 * j], y + 0.1 * side * points[2 * j + 1]]
            np.testing.assert_allclose(found.points[k, j], expected, rtol=1e-5)
        assert found.score[k] == score
        k += 1
    assert k == len(found.score)


def slow_suppression(box, score, overlap):
    left = sorted(range(len(score)), key=lambda i: (-score[i], i))
    kept = []
    for i in left:
        for j in kept:
            w = min(box[i][2], box[j][2]) - max(box[i][0], box[j][0])
            h = min(box[i][3], box[j][3]) - max(box[i][1], box[j][1])
            common = max(w, 0) * max(h, 0)
            areas = [(box[k][2] - box[k][0]) * (box[k][3] - box[k][1]) for k in (i, j)]
            if common > overlap * (sum(areas) - common):
                break
        else:
            kept.append(i)
    return kept


def test_suppression_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 50, (80, 2))
    box = np.concatenate([corner, corner + rng.uniform(5, 40, (80, 2))], axis=1)
    score = rng.integers(0, 10, 80) / 10  # many equal ones
    expected = slow_suppression(box, score, 0.4)
    assert non_maximum_suppression(box, score).tolist() == expected
    assert 3 < len(expected) < 80


def test_edges_of_suppression():
    none = np.zeros((0, 4))
    assert non_maximum_suppression(none, np.zeros(0)).tolist() == []
    same = np.tile([[0.0, 0.0, 4.0, 4.0]], (3, 1))
    assert non_maximum_suppression(same, np.array([0.5, 0.7, 0.7])).tolist() == [1]
    touching = np.array([[0.0, 0, 4, 4], [4.0, 0, 8, 4]])
    assert non_maximum_suppression(touching, np.ones(2)).tolist() == [0, 1]
    # Boxes of one height, displaced by x, share (10 - x) / (10 + x): 0.4 at 30/7.
    for shift, count in ((30 / 7 - 0.01, 1), (30 / 7 + 0.01, 2)):
        pair = np.array([[0.0, 0, 10, 10], [shift, 0, 10 + shift, 10]])
        assert len(non_maximum_suppression(pair, np.ones(2))) == count


def test_areas_of_boxes():
    assert area(np.array([[0.0, 0, 2, 3], [5, 5, 4, 9]])).tolist() == [6, 0]
    others = np.array([[1.0, 1, 3, 3], [5.0, 5, 6, 6]])
    assert intersection(np.array([0.0, 0, 2, 2]), others).tolist() == [1, 0]


def test_canvases_without_candidates_join():
    empty = join([])
    assert empty.box.shape == (0, 4)
    one = Boxes(np.ones((1, 4)), np.ones(1), np.ones((1, 5, 2)))
    assert join([empty, one, one]).points.shape == (2, 5, 2)
