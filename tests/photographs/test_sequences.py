"""Faces over time: tracks, smoothed transforms, and the measure of flicker."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perceptual_jax.photographs.compositing.tone import luma
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.sequences.smoothing import (
    quads_of,
    similarities,
    smooth_faces,
    smoothed,
    strengths,
)
from perceptual_jax.photographs.sequences.steadiness import Flicker, flicker, steadied, stillness
from perceptual_jax.photographs.sequences.tracking import is_cut, join_faces, pairs, reduced
from tests.helpers.photographs import frame, landmarks_of, smooth_photograph


def face(x, y, side=40.0):
    quad = frame((x, y), side)
    landmarks = landmarks_of(quad)
    return Face((*quad[0].tolist(), *quad[2].tolist()), 0.99, 0.98, landmarks, quad)


def tracked(frames, cuts=(), **options):
    return [[tuple(s) for s in track] for track in join_faces(frames, cuts, **options)]


def test_two_faces_that_pass_each_other_keep_their_tracks():
    # The order within a frame says nothing.
    frames = [[face(20 + 5 * t, 30), face(120 - 5 * t, 75)] for t in range(12)]
    frames = [faces[::-1] if t % 2 else faces for t, faces in enumerate(frames)]
    expected = [[(t, t % 2) for t in range(12)], [(t, 1 - t % 2) for t in range(12)]]
    assert tracked(frames) == expected


def test_cuts_and_long_losses_end_a_track_and_short_ones_do_not():
    one = [face(30, 30)]
    assert tracked([one, [], [], [], one], patience=3) == [[(0, 0), (4, 0)]]
    assert tracked([one, [], [], [], [], one], patience=3) == [[(0, 0)], [(5, 0)]]
    assert tracked([one, one, one], cuts={1}) == [[(0, 0)], [(1, 0), (2, 0)]]
    assert tracked([one, [face(80, 30)]]) == [[(0, 0)], [(1, 0)]]


def test_landmarks_decide_where_boxes_do_not():
    # A box over two heads that turn towards each other, as a detector may give.
    one, other = face(40, 40), face(52, 40)
    shared = [Face(one.box, 0.9, 0.9, f.landmarks, f.quad) for f in (other, one)]
    assert sorted(pairs([one, other], shared)) == [(0, 1), (1, 0)]


@settings(max_examples=15, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=4),
    moves=st.lists(st.tuples(st.integers(-25, 25), st.integers(-25, 25)), min_size=4, max_size=4),
)
@example([(0, 29), (0, 35), (0, 46)], [(0, 5), (0, 11), (0, 17), (0, 0)])  # two near beat three
def test_pairs_are_the_best_of_all_assignments(places, moves):
    before = [face(x, y) for x, y in places]
    after = [face(x + a, y + b) for (x, y), (a, b) in zip(places, moves, strict=False)]

    def gain(one, other):
        left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
        right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
        common = max(right - left, 0) * max(bottom - top, 0)
        overlap = common / (2 * 40 * 40 - common)
        distance = np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean() / 40
        return 1 + overlap - distance if overlap >= 0.2 and distance <= 0.5 else 0.0

    n = len(before)
    best = max(
        sum(gain(before[i], after[j]) for i, j in enumerate(order))
        for order in itertools.permutations(range(n))
    )
    found = pairs(before, after)
    assert sum(gain(before[i], after[j]) for i, j in found) == pytest.approx(best)
    assert all(gain(before[i], after[j]) > 0 for i, j in found)


def test_a_cut_is_another_picture_and_a_pan_is_none():
    wide = smooth_photograph(64, 120)
    looks = [reduced(np.ascontiguousarray(wide[:, x : x + 96])) for x in (0, 4, 8)]
    assert not is_cut(looks[0], looks[1])
    assert not is_cut(looks[0], looks[2])
    assert is_cut(looks[0], reduced(255 - wide[:, :96]))


@pytest.mark.parametrize("width", [0.0, 0.7, 2.0, 5.0])
def test_steady_movement_is_left_as_it_is_also_at_ends_and_in_gaps(width):
    times = np.array([3, 4, 5, 9, 10, 11, 12])
    t = np.arange(3, 13)
    # A pan, a zoom and turns through 180 degrees.
    truth = np.stack([3.0 * t, 50 - 2.0 * t, 3 + 0.02 * t, 3.0 + 0.05 * t], axis=1)
    quads = quads_of(truth)
    landmarks = np.stack([landmarks_of(quad) for quad in quads])
    smooth, points = smooth_faces(times, quads[times - 3], landmarks[times - 3], width=width)
    np.testing.assert_allclose(smooth, quads, atol=1e-6)
    np.testing.assert_allclose(points, landmarks, atol=1e-6)
    np.testing.assert_allclose(quads_of(similarities(quads)), quads, atol=1e-9)


def test_smoothing_is_the_weighted_line_of_polyfit():
    rng = np.random.default_rng(0)
    times = np.array([0, 1, 2, 4, 5, 6, 9])
    values = rng.normal(size=(7, 3))
    at = np.arange(10)
    found = smoothed(times, values, at, width=1.5)
    for row, time in zip(found, at, strict=True):
        weights = np.exp(-((times - time) ** 2) / (2 * 1.5**2))
        for value, column in zip(row, values.T, strict=True):
            line = np.polyfit(times - time, column, 1, w=np.sqrt(weights))
            assert value == pytest.approx(line[1], abs=1e-9)
    assert smoothed(times[:1], values[:1], at[:1], width=2.0) == pytest.approx(values[:1])


def test_smoothing_takes_the_trembling_away():
    t = np.arange(60)
    noise = np.random.default_rng(1).normal(size=(60, 1))
    steps = [np.diff(smoothed(t, noise, t, width=w), axis=0).std() for w in (0, 1, 2, 4)]
    assert steps == sorted(steps, reverse=True)
    assert steps[2] < steps[0] / 5


def test_strength_follows_the_majority_and_changes_within_some_frames():
    def strength(text, **ends):
        usable = np.array([c == "x" for c in text])
        return strengths(usable, **{"begins": False, "ends": False, "ramp": 2} | ends).tolist()

    assert strength("xxx.xxxx") == [1] * 8  # a single miss does not blink
    assert strength("...x....") == [0] * 8
    assert strength("xxxxx.....") == [1, 1, 1, 1, 0.5, 0, 0, 0, 0, 0]
    assert strength("xxxx", begins=True) == [0.5, 1, 1, 1]
    assert strength("xxxx", ends=True) == [1, 1, 1, 0.5]
    assert strength("x") == [1]


def noisy(picture, seed, level=6.0):
    drawn = np.random.default_rng(seed).normal(0, level, picture.shape)
    return np.clip(np.rint(picture + drawn), 0, 255).astype(np.uint8)


def test_flicker_of_noise_is_its_mean_difference_and_that_of_a_copy_one():
    picture = np.full((64, 64, 3), 120, np.uint8)
    a, b = noisy(picture, 0), noisy(picture, 1)
    found = flicker((a, b), (a, b))
    assert found.ratio == 1
    # Luma of independent channels, and a difference of two frames, rounded each.
    deviation = np.sqrt(2 * (6.0**2 + 1 / 12) * (0.299**2 + 0.587**2 + 0.114**2))
    assert found.given / found.pixels == pytest.approx(deviation * np.sqrt(2 / np.pi), rel=0.05)
    assert found.pixels > 0.5 * 64 * 64
    assert flicker((a, b), (picture, picture)).ratio == 0
    assert flicker((picture, picture), (a, b)).ratio is None
    assert Flicker(2, 3, 4) + Flicker(1, 1, 1) == Flicker(3, 4, 5)


def test_what_moves_does_not_count_as_flicker():
    picture = np.full((64, 64, 3), 120, np.uint8)
    moved = picture.copy()
    moved[20:44, 20:44] = 180
    a, b = noisy(picture, 0), noisy(moved, 1)
    still = stillness(a, b)
    assert (still[24:40, 24:40] == 0).all()
    assert (still[50:60, 24:40] == 1).mean() > 0.9
    # The result may change there as the input does.
    assert flicker((a, b), (picture, moved)).result < 0.05 * flicker((a, b), (a, b)).result


def test_a_steadied_face_changes_no_more_than_its_input_and_follows_what_moves():
    picture = np.full((64, 64, 3), 120, np.uint8)
    moved = picture.copy()
    moved[20:44, 20:44] = 180
    crops = noisy(picture, 0, 2.0), noisy(moved, 1, 2.0)
    before = np.full((128, 128, 3), 120, np.float32)
    wild = np.random.default_rng(2).normal(0, 15, (16, 16, 3)).repeat(8, 0).repeat(8, 1)
    after = (moved.repeat(2, 0).repeat(2, 1) + wild).astype(np.float32)
    found = steadied(after, before, crops)
    np.testing.assert_array_equal(found[52:76, 52:76], after[52:76, 52:76])
    outside = np.abs(luma(found) - luma(before))[100:118, 50:78].mean()
    assert outside < 0.5 * np.abs(luma(after) - luma(before))[100:118, 50:78].mean()
    reduced_to = [x.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3)) for x in (before, found)]
    changed = flicker(crops, tuple(np.rint(x).astype(np.uint8) for x in reduced_to))
    assert changed.ratio < 1.1
    # A still input gives a still result, whatever the search does.
    still = steadied(after, before, (crops[0], crops[0]))
    np.testing.assert_array_equal(still[30:98, 30:98], before[30:98, 30:98])
    np.testing.assert_array_equal(
        steadied(after, before, crops, keep=0.0)[110, 64], before[110, 64]
    )
