"""A Sphinx extension: formulae as MathML, which browsers draw with no script, and tables of notebooks as tables.

MyST-NB gives what a cell shows a caption and a number as a figure; those of the class ``numbered-table`` become tables.
"""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.transforms import SphinxTransform

CLASS = "numbered-table"
PUSHED = "pst-scrollable-table-container"  # the theme's: what is wider than the page is pushed, by the keyboard too


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    number = f'<span class="eqno">({node["number"]})</span>' if node["number"] else ""
    formula = convert(node.astext(), display="block")
    translator.body.append(f"{translator.starttag(node, 'div', CLASS='math')}{number}{formula}</div>\n")
    raise nodes.SkipNode


class numbered_table(nodes.figure):  # noqa: N801 (docutils names nodes so)
    """A figure that holds a table."""


class _Tables(SphinxTransform):
    default_priority = 400  # before Sphinx notes what has a number

    def apply(self, **_: Any) -> None:
        for figure in list(self.document.findall(nodes.figure)):
            captions = [child for child in figure if isinstance(child, nodes.caption)]
            if CLASS in figure["classes"] and captions:
                shown = [child for child in figure if child not in captions]
                ended = nodes.raw("", "</figcaption>", format="html")
                pushed = nodes.container("", *shown, classes=[PUSHED])
                table = numbered_table("", *captions, ended, pushed, **figure.attributes)
                figure.replace_self(table)
                for name in table["ids"]:
                    self.document.ids[name] = table


def _visit(translator: Any, node: numbered_table) -> None:
    translator.visit_figure(node)


def _depart(translator: Any, _: numbered_table) -> None:
    translator.body.append("</figure>\n")  # docutils would end the caption here, the table within it


def setup(app: Any) -> dict[str, bool]:
    """Register both: the renderer of formulae under the name mathml."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_enumerable_node(numbered_table, "table", html=(_visit, _depart))
    app.add_transform(_Tables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
