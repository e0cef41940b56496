import json
import re
from html.parser import HTMLParser

import numpy as np

from perceptual_jax.evaluation.page import build_page, is_page
from perceptual_jax.evaluation.report import (
    POINTS,
    Column,
    Row,
    Scores,
    Shown,
    columns_of,
    read_scores,
    report_page,
    thin_curve,
)

VOID = {"meta", "link", "img", "input", "br"}
EVIL = "</script><script>alert(1)</script><!--\u2028\"'&<img src=x onerror=alert(1)>"


class Balanced(HTMLParser):
    """Collects the tags of a page that are not closed in their order, and the texts of blocks."""

    def __init__(self, page):
        super().__init__()
        self.open, self.wrong, self.texts, self.tags = [], [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def data_of(page):
    """The data of a page."""
    (block,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)
    return json.loads(block)


def test_a_page_is_well_formed_and_names_do_no_harm():
    rows = [Row(EVIL, "FAILED", EVIL, EVIL, notes=[EVIL])]
    page = report_page(rows, title=EVIL, others=[EVIL], about=[(EVIL, EVIL)], config=EVIL)
    parsed = Balanced(page)
    assert not parsed.open
    assert not parsed.wrong
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert not [attrs for tag, attrs in parsed.tags if "onerror" in attrs]
    assert parsed.texts["title"] == [f"{EVIL}: report"]
    data = data_of(page)
    assert data["rows"][0]["name"] == data["others"][0] == EVIL
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert is_page(page.encode(), "report")
    assert not is_page(page.encode(), "study")


def test_names_that_are_no_text_can_be_written():
    page = build_page("report", title="a\udcff", data={"name": "b\udcff"}, scripts=[])
    assert data_of(page)["name"] == "b\udcff"
    assert "<title>a\\udcff</title>" in page
    page.encode()


def test_curves_keep_their_ends():
    values = np.arange(1000.0)
    values[500:] = np.inf
    curve = thin_curve(values)
    assert (len(curve), curve[0], curve[-1]) == (POINTS, 0.0, None)
    assert thin_curve(np.arange(1000.0))[-1] == 999.0
    assert thin_curve(np.array([2.0])) == [2.0]


def test_columns_come_in_their_order_with_their_directions():
    values = {"best_step": 3, "term:l2": 1.0, "consistency_psnr": 30.0, "X": 1.0, "Y": 2.0}
    shown = Shown("restored", "restored", "a", values=values)
    described = {"X": Column("X", "X", "what X is", better=1)}
    columns = columns_of([Row("a", "OK", "", "", pictures=[shown])], described)
    assert [c.label for c in columns] == ["consistency", "X", "Y", "l2", "step"]
    assert [c.better for c in columns] == [1, 1, 0, -1, 0]
    assert [c.hidden for c in columns] == [False, False, False, True, True]


def test_scores_are_found_in_tables_of_many_forms():
    expected = {"a": {"lpips": 0.25, "niqe": 4.0}, "b": {"lpips": 0.5}}
    plain = {"a": {"lpips": 0.25, "niqe": 4}, "b.PNG": {"lpips": 0.5, "niqe": None, "ok": True}}
    listed = [{"name": name, **values} for name, values in plain.items()]
    for table in (plain, listed, {"pictures": plain}, {"pictures": listed}):
        assert read_scores(table) == [Scores(None, expected, {})]
    about = {"lpips": {"unit": "", "better": "lower", "about": "LPIPS"}, "niqe": 3}
    methods = [{"folder": "x", "pictures": plain, "summaries": {}}, {"folder": "y"}, None]
    first, second = read_scores({"methods": methods, "metrics": about})
    described = {"lpips": Column("lpips", "lpips", "LPIPS", better=-1)}
    assert first == Scores("x", expected, described)
    assert second == Scores("y", {}, described)
    for nothing in (None, 3, [], [1], {"a": "b"}, {"a": [[]]}, {"pictures": 3}):
        assert read_scores(nothing) == []
