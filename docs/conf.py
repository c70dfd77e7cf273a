"""The user guide: `make docs` reads it with the repository as its root, so that links to results and scripts hold."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "multipath_gcn"
release = version = re.search(r'__version__ = "(.*)"', (ROOT / "multipath_gcn/__init__.py").read_text())[1]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["docs/**", "benchmarks/results/**"]
exclude_patterns = ["docs/conf.py"]
html_theme = "furo"
html_title = "multipath_gcn"
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
napoleon_custom_sections = [("Shapes", "params_style"), ("Attributes", "params_style")]
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; the text says what arguments are
autodoc_default_options = {"members": True, "show-inheritance": False}
suppress_warnings = [
    "toc.not_included",  # results are reached by links
    "myst.header",  # a report may begin below the first level
]
