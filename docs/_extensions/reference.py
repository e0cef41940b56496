"""The API reference: each line of a fence called `api` becomes the documentation of that name.

The docstrings are plain text in Google's convention, with `code` in single backticks, as editors
show them; `convert` makes reStructuredText of what autodoc finds.
"""

import dataclasses
import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

import perceptual_jax
from perceptual_jax.validation import Range

FENCE = re.compile(r"^```api\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PACKAGE = "perceptual_jax"
SECTIONS = {"Args:", "Attributes:", "Example:", "Raises:", "Returns:", "Yields:"}
NAPOLEON = Config(napoleon_use_ivar=True)
MARKUP = re.compile(r"([*|]|_(?!\w))")


def directive(name: str) -> str:
    """The directive that documents a public name."""
    value = getattr(perceptual_jax, name)
    if inspect.isclass(value):
        described = "Attributes:" in (value.__doc__ or "")
        options = "   :members:\n" + ("" if described else "   :undoc-members:\n")
        return f".. autoclass:: {PACKAGE}.{name}\n{options}"
    return f".. autofunction:: {PACKAGE}.{name}\n"


def expand(app: Sphinx, name: str, source: list[str]) -> None:
    """Replaces the fences of a page."""
    source[0] = FENCE.sub(
        lambda match: "```{eval-rst}\n" + "\n".join(map(directive, match[1].split())) + "```",
        source[0],
    )


def convert(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Makes reStructuredText of a docstring: only backticks are markup, indented blocks literal.

    The sections of Google's convention are left to napoleon. It does not see attributes, since it
    takes what is before a colon for a type.
    """
    result: list[str] = []
    section = literal = False
    for line in lines:
        if line and not line.startswith(" "):
            section, literal = line in SECTIONS, False
        elif line and not section and not literal and result and not result[-1]:
            literal = True
            result += ["::", ""]
        verbatim = literal or line.lstrip().startswith((">>>", "..."))
        result.append(line if verbatim else escaped(line))
    if what not in ("attribute", "property"):
        result = GoogleDocstring(result, NAPOLEON, app, what, name, value, options).lines()
    # What `NamedTuple` says of fields without a docstring.
    lines[:] = [] if result[:1] and result[0].startswith("Alias for field number") else result


def shorten(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, returned: str
) -> tuple[str, str | None] | None:
    """Leaves out the signature of classes that are nothing but their fields, which follow it."""
    is_record = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
    return ("", None) if what == "class" and is_record else None


def escaped(line: str) -> str:
    """The line with everything but `code` escaped."""
    parts = line.split("`")
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    Range.__repr__ = Range.__str__  # in words, as messages have it
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
