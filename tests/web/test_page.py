"""The page as its users see it, in a headless Chromium."""

import gc
import importlib.util
import json
import threading

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.web.server import served
from tests.helpers.browser import CHROMIUM, PHONE, Browser
from tests.helpers.job_files import picture, pixels_of
from tests.helpers.photographs import smooth_photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Gradio's own
    pytest.mark.skipif(
        CHROMIUM is None or importlib.util.find_spec("gradio") is None,
        reason="needs gradio and chromium",
    ),
]

FIELD = "document.querySelector('#samples input[type=number]')"
RANGE = "document.querySelector('#samples input[type=range]').value"
SLIDER = "document.querySelector('#slider img[src*=\"restored-{}\"]')?.naturalWidth"


def text(part):
    """What a part of the page says."""
    return f"document.querySelector('#{part}').innerText"


@pytest.fixture(scope="module")
def finds():
    """Is set while the search for faces, which sees none, may go on."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture(scope="module")
def page(tools, finds):
    def find(pixels):
        finds.wait(30)
        return []

    with served(tools._replace(find=find), host="127.0.0.1", port=0) as one:
        yield one
    assert not one.folder.exists()
    gc.collect()  # Warnings of what is dropped here are not those of other tests.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


def opened(browser, page, **options):
    browser.complaints.clear()
    browser.open(page.address, **options)
    browser.until("document.querySelector('#file input[type=file]') !== null")


def choose(browser, path):
    browser.choose_file("#file input[type=file]", path)


OBSERVE = """
window.seen = [];
const told = document.querySelector('#status');
new MutationObserver(() => window.seen.push({
  text: told.innerText,
})).observe(told, {childList: true, subtree: true, characterData: true});
"""
"""Keeps whatever the page's status has shown."""


def test_a_user_restores_compares_downloads_and_leaves(browser, page, tmp_path):
    picture(tmp_path / "face.png", 0)
    opened(browser, page)
    choose(browser, tmp_path / "face.png")
    browser.until(f"{text('seen')}.includes('small, so downscaled')")
    browser.run("document.querySelector('#more button').click()")
    browser.until(f"{FIELD} !== null")
    # What is typed before the page listens is lost.
    browser.until(f"{FIELD}.value = 2, {FIELD}.dispatchEvent(new Event('input')), {RANGE} === '2'")
    browser.run(OBSERVE)  # a step may be shown for less time than a test looks away
    browser.click("#start")
    browser.until(f"{text('facts')}.includes('agreement')")
    seen = browser.run("window.seen")
    assert any(shown["text"] for shown in seen)  # tests/web/test_restoring.py has every step
    browser.until("document.querySelectorAll('.pj-maps img').length === 2")
    assert browser.until(SLIDER.format(0)) == 32
    browser.run("document.querySelector('#which input[value=\"1\"]').click()")
    assert browser.until(SLIDER.format(1)) == 32
    files = {}
    for name in ("face_s01.png", "face.json"):
        browser.run(f"document.querySelector('#files a[download=\"{name}\"]').click()")
        files[name] = browser.downloaded(name)
    assert pixels_of(files["face_s01.png"]).shape == (32, 32, 3)
    record = json.loads(files["face.json"].read_text())
    assert record["input"]["path"] == "face.png"
    assert browser.hosts <= {"", page.address.split("/")[2]}
    assert browser.complaints == []

    (folder,) = (chosen.parent for chosen in page.folder.glob("*/chosen"))
    browser.call("Page.navigate", url="about:blank")
    for _ in range(400):
        if not folder.exists():
            break
        browser.run("new Promise(done => setTimeout(() => done(true), 50))")
    own = [path.name for path in page.folder.rglob("*.*") if path.is_file()]
    assert sorted(own) == ["face11.png", "face36.png"]  # the examples, on their buttons


def test_a_restoration_is_cancelled(browser, page, finds, tmp_path):
    Image.fromarray(smooth_photograph(40, 60)).save(tmp_path / "wide.png")
    opened(browser, page)
    choose(browser, tmp_path / "wide.png")
    browser.until(f"{text('seen')}.includes('60 x 40 pixels')")
    finds.clear()
    browser.click("#start")
    browser.until("!document.querySelector('#stop').disabled")
    browser.click("#stop")
    browser.until(f"{text('status')}.includes('Cancelling')")
    finds.set()
    browser.until(f"{text('status')}.includes('Cancelled; nothing is kept.')")
    browser.until("!document.querySelector('#start').disabled")
    assert not list(page.folder.glob("*/run/out/*.png"))


def test_what_is_no_picture_is_refused_on_a_phone(browser, page, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    ground = {}
    for dark in (False, True):
        opened(browser, page, screen=PHONE, dark=dark)
        choose(browser, tmp_path / "a.png")
        browser.until(f"{text('seen')}.includes('It is not an image of a known format.')")
        assert browser.run("document.documentElement.scrollWidth") == PHONE["width"]
        browser.screenshot(tmp_path / "phone.png")
        ground[dark] = np.asarray(Image.open(tmp_path / "phone.png").convert("L"))[-1, 0]
    assert ground[False] > 200 > 60 > ground[True]
