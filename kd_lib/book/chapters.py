"""The pages of the seven notebooks: outputs made fit for the book, and a notice where one failed or is not there."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from kd_lib import _files

PROJECT = Path(__file__).resolve().parents[2]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PAGE_LIMIT = 3e6  # bytes of a notebook that is published
LONG = 20  # lines of a log that is shown; a longer one is unfolded by who wants it
NOTICE = "::::{{error}}\n{text}\n::::"

# Where a label is given, and where one is referred to.
_GIVEN = re.compile(r"^\(([\w.-]+)\)=\s*$|^:(?:name|label): ([\w.-]+)\s*$|\$\$ \(([\w.-]+)\)\s*$", re.M)
_REFERENCE = re.compile(r"(\{(?:ref|numref|eq)\}`(?:[^`<]*<)?|\]\(#?|^\(|^:(?:name|label): |\$\$ \()([\w.-]+)", re.M)

_NUMBERED = re.compile(r'(\bid="|url\(#)((?:clip|gradient_)\d)')  # ids in SVG


class Part(NamedTuple):
    """A set of the seven notebooks: folder in the book, kind of images, caption, where they lie, and which there are.

    A run has all of them, or lacks some. An edition may be older than a notebook, and has no such chapter then.
    """

    folder: str
    kind: str
    caption: str
    notebooks: Path
    names: Sequence[str]


def sources() -> list[Path]:
    """List the study's notebooks, as they are edited."""
    return sorted((PROJECT / "notebooks").glob("*.py"))


def copy_notebooks(part: Part, source: Path) -> dict[str, str]:
    """Put a part's notebooks into the book's sources; what is lacking is given back, by ``PART/NAME`` of the notebook.

    Labels of all but the first part begin with the part's folder, so that each is given once in the book.
    """
    (source / part.folder).mkdir(parents=True)
    lacking, nodes = {}, {}
    for name in part.names:
        done, failed = part.notebooks / f"{name}.ipynb", part.notebooks / f"{name}.failed.ipynb"
        if failed.is_file():
            nodes[name], lacking[f"{part.folder}/{name}"] = failure(nbformat.read(failed, as_version=4))
        elif done.is_file():
            nodes[name] = nbformat.read(done, as_version=4)
        else:
            lacking[f"{part.folder}/{name}"] = "was not executed"
            _files.write_text(source / part.folder / f"{name}.md", _missing(name))
    if part.folder != "notebooks":
        rename_labels(list(nodes.values()), part.folder)
    for name, node in nodes.items():
        without_widgets(node)
        if part.folder != "notebooks":
            title, end, rest = node.cells[0].source.partition("\n")
            node.cells[0].source = f"{title} ({part.kind.lower()}){end}{rest}"
        _distinguish_pictures(node, f"{part.folder}-{name}")
        fold_logs(node)
        nbformat.write(node, source / part.folder / f"{name}.ipynb")
    return lacking


def rename_labels(nodes: Sequence[Any], prefix: str) -> None:
    """Let the labels that notebooks give begin with a prefix, and what refers to them in the notebooks, in place."""
    labels = {c.metadata.get("mystnb", {}).get("figure", {}).get("name") for n in nodes for c in n.cells}
    prose = [cell for node in nodes for cell in node.cells if cell.cell_type == "markdown"]
    labels |= {label for cell in prose for found in _GIVEN.findall(cell.source) for label in found}

    def renamed(match: re.Match) -> str:
        return f"{match[1]}{prefix}-{match[2]}" if match[2] in labels else match[0]

    for cell in prose:
        cell.source = _REFERENCE.sub(renamed, cell.source)
    for figure in (c.metadata.get("mystnb", {}).get("figure", {}) for n in nodes for c in n.cells):
        if "name" in figure:
            figure["name"] = f"{prefix}-{figure['name']}"


def _distinguish_pictures(node: Any, prefix: str) -> None:
    """Let ids in a notebook's SVG begin with a prefix: each kernel numbers its own, and all may come on one page."""
    for cell in node.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = _NUMBERED.sub(rf"\1{prefix}-\2", data["text/html"])


def fold_logs(node: Any) -> None:
    """Fold the outputs of cells that print many lines and nothing else, in place, as training does: a line an epoch."""
    for cell in node.cells:
        outputs = cell.get("outputs", [])
        lines = sum(output.text.count("\n") for output in outputs if output.output_type == "stream")
        if lines > LONG and all(output.output_type == "stream" for output in outputs):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-output"]
            cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | {"code_prompt_show": f"Show {lines} lines"}


def without_widgets(node: Any) -> Any:
    """Take the widgets out of a cell's or a notebook's outputs, in place: their picture and text stay.

    A page that holds a widget's state loads scripts from other hosts, and shows nothing without them.
    """
    for cell in node.get("cells", [node]):
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    if "cells" in node:
        node.metadata.pop("widgets", None)
    return node


def without_progress(outputs: Sequence[Any]) -> list[Any]:
    """Leave out progress bars, which come on stderr."""
    return [output for output in outputs if output.get("name") != "stderr"]


# ---- what is lacking -------------------------------------------------------------------------------------------------


def failure(node: Any) -> tuple[Any, str]:
    """Let the page of a notebook that failed begin with its error, which is given back as well."""
    node.cells = [cell for cell in node.cells if not {*cell.metadata.get("tags", [])} & {"papermill-error-cell-tag"}]
    errors = [o for cell in node.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    what = f"failed: {errors[0].ename}: {errors[0].evalue}" if errors else "was interrupted"
    text = "This notebook did not come to its end. What is below the error was not executed.\n\n" + _verbatim(what)
    node.cells[0].source = after_title(node.cells[0].source, NOTICE.format(text=text))
    return node, what


def notice(lacking: dict[str, str]) -> str:
    """Say on the first page what a book lacks."""
    pages = [f"- {{doc}}`/{name}`\n\n{_indented(_verbatim(what))}" for name, what in lacking.items()]
    return NOTICE.format(text="This report is not complete. What is in it is what there was.\n\n" + "\n".join(pages))


def _missing(name: str) -> str:
    """Write the page of a notebook that there is none of, under the title that it would have."""
    source = (PROJECT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
    title = re.search(r"(?m)^# (# .*)$", source)[1]
    text = f"`{name}` was not executed in this run: what it needs was not there, or it was not begun."
    return f"{title}\n\n{NOTICE.format(text=text)}\n"


def _verbatim(text: str) -> str:
    return f"`````text\n{text}\n`````"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def after_title(page: str, text: str) -> str:
    """Put a text after the title of a Markdown page."""
    before, title, after = re.split(r"(?m)^(# .*)$", page, maxsplit=1)
    return f"{before}{title}\n\n{text}\n{after}"
