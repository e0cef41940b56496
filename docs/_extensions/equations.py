"""Equations as MathML, which browsers draw by themselves: no script and no font is loaded."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def mathml(tex: str, *, block: bool, where: Any = None) -> str:
    """The MathML of an equation; one that cannot be converted is a warning."""
    try:
        equation = tex2mathml(tex, as_block=block)
        return f'<div class="equation">{equation}</div>' if block else equation
    except MathError as error:
        logger.warning("%s in the equation %s", error, tex, location=where)
        return ""


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Writes an equation in a line."""
    translator.body.append(mathml(node.astext(), block=False, where=node))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Writes an equation of its own."""
    translator.body.append(mathml(node.astext(), block=True, where=node))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
