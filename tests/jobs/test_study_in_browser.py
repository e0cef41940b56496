"""A study as raters and organisers go through it, in a headless Chromium."""

import json

import pytest
from PIL import Image

from perceptual_jax.evaluation.study import read_key
from perceptual_jax.jobs.pages.answers import analyse_study
from perceptual_jax.jobs.pages.study import make_study
from tests.helpers.browser import CHROMIUM, PHONE, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

READY = "!document.getElementById('pair').classList.contains('waiting') && ready"
WAITED = "performance.now() - shownAt > 260"
AT = "session.answers.length"
ENDED = "!document.getElementById('end').hidden"
BRIGHT = """(() => {
    const canvas = document.createElement("canvas"), image = document.querySelector("#%s img");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data[0];
})()"""


@pytest.fixture
def browser(tmp_path):
    one = Browser(tmp_path)
    yield one
    one.close()


@pytest.fixture
def study(tmp_path):
    """Black pictures against white ones, with a pattern for catch trials to blur."""
    for folder, level in (("dark", 40), ("bright", 215)):
        (tmp_path / folder).mkdir()
        for name in ("a", "b", "c"):
            image = Image.new("RGB", (64, 64), (level,) * 3)
            image.save(tmp_path / folder / f"{name}.png")
    return make_study(
        tmp_path / "dark", tmp_path / "bright", tmp_path / "study.html", catches=1, ties=True
    )


def answer_all(browser, key, choose):
    """Answers all trials by what is seen, catch trials by the key."""
    total = len(key.trials)
    while (at := browser.run(AT)) < total:
        browser.until(f"{READY} && {WAITED} && {AT} === {at}")
        one = browser.run("planOf(session.seed)[session.answers.length]")
        trial = key.trials[one["id"]]
        left = one["left"] == (0 if trial.first == "good" else 1)
        if not trial.is_catch:
            bright = [browser.run(BRIGHT % side) for side in ("left", "right")]
            assert {value > 128 for value in bright} == {True, False}
            left = bright[0] > bright[1]
        choose("left" if left else "right")
        browser.until(f"{AT} === {at + 1}")
    browser.until(ENDED)


def exported(browser):
    browser.click("#save")
    browser.until("document.getElementById('saved').textContent.startsWith('saved')")
    name = browser.run("document.getElementById('saved').textContent").removeprefix("saved as ")
    return browser.downloaded(name)


def test_two_raters_prefer_the_bright_and_one_sees_no_difference(browser, study):
    key = read_key(json.loads(study.key.read_text()))
    arrows = {"left": "ArrowLeft", "right": "ArrowRight"}
    browser.open(study.page)
    assert browser.run("document.getElementById('number').textContent") == "4"
    browser.run("document.getElementById('rater').value = 'Ann'")
    browser.click("#start")
    browser.until(f"{READY} && {WAITED}")
    browser.press("ArrowRight")
    browser.until(f"{AT} === 1 && {READY}")
    browser.press("Backspace")
    browser.until(f"{AT} === 0 && {READY}")
    browser.open(study.page)  # after a reload the same rater goes on, in the same order
    browser.click("#start")
    answer_all(browser, key, lambda side: browser.press(arrows[side]))
    first = exported(browser)
    assert json.loads(first.read_text())["name"] == "Ann"

    browser.click("#again")
    browser.open(study.page, screen=PHONE, dark=True)
    browser.tap("#start")
    answer_all(browser, key, lambda side: browser.tap(f"#{side}"))
    second = exported(browser)

    browser.click("#again")
    browser.click("#start")
    answer_all(browser, key, lambda _: browser.press("ArrowDown"))
    third = exported(browser)
    assert browser.complaints == []

    result, failed = analyse_study([first, second, third], key=study.key)
    assert failed == ()
    assert len({rater.rater for rater in result.raters}) == 3
    assert [rater.catches_failed for rater in result.raters] == [0, 0, 1]
    assert [rater.found[:3] for rater in result.raters] == [(0, 3, 0), (0, 3, 0), (0, 0, 3)]
    assert result.pooled[:3] == (0, 6, 3)
    assert result.by_pair[:3] == (0, 3, 0)


def test_the_text_is_what_is_saved_and_a_quick_second_tap_is_no_answer(browser, study):
    browser.open(study.page)
    browser.click("#start")
    browser.until(READY)
    browser.press("ArrowLeft")
    assert browser.run(AT) == 0
    browser.until(WAITED)
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    assert browser.run(AT) == 1
    key = read_key(json.loads(study.key.read_text()))
    answer_all(browser, key, lambda side: browser.click(f"#{side}"))
    text = browser.run("document.getElementById('text').value")
    assert json.loads(text) == json.loads(exported(browser).read_text())
