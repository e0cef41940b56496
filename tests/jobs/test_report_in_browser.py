"""The report as its readers use it, in a headless Chromium."""

import shutil

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.jobs.log import Lines
from perceptual_jax.jobs.pages.report import write_report
from perceptual_jax.jobs.writing import failure_record
from tests.helpers.browser import CHROMIUM, PHONE, Browser
from tests.helpers.job_files import picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

EVIL = "<img src=x onerror=document.title=1>\"'&.jpg"
SHOWN = """
    [...document.querySelectorAll('#rows .who')].map(who => who.lastChild.firstChild.data)
"""
FIRST_VALUES = """
    [...document.querySelectorAll('#rows td:nth-child(2)')].map(x => Number(x.firstChild.data))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture
def page(finished, tmp_path):
    folder = shutil.copytree(finished / "out", tmp_path / "out")
    other = tmp_path / "other #1"
    for seed, name in enumerate(("a", "b", "sub__a")):
        picture(other / f"{name}.png", seed, width=32, height=32)
    Lines(folder / "results.jsonl").add(failure_record(None, tmp_path / EVIL, "it is empty"))
    return write_report(folder, versus=[other], pictures="beside")


def test_a_reader_compares_filters_and_sorts(browser, page):
    browser.complaints.clear()
    browser.open(page)
    names = browser.until(SHOWN)
    assert names[:3] == ["a", "b", "sub__a"]
    assert names[3].endswith(EVIL)
    assert browser.run("document.title") == "out: report"
    assert browser.until("[...document.images].filter(i => i.src).every(i => i.complete)")
    widths = browser.run("[...document.querySelectorAll('#stage img')].map(i => i.naturalWidth)")
    assert widths == [32, 8]  # restored on the right, given on the left

    browser.press("j")
    assert browser.run("document.getElementById('name').textContent") == "b"
    assert browser.run("location.hash") == "#b"
    browser.press("3", code="Digit3")
    assert browser.run("document.querySelector('#stage .right img').alt") == "other #1"
    assert browser.until("document.querySelector('#stage .right img').naturalWidth") == 32
    divider = "Number(document.getElementById('divider').value)"
    browser.press("ArrowRight")
    assert browser.run(divider) == 550
    x, y, width, _ = browser.middle("#stage")
    browser.drag((x, y), (x - width / 4, y))
    assert browser.run(divider) == pytest.approx(250, abs=5)
    browser.press("+")
    assert browser.run("document.getElementById('reset').textContent") == "150 %"
    browser.press("0")
    assert browser.run("document.querySelectorAll('#curves svg path').length") >= 4

    browser.press("/")
    assert browser.run("document.activeElement.id") == "query"
    browser.call("Input.insertText", text="empty")
    assert [name.endswith(EVIL) for name in browser.run(SHOWN)] == [True]
    browser.run("document.getElementById('query').value = 'consistency>0 sub'")
    browser.run("document.getElementById('query').dispatchEvent(new Event('input'))")
    assert browser.run(SHOWN) == ["sub__a"]
    browser.run("document.getElementById('query').value = ''")
    browser.click("#heads th:nth-child(2) button")
    values = browser.run(FIRST_VALUES)
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    assert browser.complaints == []


def test_a_phone_shows_the_list_and_then_the_comparison(browser, page, tmp_path):
    visible = "getComputedStyle(document.getElementById('detail')).display"
    ground = {}
    for dark in (False, True):
        browser.complaints.clear()
        browser.open(page, screen=PHONE, dark=dark)
        browser.until("document.querySelector('#rows tr') !== null")
        assert browser.run(visible) == "none"
        browser.tap("#rows tr:nth-child(2)")
        browser.until(f"{visible} === 'block'")
        assert browser.run("document.getElementById('name').textContent") == "b"
        assert browser.run("document.documentElement.scrollWidth") == PHONE["width"]
        browser.screenshot(tmp_path / "phone.png")
        ground[dark] = np.asarray(Image.open(tmp_path / "phone.png").convert("L"))[-1, 0]
        browser.tap("#back")
        browser.until(f"{visible} === 'none'")
        assert browser.complaints == []
    assert ground[False] > 200 > 60 > ground[True]


def test_an_address_opens_its_picture(browser, page):
    browser.open(page, fragment="#sub__a")
    browser.until("document.getElementById('name').textContent === 'sub__a'")
