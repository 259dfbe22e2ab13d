"""Sphinx configuration: ``sphinx-build -W --keep-going -b html docs build/docs``."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "normkit"
author = "The normkit developers"
copyright = "The normkit developers, BSD-3-Clause"
release = version = installed_version("normkit")
html_title = f"normkit {version}"

extensions = [
    "mathml",
    "measured",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
]
exclude_patterns = ["_ext"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
pygments_style = "tango"

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_member_order = "alphabetical"
# normkit.torch's docstrings are its own: torch need not be there to build
autodoc_mock_imports = autosummary_mock_imports = ["torch"]
numpydoc_show_class_members = False

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["normkit.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 8,
}
# options of commands keep their two hyphens
smartquotes = False

html_sidebars = {
    "explanation/engine": [],
    "index": [],
    "tutorial": [],
    "tutorial.zh": [],
    "quickstart": [],
    "benchmarks": [],
    "comparison": [],
}
