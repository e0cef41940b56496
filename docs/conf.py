"""Settings of the documentation site.

    pip install -e ".[docs]" && python -m sphinx -W docs build/site

The pages are plain Markdown, to be read on a code host as well. What the site adds is in
`_extensions/`, a file for each idea. It loads no font, script or style from anywhere else, so
`build/site/index.html` can be read from the disk.
"""

import sys
import typing
from pathlib import Path

typing.GENERATING_DOCUMENTATION = True  # jaxtyping's annotations are then shown as they are written
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "perceptual_jax"
author = "the perceptual_jax authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "contents",
    "equations",
    "reference",
    "repository",
]
exclude_patterns = ["_extensions"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

highlight_language = "none"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = "perceptual_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # which a page that is read from the disk may not fetch
html_use_index = False
html_theme_options = {"source_view_link": "", "top_of_page_buttons": []}
