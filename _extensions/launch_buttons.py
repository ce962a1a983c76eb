"""Offer Colab only where there is a notebook to open: beside the markdown of a chapter."""

from pathlib import Path


def keep_to_pairs(app, pagename, templatename, context, doctree):
    """Let the theme take a page without a notebook for a page without cells."""
    if not Path(app.srcdir, f"{pagename}.ipynb").is_file():
        app.env.metadata[pagename].pop("kernelspec", None)


def setup(app):
    """Register with Sphinx, ahead of the theme, which looks for the kernel of a page."""
    app.connect("html-page-context", keep_to_pairs, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
