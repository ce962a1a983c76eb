"""Make each drawing a link to itself: on a phone a tap shows it as large as one likes."""

import re

FIGURE = re.compile(r'(<figure[^>]*>\s*)(<img [^>]*src="([^"]+)"[^>]*>)')


def link(app, pagename, templatename, context, doctree):
    """Put the picture of each figure into a link, unless it stands in one."""
    if doctree is not None:
        linked = r'\1<a class="enlarge" href="\3">\2</a>'
        context["body"] = FIGURE.sub(linked, context["body"])


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
