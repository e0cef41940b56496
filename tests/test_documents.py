"""The documents beside the code: links, examples, named files, and the site made of them."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import jax
import numpy as np
import pytest

import perceptual_jax
from perceptual_jax.degradation.profiles import apply_profile, load_profile
from tests.helpers import narrow

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
"""Those that speak of what is, not of what was."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def code_blocks(path, language="python"):
    fence = rf"```{language}\n(.*?)```"
    return re.findall(fence, path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(text):
    """Those that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{name_of(path)} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name_of(path)}: {link}"


def test_quickstart_needs_public_names_only():
    (code,) = code_blocks(ROOT / "README.md")
    tree = ast.parse(code)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"jax", "numpy", "perceptual_jax"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    used = set(re.findall(r"\bpj\.(\w+)", code))
    assert used
    assert used <= set(dir(perceptual_jax))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_code_needs_public_names_only(path):
    for code in code_blocks(path):
        assert set(re.findall(r"\bpj\.(\w+)", code)) <= set(dir(perceptual_jax))


@pytest.mark.parametrize("path", PRESENT, ids=name_of)
def test_named_files_are_there(path):
    """In `perceptual_jax/restoration/{search,run}.py` the braces hold several names."""
    named = re.findall(
        r"`((?:perceptual_jax|scripts|notebooks)/[\w/.{},-]+)`", path.read_text("utf-8")
    )
    for pattern in named:
        parts = re.split(r"\{([^}]*)\}", pattern)
        for chosen in itertools.product(*(part.split(",") for part in parts)):
            assert (ROOT / "".join(chosen)).exists(), f"{name_of(path)} names {pattern}"


def test_every_page_is_in_the_contents():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^\]]+\]\(([\w-]+\.md)\)", text, flags=re.MULTILINE)
    assert sorted([*listed, "index.md"]) == sorted(path.name for path in ROOT.glob("docs/*.md"))


def test_reference_has_every_public_name_once():
    names = " ".join(code_blocks(ROOT / "docs" / "api.md", "api"))
    assert sorted(names.split()) == sorted(perceptual_jax.__all__)


def test_terms_of_ones_own_are_searched_with():
    """The code of extending.md, as it stands there."""
    code = {}
    exec("\n".join(code_blocks(ROOT / "docs" / "extending.md")), code)
    config = perceptual_jax.override(
        perceptual_jax.load_config("styles"),
        {"search.steps": 2, "finish.steps": 0, "search.draft": 0},
    )
    degraded = jax.numpy.zeros((8, 8, 3))
    result = code["search_with_own_terms"](narrow.mobile(), degraded, config, jax.random.key(0))
    assert result.status == perceptual_jax.Status.OK
    assert result.terms["charbonnier"] > 0
    assert result.terms["spread"] >= 0


def test_profile_of_ones_own_degrades(tmp_path):
    (profile,) = code_blocks(ROOT / "docs" / "extending.md", "toml")
    (tmp_path / "mine.toml").write_text(profile, encoding="utf-8")
    grey = np.full((128, 128, 3), 128, np.uint8)
    made = apply_profile(load_profile(tmp_path / "mine.toml"), grey, np.random.default_rng(0))
    assert [step["operation"] for step in made.record] == re.findall('operation = "(.*)"', profile)
    assert 16 <= len(made.image) <= 64


class Page(HTMLParser):
    """The ids of a page, the addresses that it links to, and those that it loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes.get("id")}
        address = attributes.get("href") or attributes.get("src")
        if address and (tag == "a" or attributes.get("rel") in ("next", "prev", "index", "search")):
            self.links.add(address)
        elif address and not address.startswith("data:"):
            self.loads.add(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by their paths."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return {path: Page(path) for path in out.rglob("*.html")}


@pytest.mark.slow
def test_site_has_no_broken_link_and_loads_nothing_from_elsewhere(site):
    broken = []
    for path, page in site.items():
        assert not [address for address in page.loads if "//" in address], path.name
        for address in page.links | page.loads:
            file, _, anchor = address.partition("#")
            if "//" in file:
                continue
            target = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            if not target.is_file() or (
                anchor and target in site and unquote(anchor) not in site[target].ids
            ):
                broken.append(f"{path.name}: {address}")
    assert not broken


@pytest.mark.slow
def test_site_has_a_page_for_each_document_and_a_place_for_each_name(site):
    pages = {path.name: page for path, page in site.items()}
    for path in ROOT.glob("docs/*.md"):
        assert f"{path.stem}.html" in pages
    names = {f"perceptual_jax.{name}" for name in perceptual_jax.__all__}
    assert names <= pages["api.html"].ids
    assert any("notebooks" in str(path) for path in site)


def test_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_citation_names_the_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [project["version"]]
