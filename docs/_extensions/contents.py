"""The navigation is the lists of links in index.md: each heading with links below is a section."""

import re
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"^- .*?\[([^\]]+)\]\((\w[\w-]*)\.md\)", flags=re.MULTILINE)


def sections(text: str) -> list[tuple[str, list[str]]]:
    """The headings of the second level whose lists link to pages, with the names of these."""
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        pages = [page for _, page in LINK.findall(body)]
        if pages:
            found.append((heading, pages))
    return found


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Appends a hidden table of contents for each section."""
    if name == app.config.root_doc:
        for heading, pages in sections(source[0]):
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{lines}\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
