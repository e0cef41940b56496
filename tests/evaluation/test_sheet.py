import os

import numpy as np
import pytest

from perceptual_jax.evaluation.sheet import MAX_ROWS, contact_sheet

RED, GREEN, BLUE = (np.full((1, 1, 3), c, np.uint8) for c in np.eye(3, dtype=np.uint8) * 255)


def area_of(sheet, color):
    """Rows and columns that a colour spans, and how many pixels have it."""
    at = np.argwhere((np.asarray(sheet) == color).all(axis=-1))
    return at.min(axis=0), at.max(axis=0) + 1, len(at)


def test_each_image_has_its_cell_in_order():
    black = np.zeros((64, 64, 3), np.uint8)
    sheet = contact_sheet([[RED, GREEN], [BLUE, black]], headings=["a", "b"], cell=64)
    corners = {}
    for name, color in (("red", [255, 0, 0]), ("green", [0, 255, 0]), ("blue", [0, 0, 255])):
        low, high, count = area_of(sheet, color)
        np.testing.assert_array_equal(high - low, 64)
        assert count == 64**2
        corners[name] = low
    assert corners["red"][0] == corners["green"][0] < corners["blue"][0]
    assert corners["red"][1] == corners["blue"][1] < corners["green"][1]


def test_small_images_show_their_pixels():
    checks = np.indices((4, 4)).sum(axis=0) % 2 * np.uint8(200)
    checks = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    checks[0, 0] = [255, 0, 0]
    sheet = np.asarray(contact_sheet([[checks]], headings=[""], cell=32))
    (top, left), (bottom, right), _ = area_of(sheet, [255, 0, 0])
    assert (bottom - top, right - left) == (8, 8)
    shown = sheet[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(shown, checks.repeat(8, axis=0).repeat(8, axis=1))


def test_large_images_are_smoothed():
    lines = np.zeros((256, 256, 3), np.uint8)
    lines[:, ::2] = 255
    sheet = np.asarray(contact_sheet([[lines]], headings=[""], cell=64))
    middle = sheet[sheet.shape[0] // 2, sheet.shape[1] // 2]
    np.testing.assert_allclose(middle, 127.5, atol=3)


def test_proportions_are_kept_and_the_image_centred():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[..., 0] = 255
    low, high, _ = area_of(contact_sheet([[wide, BLUE]], headings=["", ""], cell=64), [255, 0, 0])
    cell_low, cell_high, _ = area_of(
        contact_sheet([[wide, BLUE]], headings=["", ""], cell=64), [0, 0, 255]
    )
    np.testing.assert_array_equal(high - low, [32, 64])
    assert low[0] - cell_low[0] == cell_high[0] - high[0] == 16


def test_missing_images_leave_their_cell_empty():
    sheet = contact_sheet([[None, RED], [BLUE]], headings=["a", "b"], cell=64)
    assert area_of(sheet, [255, 0, 0])[2] == 64**2
    grey = area_of(sheet, [238, 238, 238])
    assert grey[2] >= 2 * 64**2


def test_captions_and_headings_leave_ink_and_stay_inside():
    def ink(**options):
        sheet = np.asarray(contact_sheet([[RED]], cell=64, **options)).astype(int)
        return (sheet.sum(axis=-1) < 600) & ~(sheet == [255, 0, 0]).all(axis=-1)

    assert not ink(headings=[""]).any()
    assert ink(headings=["degraded"]).any()
    assert ink(headings=[""], captions=["face"]).any()
    wide = ink(headings=["heading " * 30], captions=["caption\n" * 30])
    assert wide.any()
    assert not wide[:, :4].any()
    assert not wide[:, -4:].any()


def test_names_that_are_no_text_can_be_captions():
    contact_sheet([[RED]], headings=["é 漢"], captions=[os.fsdecode(b"\xff.png")], cell=32)


def test_a_sheet_ends_at_its_last_row():
    most = contact_sheet([[RED]] * MAX_ROWS, headings=["a"], cell=16)
    more = contact_sheet([[RED]] * (MAX_ROWS + 5), headings=["a"], cell=16)
    assert most.size == more.size


def test_what_does_not_fit_together_is_refused():
    for rows, headings in [([], ["a"]), ([[RED, RED]], ["a"]), ([[]], [])]:
        with pytest.raises(ValueError, match="one per heading"):
            contact_sheet(rows, headings=headings)
    with pytest.raises(ValueError, match="one per row, got 1 for 2 rows"):
        contact_sheet([[RED], [RED]], headings=["a"], captions=["x"])
