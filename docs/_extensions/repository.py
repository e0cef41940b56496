"""Links that leave docs/ lead to pages with the text of the file, so that the site is whole.

On a code host the same links lead to the files. Notebooks become pages of their cells; they are
stored without outputs.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equations import mathml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(\.\./([^)#\s]+)\)")
SCHEME = "repository"
SCHEMES = {"http": None, "https": None, SCHEME: "files/{{path}}.html"}
"""Of addresses; all documents are beside each other, so one relative address does for all."""

logger = logging.getLogger(__name__)


def turn_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Turns the links of a document to files beside docs/, and remembers the files."""
    files = app.env.repository_files[name] = set(LINK.findall(source[0]))
    for file in files:
        if not (ROOT / file).is_file():
            logger.warning("%s.md links to %s, which is no file", name, file)
    source[0] = LINK.sub(rf"]({SCHEME}:\1)", source[0])


def notebook(app: Sphinx, path: Path) -> str:
    """The cells of a notebook as HTML."""
    markdown = MarkdownIt("commonmark").enable("table")
    dollarmath_plugin(
        markdown, renderer=lambda tex, options: mathml(tex, block=options["display_mode"])
    )
    parts = [f"<p><code>{path.relative_to(ROOT).as_posix()}</code>, without its outputs</p>"]
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts.append(app.builder.highlighter.highlight_block(text, "python3", force=True))
        else:
            parts.append(markdown.render(text))
    return "\n".join(parts)


def text(app: Sphinx, path: Path) -> str:
    """The text of a file as HTML, with its syntax in colours if there is a lexer for it."""
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = "text"
    body = app.builder.highlighter.highlight_block(path.read_text(encoding="utf-8"), language)
    return f"<h1>{path.relative_to(ROOT).as_posix()}</h1>\n{body}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The pages of all files that the documents link to."""
    for file in sorted(set().union(*app.env.repository_files.values())):
        path = ROOT / file
        if path.is_file():
            body = (notebook if path.suffix == ".ipynb" else text)(app, path)
            yield f"files/{file}", {"title": path.name, "body": body}, "page.html"


def begin(app: Sphinx) -> None:
    """Makes room for the files of each document."""
    if not hasattr(app.env, "repository_files"):
        app.env.repository_files = {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", begin)
    app.connect("source-read", turn_links)
    app.connect("html-collect-pages", pages)
    app.config.myst_url_schemes = SCHEMES
    return {"parallel_read_safe": False, "parallel_write_safe": True}
