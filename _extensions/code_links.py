"""Link the library's names in shown code to their entries in the reference.

The imports of a page say what a name means. A name that the page gives to something of its own as
well is left alone, so that no link leads astray.
"""

import ast
import re
from html import unescape

from IPython.core.inputtransformer2 import TransformerManager

BLOCK = re.compile(r'<div class="highlight-i?python3? notranslate">.*?</pre>', re.S)
# A name with its attributes, as Pygments marks them up; not an attribute, nor a keyword argument.
DOT = '<span class="o">.</span>'
A_DOT, A_NAME = re.escape(DOT), r'<span class="n">\w+</span>'
CHAIN = re.compile(rf'(?<!{A_DOT}){A_NAME}(?:{A_DOT}{A_NAME})*(?!<span class="o">=</span>)')


def nodes_of(block):
    """Everything in the syntax tree of a block; nothing if it is no Python."""
    source = unescape(re.sub("<[^>]+>", "", block))
    try:  # a notebook's cell may hold commands of IPython
        return ast.walk(ast.parse(TransformerManager().transform_cell(source)))
    except SyntaxError:
        return ()


def meanings_of(body):
    """Names that a page imports and uses for nothing else, with what they mean."""
    meanings, own = {}, set()
    for node in (node for block in BLOCK.findall(body) for node in nodes_of(block)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name, meaning = alias.asname or alias.name, f"{node.module}.{alias.name}"
                if meanings.setdefault(name, meaning) != meaning:
                    own.add(name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
    return {name: meaning for name, meaning in meanings.items() if name not in own}


def add_links(app, page, template, context, doctree):
    """Link what a page's code names, as far as the reference has an entry for it."""
    if doctree is None:
        return
    entries = app.env.get_domain("py").objects
    meanings = meanings_of(context["body"])

    def linked(chain):
        spans = chain[0].split(DOT)
        first, *attributes = (span[len('<span class="n">') : -len("</span>")] for span in spans)
        if first not in meanings:
            return chain[0]
        for n in range(len(spans), 0, -1):
            entry = entries.get(".".join([meanings[first], *attributes[: n - 1]]))
            if entry:
                target = f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"
                link = f'<a class="code-link" href="{target}">{DOT.join(spans[:n])}</a>'
                return DOT.join([link, *spans[n:]])
        return chain[0]

    context["body"] = BLOCK.sub(lambda block: CHAIN.sub(linked, block[0]), context["body"])


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
