"""Sphinx's settings for the documentation: `make docs`."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "skipway"
author = "the authors of skipway"
copyright = "the authors of skipway, Apache-2.0"  # noqa: A001 - a name of Sphinx
release = version = installed("skipway")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "docs._ext.sources",
    "docs._ext.docstrings",
    "docs._ext.architectures",
    "docs._ext.links",
]
exclude_patterns = ["_ext", "_static", "**.ipynb_checkpoints"]
nb_execution_mode = "off"  # the outputs are those in the files; tests/test_notebook.py runs them
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"
suppress_warnings = ["myst.header"]  # a course's chapter may go from its title to a third level
highlight_language = "text"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False

html_theme = "furo"
html_title = f"skipway {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False}
