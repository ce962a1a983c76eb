"""Name the licence of what a page shows of others, beside our own in its footer.

The front matter of the page says it as ``licence``, in HTML.
"""


def name_licence(app, pagename, templatename, context, doctree):
    """Put the line of a page behind that of the book."""
    licence = app.env.metadata.get(pagename, {}).get("licence")
    if licence:
        context["theme_extra_footer"] += f"<p>{licence}</p>"


def setup(app):
    """Register with Sphinx, ahead of the theme, which builds the footer."""
    app.connect("html-page-context", name_licence, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
