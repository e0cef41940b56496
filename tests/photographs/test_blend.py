"""A face goes back to where it came from, in the photograph's colours, and nowhere else."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.compositing.blend import in_colours_of, paste, scaled_points
from perceptual_jax.photographs.compositing.masks import (
    CENTRE,
    ellipse_mask,
    frame_mask,
    oval_mask,
    to_frame,
    without_others,
)
from perceptual_jax.photographs.compositing.tone import (
    follows,
    grain,
    luma,
    noise_level,
    resized,
    tone_curve,
    toned,
    with_low_frequencies,
)
from tests.helpers.photographs import LANDMARKS, frame, landmarks_of, smooth_photograph


def everywhere(points, frame):
    return np.ones(points.shape[:-1], np.float32)


def by_ellipse(points, frame):
    return ellipse_mask(frame)


def cut(photograph, quad, size):
    """The frame of a quad, sampled from a photograph whose formula continues beyond it."""
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    x, y = np.moveaxis(
        quad[0] + u[..., None] * (quad[3] - quad[0]) + v[..., None] * (quad[1] - quad[0]), -1, 0
    )
    return np.stack(
        [
            map_coordinates(photograph[..., c].astype(float), [y, x], order=3, mode="mirror")
            for c in range(3)
        ],
        axis=-1,
    )


def test_a_face_cut_at_whole_pixels_goes_back_without_a_trace():
    photograph = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    # Rows 11 to 26 cover 10.5 to 26.5, where integers are the centres of pixels.
    quad = np.array([[15.5, 10.5], [15.5, 26.5], [31.5, 26.5], [31.5, 10.5]])
    face = photograph[11:27, 16:32].astype(np.float32)
    patch = paste(photograph, face, quad, everywhere)
    inside = patch.pixels[11 - patch.top : 27 - patch.top, 16 - patch.left : 32 - patch.left]
    assert np.abs(inside.astype(int) - photograph[11:27, 16:32]).max() == 0


@pytest.mark.parametrize("degrees", [0, 17, 180])
@pytest.mark.parametrize("size", [60, 240])
def test_an_unrestored_face_changes_a_smooth_photograph_by_less_than_a_level(degrees, size):
    photograph = smooth_photograph(120, 150)
    quad = frame((70.3, 58.8), 60, degrees=degrees)
    patch = paste(photograph, cut(photograph, quad, size), quad, by_ellipse)
    height, width, _ = patch.pixels.shape
    before = photograph[patch.top : patch.top + height, patch.left : patch.left + width]
    # Both were rounded, so that less than one level is at most one.
    assert np.abs(patch.pixels.astype(int) - before).max() <= 1


@pytest.mark.parametrize("degrees", [0, 90, 23])
def test_the_crop_of_a_face_goes_back_without_a_trace(degrees):
    photograph = smooth_photograph(120, 150)
    quad = frame((69.5, 59.5), 60, degrees=degrees)
    patch = paste(photograph, crop_face(photograph, quad, None).astype(float), quad, by_ellipse)
    height, width, _ = patch.pixels.shape
    before = photograph[patch.top : patch.top + height, patch.left : patch.left + width]
    change = np.abs(patch.pixels.astype(int) - before)
    assert change.max() <= (1 if degrees == 23 else 0)
    assert change.mean() < 0.1


def test_a_photograph_enlarged_by_two_has_its_points_half_a_pixel_further():
    photograph = smooth_photograph(100, 100)
    large = smooth_photograph(100, 100, scale=2)
    quad = frame((50.0, 48.0), 40, degrees=10)
    patch = paste(large, cut(photograph, quad, 80), scaled_points(quad, (2.0, 2.0)), by_ellipse)
    height, width, _ = patch.pixels.shape
    before = large[patch.top : patch.top + height, patch.left : patch.left + width]
    assert np.abs(patch.pixels.astype(int) - before).max() <= 1
    off = paste(large, cut(photograph, quad, 80), 2 * quad, by_ellipse)
    height, width, _ = off.pixels.shape
    before = large[off.top : off.top + height, off.left : off.left + width]
    assert np.abs(off.pixels.astype(int) - before).max() > 1


def test_a_face_with_more_pixels_than_its_place_is_averaged_before_it_is_warped():
    photograph = np.full((40, 40, 3), 128, np.uint8)
    checks = 255.0 * (np.indices((256, 256)).sum(axis=0) % 2)
    face = np.repeat(checks[:, :, None], 3, axis=2)
    patch = paste(photograph, face, frame((20.0, 20.0), 16, degrees=5), by_ellipse)
    assert np.abs(patch.pixels.astype(int) - 128).max() <= 1


def test_a_face_beyond_the_border_is_cut_and_one_outside_is_no_patch():
    photograph = smooth_photograph(60, 60)
    quad = frame((2.0, 30.0), 40, degrees=0)
    patch = paste(photograph, np.full((64, 64, 3), 255.0), quad, by_ellipse)
    assert patch.left == 0
    assert patch.pixels.shape[1] <= 25
    changed = photograph.copy()
    patch.put(changed)
    assert (changed[30, 2] == 255).all()
    assert (changed[:, 30:] == photograph[:, 30:]).all()
    assert paste(photograph, np.zeros((8, 8, 3)), quad - 500, by_ellipse) is None


def test_masks_are_one_at_the_face_and_zero_at_the_border_of_the_crop():
    v, u = (np.mgrid[:101, :101] / 100).astype(np.float32)
    points = np.stack([u, v], axis=-1)
    for mask in (ellipse_mask(points), frame_mask(points)):
        assert mask.max() == 1
        assert mask[52, 50] == 1
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert border.max() < 1e-6
    oval = oval_mask(points.astype(float), LANDMARKS)
    assert oval[45, 40] == oval[72, 50] == 1
    assert oval[5, 50] == oval[98, 50] == oval[50, 8] == 0
    assert oval.sum() < ellipse_mask(points).sum()
    assert tuple(CENTRE) == (0.5, 0.52)


def test_an_oval_turns_with_its_face():
    upright, turned = frame((50.0, 50.0), 60, degrees=0), frame((50.0, 50.0), 60, degrees=90)
    y, x = np.mgrid[:101, :101].astype(float)
    points = np.stack([x, y], axis=-1)
    one = oval_mask(points, landmarks_of(upright))
    other = oval_mask(points, landmarks_of(turned))
    np.testing.assert_allclose(np.rot90(one, -1), other, atol=1e-9)
    np.testing.assert_allclose(
        to_frame(turned, turned), [[0, 0], [0, 1], [1, 1], [1, 0]], atol=1e-9
    )


def test_of_two_heads_side_by_side_none_erases_the_other():
    photograph = np.full((80, 120, 3), 100, np.uint8)
    quads = [frame((47.0, 40.0), 50), frame((73.0, 40.0), 50)]
    ovals = [landmarks_of(quad) for quad in quads]
    for i, level in enumerate((0.0, 255.0)):

        def weigh(points, frame, i=i):
            return ellipse_mask(frame) * without_others(points, [ovals[1 - i]])

        paste(photograph, np.full((64, 64, 3), level), quads[i], weigh).put(photograph)
    assert (photograph[40, 48] == 0).all()
    assert (photograph[40, 72] == 255).all()
    assert (photograph[40, 58] < 120).all()
    alone = np.full((80, 120, 3), 100, np.uint8)
    for quad, level in zip(quads, (0.0, 255.0), strict=True):
        paste(alone, np.full((64, 64, 3), level), quad, by_ellipse).put(alone)
    assert (alone[40, 58] > 240).all()  # the first face's cheek is gone


def test_low_frequencies_are_the_photographs_and_high_ones_the_faces():
    y = np.arange(256)[:, None, None]
    fine = 20 * np.sin(y * np.pi / 2) * np.ones((256, 256, 3))
    face, crop = 100 + fine, np.full((64, 64, 3), 140.0)
    result = with_low_frequencies(face, crop)
    np.testing.assert_allclose(result[64:-64], (140 + fine)[64:-64], atol=0.5)
    np.testing.assert_allclose(with_low_frequencies(face, face), face, atol=1e-3)


def test_grey_and_sepia_photographs_are_monochrome_and_stay_so():
    grey = smooth_photograph(90, 70)[..., :1].repeat(3, axis=2)
    sepia = np.clip(grey * np.array([1.0, 0.85, 0.6]) + 10, 0, 255).astype(np.uint8)
    face = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    for photograph in (grey, sepia):
        curve = tone_curve(photograph)
        assert curve is not None
        again = toned(photograph.astype(np.float32), curve)
        assert np.abs(again - photograph).max() < 3
        coloured = in_colours_of(face, photograph[:40, :40], curve=curve)
        level = luma(coloured)
        inside = (level > 40) & (level < 200)  # beyond, a print has no tones
        assert np.abs(toned(coloured, curve) - coloured)[inside].max() < 1
    same = in_colours_of(face, grey[:40, :40], curve=tone_curve(grey))
    assert np.ptp(same, axis=2).max() < 0.01
    assert tone_curve(smooth_photograph(90, 70)) is None


def test_grain_has_the_level_of_the_photographs():
    rng = np.random.default_rng(2)
    crop = np.clip(128 + rng.normal(0, 9, (96, 96, 1)), 0, 255).repeat(3, axis=2)
    assert noise_level(crop) == pytest.approx(9, rel=0.1)
    assert noise_level(np.full((9, 9, 3), 7.0)) == 0
    assert noise_level(np.zeros((1, 1, 3))) == 0
    face = np.full((96, 96, 3), 128.0)
    assert noise_level(face + grain(face, crop, rng)) == pytest.approx(9, rel=0.1)
    assert not grain(crop, face, rng).any()
    # Enlarged, its grains are as large as the photograph's.
    large = grain(resized(face, 192), crop, rng)
    assert noise_level(large) < 4


def test_a_rosy_face_in_a_faded_photograph_is_in_colour():
    """The whole photograph is nearly sepia; of two faces in it one is, too."""
    level = np.random.default_rng(3).integers(60, 190, (64, 64, 1))
    sepia = np.clip(level + np.array([20, 0, -25]), 0, 255).astype(np.uint8)
    curve = tone_curve(sepia)
    assert curve is not None
    assert follows(sepia, curve)
    rosy = sepia.copy()
    rosy[24:48, 20:44] = np.clip(rosy[24:48, 20:44] + np.array([18, -8, 0]), 0, 255)
    assert not follows(rosy, curve)
    assert follows(sepia[:5, :5], curve)
