"""How Sphinx builds these pages: `make docs`, every warning an error, into `site/`."""

import logging
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "kshot"
author = "the authors of kshot"
extensions = ["myst_parser"]
exclude_patterns = ["**/.*"]
nitpicky = True

# Furo comes with all it shows: a page asks no other host, which tests/docs/test_site.py holds it to.
html_theme = "furo"
html_title = "kshot"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#17624f", "color-brand-content": "#17624f"},
    "dark_css_variables": {"color-brand-primary": "#5ec9ac", "color-brand-content": "#5ec9ac"},
}

myst_heading_anchors = 3
myst_links_external_new_tab = False
# What is written `console` is what a person sees; highlighting would make promises about it.
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """Write the pages that are made of the code before Sphinx looks for pages."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _link_cards)


def _link_cards(_app: Sphinx, _page: str, source: list[str]) -> None:
    """In the repository a model's card is its `README.md`, here it is a page."""
    source[0] = re.sub(r"\]\(\.\./models/([\w-]+)/README\.md", r"](cards/\1.md", source[0])


def _write_pages(_app: Sphinx) -> None:
    from generated_pages import write_api, write_cards

    write_cards(models=HERE.parent / "models", folder=HERE / "cards")
    write_api(HERE / "api.md")
