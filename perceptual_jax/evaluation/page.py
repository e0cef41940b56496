"""Pages as one HTML file each: markup, styles, a script, and data that may come from anywhere.

Names and messages come from file names, so nothing of them becomes markup: data is JSON in a block
that browsers do not execute, the scripts show it as text, and a content security policy names the
one script and the one style sheet of the page by their hashes. A page loads nothing from the net.
"""

import base64
import hashlib
import html
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perceptual_jax.io.files import json_text

_PARTS = Path(__file__).parent / "pages"
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def build_page(kind: str, *, title: str, data: Mapping[str, Any], scripts: Sequence[str]) -> str:
    """A self-contained page.

    Args:
        kind: Name of the page: of its markup and its style sheet in `pages/`.
        title: Title of the window.
        data: Values for the scripts, see `json_text`.
        scripts: Names of its scripts in `pages/`, in their order.

    Example:
        >>> page = build_page("report", title="a < b", data={"name": "</script>"}, scripts=[])
        >>> "<title>a &lt; b</title>" in page, "u003c/script" in page
        (True, True)
    """
    style = _part("page.css") + _part(f"{kind}.css")
    script = "\n" + "".join(map(_part, scripts))
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    return string.Template(_part("page.html")).substitute(
        policy=policy,
        generator=generator_of(kind),
        title=html.escape(title.encode("utf-8", "backslashreplace").decode()),
        style=style,
        body=_part(f"{kind}.html"),
        data=json_text(data).translate(_ESCAPES),
        script=script,
    )


def generator_of(kind: str) -> str:
    """The text by which a page of this kind names its generator."""
    return f"perceptual_jax {kind}"


def is_page(content: bytes, kind: str) -> bool:
    """Whether a file is a page of this kind, by its first bytes."""
    meta = f'<meta name="generator" content="{generator_of(kind)}">'
    return meta.encode() in content[:2048]


def data_url(content: bytes, media: str) -> str:
    """The content of a file as an address that holds it.

    Example:
        >>> data_url(b"abc", "image/png")
        'data:image/png;base64,YWJj'
    """
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
