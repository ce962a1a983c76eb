"""Show neighbouring cells side by side: cells tagged ``tab-<label>`` become tabs of one set.

A directive can't hold a cell that runs, so tabs written in markdown would show code that nobody has
executed. These are ordinary cells, one after the other in the notebook, both executed.
"""

from itertools import groupby

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx_design.shared import create_component

PREFIX = "tag_tab-"  # MyST-NB gives each cell the classes tag_<its tags>


def label(node):
    """Label of the tab that a node asks for, or None."""
    classes = node.get("classes", []) if isinstance(node, nodes.container) else []
    return next((c.removeprefix(PREFIX) for c in classes if c.startswith(PREFIX)), None)


def tab(cell):
    """A cell with its label above it."""
    title = nodes.rubric(label(cell), label(cell), classes=["sd-tab-label"])
    content = create_component("tab-content", ["sd-tab-content"], children=[cell])
    return create_component("tab-item", ["sd-tab-item"], children=[title, content])


class CellTabs(SphinxTransform):
    """Put neighbouring cells that ask for a tab into one set of tabs."""

    default_priority = 400

    def apply(self):
        """Rebuild every section that holds such cells."""
        for parent in {c.parent for c in self.document.findall(nodes.container) if label(c)}:
            children = []
            for wanted, run in groupby(parent.children, lambda node: label(node) is not None):
                if wanted:
                    tabs = [tab(cell) for cell in run]
                    children.append(create_component("tab-set", ["sd-tab-set"], children=tabs))
                else:
                    children += run
            parent.children = []
            parent.extend(children)


def setup(app):
    """Register with Sphinx."""
    app.add_transform(CellTabs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
