"""A request is restored as the command line restores its file, and tells of it."""

import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import ImageError
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.photographs.face import Face
from perceptual_jax.web.events import Cancelled, Forming, Note, RestoreError
from perceptual_jax.web.requests import MAX_BYTES, Request
from perceptual_jax.web.restoring import look_at, restore
from tests.helpers.job_files import CONFIG, picture, pixels_of
from tests.helpers.photographs import frame, landmarks_of, smooth_photograph


def encoded(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def crop(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "a.png"
    picture(path, 0)
    return path


def run(tools, request, folder, cancelled=None):
    events = []
    outcome = restore(tools, request, folder, events.append, cancelled or threading.Event())
    return events, outcome


def test_a_crop_is_restored_as_by_the_command_line(tools, crop, tmp_path):
    events, outcome = run(tools, Request(crop.read_bytes(), "my face.png", samples=2), tmp_path)
    out = tmp_path / "theirs"
    options = JobOptions(samples=2)
    restore_files([crop], out, CONFIG, options, generator=tools.generator)
    for sample, path in enumerate(outcome.pictures):
        np.testing.assert_array_equal(pixels_of(path), pixels_of(out / f"a_s{sample:02d}.png"))
    theirs = json.loads((out / "a.json").read_text())
    assert outcome.record["restorations"][0]["terms"] == theirs["restorations"][0]["terms"]
    assert outcome.record["input"]["path"] == "my face.png"
    assert outcome.before.shape == (32, 32, 3)

    steps = [event for event in events if isinstance(event, Forming)]
    assert [(event.step, event.steps) for event in steps] == [(6, 12), (12, 12)]
    assert [event.share for event in steps] == [0.5, 1.0]
    assert [event.seconds_left for event in steps] == [None, 0.0]
    for event in steps:
        assert [draft.shape for draft in event.drafts] == [(32, 32, 3)] * 2
    assert (steps[0].drafts[0] != steps[1].drafts[0]).any()
    assert any("l2" in event.text for event in events if isinstance(event, Note))

    term, spread = outcome.maps
    assert (term.label, term.pixels.shape) == ("data term l2", (8, 8, 3))
    assert spread.label == "spread"
    np.testing.assert_array_equal(spread.pixels, pixels_of(out / "a_spread.png"))


def test_the_data_term_map_is_where_the_result_differs(tools, crop, tmp_path):
    _, outcome = run(tools, Request(crop.read_bytes(), "a.png", samples=2), tmp_path)
    values = outcome.record["restorations"][0]
    white = float(outcome.maps[0].legend.split("white is ")[1].split(" ")[0])
    levels = outcome.maps[0].pixels[..., 0] / 255 * white
    mse = 10 ** (-values["consistency_psnr"] / 10)
    assert np.mean((levels / 255) ** 2) == pytest.approx(mse, rel=0.05)


def test_the_faces_of_a_photograph_are_put_back(tools, tmp_path):
    photograph = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    quad = frame((39.5, 29.5), 8)
    face = Face((36.0, 26.0, 43.0, 33.0), 1.0, 1.0, landmarks_of(quad), quad)
    request = Request(encoded(photograph), "holiday.png", samples=2)
    tools = tools._replace(find=lambda pixels: [face])
    assert "80 x 60" in look_at(tools, request).text
    _, outcome = run(tools, request, tmp_path)
    path, _ = outcome.pictures
    assert pixels_of(path).shape == outcome.before.shape == (120, 160, 3)
    changed = np.abs(pixels_of(path).astype(int) - outcome.before).max(axis=-1) > 1
    assert changed[56:64, 76:84].mean() > 0.9
    assert not changed[:, :68].any()
    assert outcome.record["input"]["path"] == "holiday.png"
    (restored,) = outcome.record["restored_faces"]
    assert restored["status"] == "OK"
    assert [one.label.partition(",")[2] for one in outcome.maps] == [" face 1"] * 2


def test_a_cancelled_search_ends_at_its_next_piece(tools, crop, tmp_path):
    cancelled, steps = threading.Event(), []

    def tell(event):
        if isinstance(event, Forming):
            steps.append(event.step)
            cancelled.set()

    with pytest.raises(Cancelled):
        restore(tools, Request(crop.read_bytes(), "a.png", samples=2), tmp_path, tell, cancelled)
    assert steps == [6]
    assert not list((tmp_path / "out").glob("*.png"))


def test_what_cannot_be_restored_is_refused_in_a_sentence(tools, crop, tmp_path):
    for data, reason in ((b"", "it is empty"), (b"no picture", "not an image")):
        with pytest.raises(ImageError, match=reason):
            look_at(tools, Request(data, "a.png"))
    with pytest.raises(RestoreError, match="it is not an image of a known format"):
        run(tools, Request(b"no picture", "a.png"), tmp_path)
    with pytest.raises(UsageError, match="at most 64 MB"):
        Request(b"\0" * (MAX_BYTES + 1), "a.png")
    with pytest.raises(UsageError, match="degradation must be one of auto"):
        Request(b"", "a.png", degradation="/etc/passwd")
    with pytest.raises(UsageError, match="from 1 to 4"):
        Request(b"", "a.png", samples=5)


def test_without_the_extra_a_photograph_is_refused_and_told_what_to_install(tools, tmp_path):
    alone = tools._replace(find=None, why_no_faces="install it with pip install 'x[photos]'")
    request = Request(encoded(smooth_photograph(30, 40)), "a.png")
    with pytest.raises(ImageError, match=r"got 40 x 30, since install it with pip install"):
        look_at(alone, request)
    with pytest.raises(RestoreError, match=r"square aligned face crop.*pip install 'x\[photos\]'"):
        run(alone, request, tmp_path)


def test_the_choice_of_auto_is_told_with_its_reason(tools):
    data = encoded(smooth_photograph(8, 8))
    assert "small, so downscaled" in look_at(tools, Request(data, "a")).text
    assert "blur (asked for)" in look_at(tools, Request(data, "a", degradation="blur")).text
