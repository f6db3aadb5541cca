"""How `make docs` builds the documentation: MyST Markdown, references from docstrings and from the commands."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from command_line import write

write(Path(__file__).parent / "reference")

project = "CiMEU"
author = "The CiMEU authors"
release = version = importlib.metadata.version("cimeu")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "results/*/*"]

html_theme = "furo"
html_title = f"CiMEU {release}"
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
myst_heading_anchors = 2
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def setup(app) -> None:
    """Leave the sentences of settings as they are: napoleon would take what stands before a colon for a type."""
    kept: dict[str, list[str]] = {}

    def keep(app, what, name, obj, options, lines) -> None:
        kept[name] = list(lines)

    def give_back(app, what, name, obj, options, lines) -> None:
        if what == "attribute":
            lines[:] = kept[name]

    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", give_back, priority=600)
