"""The book: its sources put together in a folder, rendered by Jupyter Book, and complete with all that pages load.

A book has the prose pages and the six notebooks, these in one part or, of several studies, in one part each. What a run
lacks is said where it would be: on the first page and on the page of the notebook that failed or was not executed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kd_lib import files

PROJECT = Path(__file__).resolve().parent.parent
EDITIONS = PROJECT / "book" / "editions"  # what is published
UNFINISHED = PROJECT / "book" / "unfinished" / "photographs"  # a run of which some tables were kept
STUDY, KINDS, OTHERS = "The study", {"multiview": "Controlled images"}, "Photographs"  # of parts, by data set
REFERENCE, FULL_SIZE = "book/reference", "book/full_size"  # pages of the published book alone
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PAGE_LIMIT = 3e6  # bytes of a notebook that is published
UNFOLDS = "Pages of this chapter"  # of the contents at the side
NOTICE = "::::{{error}}\n{text}\n::::"

# Where a label is given, and where one is referred to.
_GIVEN = re.compile(r"^\(([\w.-]+)\)=\s*$|^:(?:name|label): ([\w.-]+)\s*$|\$\$ \(([\w.-]+)\)\s*$", re.M)
_REFERENCE = re.compile(r"(\{(?:ref|numref|eq)\}`(?:[^`<]*<)?|\]\(#?|^\(|^:(?:name|label): |\$\$ \()([\w.-]+)", re.M)
_ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,(\[[^\]]*\]),"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')


class Part(NamedTuple):
    """A set of the six notebooks: folder in the book, kind of images, caption, and where they lie."""

    folder: str
    kind: str
    caption: str
    notebooks: Path


class Incomplete(RuntimeError):
    """Notebooks failed or were not executed; the book was built without them, and says so."""


def build(
    notebooks: Path, output: Path, editions: Sequence[Path] = (), *, builder: str = "html", reference: bool = False
) -> None:
    """Render the book from the prose pages and executed notebooks.

    The build is strict (any warning is an error) unless notebooks are missing: what refers to them has no target then.

    Parameters
    ----------
    notebooks : Path
        A folder that holds the six executed notebooks, or ``NAME.failed.ipynb`` where one failed.
    output : Path
        The folder that receives ``index.html``; replaced only once the new pages are complete.
    editions : sequence of Path
        Folders of runs, or of what is kept of them, which the scorecard judges, a column each, and whose maps the
        explorer shows. One that has notebooks of its own gets a part of its own.
    builder : {'html', 'singlehtml'}
        Pages, or all of them in one.
    reference : bool
        Whether it has what is the same for all runs: the package's reference, which takes longest to render, and the
        page of the run at full size.

    Raises
    ------
    RuntimeError
        If Jupyter Book reports an error or a warning.
    Incomplete
        If a notebook failed or is missing, after the book was built; says which and why.
    """
    from kd_lib import claims, diagrams, explorer, prose, scorecard

    all_claims = claims.read_claims()
    judged = [claims.read_edition(edition) for edition in editions if (edition / "run.json").is_file()]
    parts = _parts(notebooks, editions, judged)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".book-") as folder:
        source = Path(folder) / "source"
        left_out = shutil.ignore_patterns("_build", EDITIONS.name, UNFINISHED.parent.name)
        shutil.copytree(PROJECT / "book", source / "book", ignore=left_out)
        shutil.copy(PROJECT / "_config.yml", source)
        contents = _with_parts(table_of_contents(), parts)
        if reference:
            template = source / f"{FULL_SIZE}.md"
            files.write_text(template, prose.unfinished(template.read_text(encoding="utf-8"), all_claims, UNFINISHED))
        else:
            contents = _of_a_run(contents)
        files.write_text(source / "_toc.yml", yaml.safe_dump(contents, sort_keys=False))
        template = source / "book" / "scorecard.md"
        files.write_text(template, scorecard.page(template.read_text(encoding="utf-8"), all_claims, judged))
        prose.write_pages(source / "book", all_claims, judged)
        diagrams.write_all(source / "book" / "_figures")
        explorer.place(source / "book", editions)
        lacking = {}
        for part in parts:
            lacking |= copy_notebooks(part, source)
        if lacking:
            first = source / f"{contents['root']}.md"
            files.write_text(first, after_title(first.read_text(encoding="utf-8"), notice(lacking)))
        _render(source, builder, strict=not lacking)
        pages = source / "_build" / builder
        complete(pages)
        if output.exists():
            os.replace(output, Path(folder) / "previous")
        os.replace(pages, output)
    if lacking:
        raise Incomplete("; ".join(f"{name} {what}" for name, what in lacking.items()) + f"; {output} says so")


def published() -> tuple[Path, list[Path]]:
    """Find what the published book is made of: the notebooks of its first part, and the folders of its editions.

    The first edition in alphabetical order leads; without any that has notebooks, the committed ones do.
    """
    editions = sorted(path.parent for path in EDITIONS.glob("*/run.json"))
    own = [edition / "notebooks" for edition in editions if (edition / "notebooks").is_dir()]
    return (own or [PROJECT / "notebooks"])[0], editions


def publish(output: Path, *, builder: str = "html") -> None:
    """Render the published book, the package's reference included; see `build`."""
    notebooks, editions = published()
    build(notebooks, output, editions, builder=builder, reference=True)


def table_of_contents() -> dict[str, Any]:
    """Read the book's table of contents, which names its ``root`` and lists its ``parts``."""
    return yaml.safe_load((PROJECT / "_toc.yml").read_text(encoding="utf-8"))


def _render(source: Path, builder: str, *, strict: bool) -> None:
    program = Path(sys.executable).with_name("jupyter-book")
    options = ["--builder", builder, "-n", "--keep-going", *(["-W", "-q"] if strict else ["-qq"])]
    done = subprocess.run([program, "build", source, *options], env=os.environ | {"PYTHONWARNINGS": "ignore"})
    if done.returncode:
        raise RuntimeError("the book was not built: see the warnings above")


# ---- parts -----------------------------------------------------------------------------------------------------------


def _parts(notebooks: Path, editions: Sequence[Path], judged: Sequence[Any]) -> list[Part]:
    """One part of the notebooks given, and one more for each edition that has notebooks of its own."""
    known = {edition.name: edition for edition in judged}
    others = [e for e in editions if (e / "notebooks").is_dir() and (e / "notebooks").resolve() != notebooks.resolve()]
    own = [e for e in editions if e not in others and e.resolve().name in known]
    kind, caption = _named(known[own[0].resolve().name]) if own else (STUDY, STUDY)
    parts = [Part("notebooks", kind, caption, notebooks)]
    for edition in others:
        kind, caption = _named(known[edition.resolve().name])
        if kind in {part.kind for part in parts}:
            kind += f" ({edition.name})"
        parts.append(Part(re.sub(r"\W+", "-", kind.lower()).strip("-"), kind, caption, edition / "notebooks"))
    return parts


def _named(edition: Any) -> tuple[str, str]:
    """Kind of an edition's images, and the caption of its part, which says how large it is."""
    kind = KINDS.get(edition.parameters.get("data_set"), OTHERS)
    return kind, f"{kind}: {edition.title}"


def _with_parts(contents: dict[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """Table of contents in which the part of the notebooks is followed by those of other studies."""
    chapters = []
    for given in contents["parts"]:
        of_study = [c["file"].split("/", 1)[1] for c in given["chapters"] if c.get("file", "").startswith("notebooks/")]
        for part in parts if of_study else ():
            pages = [{"file": f"{part.folder}/{name}"} for name in of_study]
            chapters.append(given | {"caption": part.caption, "chapters": pages})
        if not of_study:
            chapters.append(given)
    return contents | {"parts": chapters}


def _of_a_run(contents: dict[str, Any]) -> dict[str, Any]:
    """Table of contents without the pages that the published book alone has."""
    alone, parts = (REFERENCE, FULL_SIZE), contents["parts"]
    kept = [part | {"chapters": [c for c in part["chapters"] if c.get("file") not in alone]} for part in parts]
    return contents | {"parts": kept}


def copy_notebooks(part: Part, source: Path) -> dict[str, str]:
    """Put a part's notebooks into the book's sources.

    Labels of all but the first part begin with the part's folder, so that each is given once in the book.

    Returns
    -------
    dict of str to str
        What is lacking: ``PART/NAME`` of a notebook and what happened to it.
    """
    import nbformat

    (source / part.folder).mkdir(parents=True)
    lacking, nodes = {}, {}
    for name in (path.stem for path in sorted((PROJECT / "notebooks").glob("*.py"))):
        done, failed = part.notebooks / f"{name}.ipynb", part.notebooks / f"{name}.failed.ipynb"
        if failed.is_file():
            nodes[name], what = failure(nbformat.read(failed, as_version=4))
        elif done.is_file():
            nodes[name], what = nbformat.read(done, as_version=4), ""
        else:
            what = "was not executed"
            files.write_text(source / part.folder / f"{name}.md", _missing(name))
        if what:
            lacking[f"{part.folder}/{name}"] = what
    if part.folder != "notebooks":
        rename_labels(list(nodes.values()), part.folder)
    for name, node in nodes.items():
        node = without_widgets(node)
        if part.folder != "notebooks":
            title, *rest = node.cells[0].source.split("\n")
            node.cells[0].source = "\n".join([f"{title} ({part.kind.lower()})", *rest])
        _distinguish_pictures(node, f"{part.folder}-{name}")
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
                data["text/html"] = re.sub(
                    r'(\bid="|url\(#)((?:clip|gradient_)\d)', rf"\1{prefix}-\2", data["text/html"]
                )


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


# ---- what pages load -------------------------------------------------------------------------------------------------


def complete(pages: Path) -> None:
    """Put in what pages load and no source has: the script that draws charts, and few icons for many.

    The theme brings all of Font Awesome as a script of 1.5 MB and as a font; a page uses a dozen of its icons.
    """
    from kd_lib import render  # seconds, which other steps have no use for

    static = pages / "_static"
    files.write_text(static / "vega.js", render.script())
    icons, style = static / "scripts" / "fontawesome.js", static / "styles" / "pydata-sphinx-theme.css"
    texts = [p.read_text(encoding="utf-8") for p in [*pages.rglob("*.html"), *static.rglob("*.js")] if p != icons]
    used = {name for text in texts for name in re.findall(r"\bfa-([\w-]+)", text)}
    files.write_text(icons, only_icons(icons.read_text(encoding="utf-8"), used))
    only_glyphs(static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf", [*static.rglob("*.css")])
    # The same font, better compressed, but whole.
    files.write_text(style, re.sub(r"url\([^)]*fa-solid-900\.woff2\)[^,]*,", "", style.read_text(encoding="utf-8")))
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        # A list has list items; docutils gives this one none. What unfolds a part of the contents has a name.
        mended = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        mended = mended.replace("<summary><span", f'<summary aria-label="{UNFOLDS}"><span')
        if mended != text:
            files.write_text(page, mended)
    for useless in [*static.rglob("*.map"), *static.rglob("fa-solid-900.woff2")]:
        useless.unlink()


def only_glyphs(font: Path, styles: Sequence[Path]) -> None:
    """Leave in a font, in place, what style sheets write with it: private characters, as they are or by number."""
    from fontTools import subset

    rules = "".join(re.sub(r"\.fa-[^{}]*\{[^}]*\}", "", style.read_text(encoding="utf-8")) for style in styles)
    written = "".join(re.findall(r'(?:--pst[\w-]*|content): ?"([^"]+)"', rules))
    numbers = {int(code, 16) for code in re.findall(r"\\([ef][0-9a-f]{3})", written)}
    numbers |= {ord(character) for character in written if character >= "\ue000"}
    options = subset.Options(ignore_missing_unicodes=True)
    loaded = subset.load_font(str(font), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=numbers)
    subsetter.subset(loaded)
    subset.save_font(loaded, str(font), options)


def only_icons(script: str, used: set[str]) -> str:
    """Leave out of Font Awesome's script the pictures of icons that are not used, under none of their names."""

    def kept(match: re.Match) -> str:
        names = {match[1], *re.findall(r'"([\w-]+)"', match[2])}
        return match[0] if names & used else ""

    return _ICON.sub(kept, script)
