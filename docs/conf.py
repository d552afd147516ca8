"""The site: `sphinx-build -W -c docs . build/site` makes it of the documents and the docstrings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "KFC-JAX"
author = "The KFC-JAX developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The source is the whole repository, so that the documents' links to runs and files hold.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "results/README.md"]
exclude_patterns = ["build/**", "docs/conf.py", "**/.*"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # a test runs the notebook

myst_heading_anchors = 4
myst_all_links_external = False
suppress_warnings = ["myst.xref_missing"]  # tests check the links

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
default_role = "code"
napoleon_google_docstring = True

html_theme = "furo"
html_title = "KFC-JAX"
