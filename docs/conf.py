"""How the handbook is built: `make docs`. Sphinx reads the Markdown as it stands (MyST) and sets it with Furo.

Everything is served from the built directory; no font or script comes from elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

import tunewright  # noqa: E402

project = "Tunewright"
version = release = tunewright.__version__
copyright = "Tunewright's authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]
html_theme = "furo"
html_title = "Tunewright"
html_show_sphinx = False
html_copy_source = False

# Links to headings as GitHub makes them, so that pages read the same there.
myst_heading_anchors = 3
# Blocks that are only indented are commands.
highlight_language = "sh"
# Docstrings write names in single backquotes.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
# Of pydantic, not of ours.
autodoc_default_options = {"exclude-members": "model_config"}
napoleon_numpy_docstring = False


def setup(app: Any) -> None:
    """The reference is written before pages are looked for."""
    app.connect("builder-inited", lambda app: reference.write(HERE / "reference"))
