"""The book: its sources put together in a folder and rendered by Jupyter Book.

A book has the prose pages and the seven notebooks, these in one part or, of several studies, in one part each. What a
run lacks is said where it would be: on the first page and on the page of the notebook that failed or was not executed.

Prose pages are templates (Jinja2): what editions found is put in their place where ``<% … %>`` asks for it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from fontTools import subset

from kd_lib import _files
from kd_lib.book import chapters, claims, diagrams, editions, explorer, thesis, verdicts
from kd_lib.book.chapters import PROJECT, Part
from kd_lib.figures import render

EDITIONS = PROJECT / "book" / "editions"  # what is published
STUDY, KINDS, OTHERS = "The study", {"multiview": "Controlled images"}, "Photographs"  # of parts, by data set
LEADS = "photographs"
REFERENCE = "book/reference"  # of the published book alone
# None of these begins or ends anything in Markdown or MyST, which has use for braces and for HTML's comments.
MARKS: dict[str, Any] = {"variable_start_string": "<%", "variable_end_string": "%>", "block_start_string": "<%%"}
MARKS |= {"block_end_string": "%%>", "comment_start_string": "<%#", "comment_end_string": "#%>"}
UNFOLDS = "Pages of this chapter"  # of the contents at the side
# Icons that style sheets write, by their names in the theme's font; `book.css` asks for a font with few others.
GLYPHS = "angle-down angle-left angle-right bell circle-check circle-exclamation circle-info circle-xmark download"
GLYPHS += " lightbulb magnifying-glass-minus pencil share triangle-exclamation up-right-from-square"
# An icon in the theme's script of all icons, 1.5 MB, and its other names. Neither theme nor Jupyter Book has an option
# for fewer (https://github.com/pydata/pydata-sphinx-theme/issues/2379), and as a font the icons lie elsewhere.
_ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,(\[[^\]]*\]),"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')


class Incomplete(RuntimeError):
    """Notebooks failed or were not executed; the book was built without them, and says so."""


def build(
    notebooks: Path, output: Path, folders: Sequence[Path] = (), *, builder: str = "html", reference: bool = False
) -> None:
    """Render the book from the prose pages and executed notebooks.

    The build is strict (any warning is an error) unless notebooks are missing: what refers to them has no target then.
    A RuntimeError if Jupyter Book reports an error or a warning; `Incomplete` if a notebook failed or is missing, after
    the book was built; it says which and why.

    `notebooks` holds the seven executed notebooks, or ``NAME.failed.ipynb`` where one failed; `output` receives
    ``index.html``, and is replaced only once the new pages are complete. `folders` are of runs, or of what is kept of
    them, which the scorecard judges, a column each, and whose maps the explorer shows; one that has notebooks of its
    own gets a part of its own. `builder` is 'html' (pages) or 'singlehtml' (all of them in one). `reference` adds the
    package's reference, which is the same for all runs and takes longest to render.
    """
    judged = [claims.read_edition(folder) for folder in folders if (folder / "run.json").is_file()]
    contents, parts = table_of_contents(), _parts(notebooks, folders, judged)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".book-") as temporary:
        source = Path(temporary) / "source"
        left_out = shutil.ignore_patterns("_build", EDITIONS.name)
        shutil.copytree(PROJECT / "book", source / "book", ignore=left_out)
        shutil.copy(PROJECT / "_config.yml", source)
        without = {REFERENCE} if not reference else set()
        without |= {thesis.PAGE} if not thesis.comparable(judged, claims.read_claims()) else set()
        listed = yaml.safe_dump(_listed(contents, parts, without), sort_keys=False)
        _files.write_text(source / "_toc.yml", listed)
        diagrams.write_all(source / "book" / "_figures")
        explored = explorer.place(source / "book" / "_static", folders)
        fill_in(source / "book", judged, explorer=explored)
        lacking = {}
        for part in parts:
            lacking |= chapters.copy_notebooks(part, source)
        if lacking:
            first = source / f"{contents['root']}.md"
            _files.write_text(first, chapters.after_title(first.read_text(encoding="utf-8"), chapters.notice(lacking)))
        _render(source, builder, strict=not lacking)
        pages = source / "_build" / builder
        complete(pages)
        if output.exists():
            os.replace(output, Path(temporary) / "previous")
        os.replace(pages, output)
    if lacking:
        raise Incomplete("; ".join(f"{name} {what}" for name, what in lacking.items()) + f"; {output} says so")


def published() -> tuple[Path, list[Path]]:
    """Find what the published book is made of: the notebooks of its first part, and the folders of its editions.

    The edition on photographs leads, the others follow in alphabetical order; without any that has notebooks, the
    committed ones do.
    """
    found = (path.parent for path in EDITIONS.glob("*/run.json"))
    folders = sorted(found, key=lambda folder: (folder.name != LEADS, folder.name))
    own = [folder / "notebooks" for folder in folders if (folder / "notebooks").is_dir()]
    return (own or [PROJECT / "notebooks"])[0], folders


def publish(output: Path, *, builder: str = "html") -> None:
    """Render the published book, the package's reference included; see `build`."""
    notebooks, folders = published()
    build(notebooks, output, folders, builder=builder, reference=True)


def fill_in(folder: Path, judged: Sequence[claims.Edition], **marks: str) -> None:
    """Fill in the marks of a folder's pages, in place.

    They are ``verdicts``, see `verdicts.Verdicts`, ``made``, see `editions.made`, ``thesis``, see `thesis.beside`, and
    `marks`. A ValueError names a page and its mark that stands for nothing.
    """
    known = claims.read_claims()
    meant: dict[str, Any] = marks | {"made": editions.made(judged), "thesis": thesis.beside(judged, known)}
    meant["verdicts"] = verdicts.Verdicts(known, judged)
    for page in folder.glob("*.md"):
        try:
            _files.write_text(page, fill(page.read_text(encoding="utf-8"), **meant))
        except (jinja2.TemplateError, KeyError, AttributeError) as error:
            raise ValueError(f"a mark of {page.name} stands for nothing: {error}") from error


def fill(page: str, **marks: Any) -> str:
    """Fill in a page's marks; see `fill_in`."""
    rules = jinja2.Environment(**MARKS, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return rules.from_string(page).render(marks)


def table_of_contents() -> dict[str, Any]:
    """Read the book's table of contents, which names its ``root`` and lists its ``parts``."""
    return yaml.safe_load((PROJECT / "_toc.yml").read_text(encoding="utf-8"))


def _render(source: Path, builder: str, *, strict: bool) -> None:
    program = Path(sys.executable).with_name("jupyter-book")
    options = ["--builder", builder, "-n", "--keep-going", *(["-W", "-q"] if strict else ["-qq"])]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    if subprocess.run([program, "build", source, *options], env=environment).returncode:
        raise RuntimeError("the book was not built: see the warnings above")


# ---- what pages load -------------------------------------------------------------------------------------------------


def complete(pages: Path) -> None:
    """Put in what rendered pages load and no source has: the script that draws charts, and few icons for many."""
    static = pages / "_static"
    _files.write_text(static / "vega.js", render.script())
    icons, font = static / "scripts" / "fontawesome.js", static / "vendor/fontawesome/webfonts/fa-solid-900.ttf"
    texts = [p.read_text(encoding="utf-8") for p in [*pages.rglob("*.html"), *static.rglob("*.js")] if p != icons]
    used = {name for text in texts for name in re.findall(r"\bfa-([\w-]+)", text)}
    _files.write_text(icons, only_icons(icons.read_text(encoding="utf-8"), used))
    glyphs = f"--glyphs={' '.join([GLYPHS, *used])}"  # the font draws those of elements, too, until the script has
    subset.main([str(font), glyphs, "--ignore-missing-glyphs", f"--output-file={static / 'icons.ttf'}"])
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        # A list has list items; docutils gives this one none. What unfolds a part of the contents has a name.
        mended = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        mended = mended.replace("<summary><span", f'<summary aria-label="{UNFOLDS}"><span')
        if mended != text:
            _files.write_text(page, mended)
    for useless in static.rglob("*.map"):
        useless.unlink()


def only_icons(script: str, used: set[str]) -> str:
    """Leave out of Font Awesome's script the pictures of icons that are not used, under none of their names."""

    def kept(match: re.Match) -> str:
        names = {match[1], *re.findall(r'"([\w-]+)"', match[2])}
        return match[0] if names & used else ""

    return _ICON.sub(kept, script)


# ---- parts -----------------------------------------------------------------------------------------------------------


def _parts(notebooks: Path, folders: Sequence[Path], judged: Sequence[claims.Edition]) -> list[Part]:
    """One part of the notebooks given, and one more for each edition that has notebooks of its own."""
    known = {edition.name: edition for edition in judged}
    others = [f for f in folders if (f / "notebooks").is_dir() and (f / "notebooks").resolve() != notebooks.resolve()]
    own = [f for f in folders if f not in others and f.resolve().name in known]
    kind, caption = _named(known[own[0].resolve().name]) if own else (STUDY, STUDY)
    parts = [Part("notebooks", kind, caption, notebooks, _names(notebooks))]
    for folder in others:
        kind, caption = _named(known[folder.resolve().name])
        if kind in {part.kind for part in parts}:
            kind += f" ({folder.name})"
        where, place = folder / "notebooks", re.sub(r"\W+", "-", kind.lower()).strip("-")
        parts.append(Part(place, kind, caption, where, _names(where)))
    return parts


def _names(notebooks: Path) -> list[str]:
    """Names of the notebooks that a part has: of an edition those that were kept, of a run all."""
    names = [path.stem for path in chapters.sources()]
    if EDITIONS not in notebooks.resolve().parents:
        return names
    return [name for name in names if (notebooks / f"{name}.ipynb").is_file()]


def _named(edition: claims.Edition) -> tuple[str, str]:
    """Kind of an edition's images, and the caption of its part, which says how large it is."""
    kind = KINDS.get(edition.parameters.get("data_set", ""), OTHERS)
    return kind, f"{kind}: {edition.title}"


def _listed(contents: dict[str, Any], parts: Sequence[Part], without: set[str]) -> dict[str, Any]:
    """Table of contents with the notebooks of every part, and without some pages."""
    listed = []
    for given in contents["parts"]:
        pages = [page for page in given["chapters"] if page["file"] not in without]
        names = [page["file"].partition("notebooks/")[2] for page in pages]
        for part in parts if names[0] else ():
            own = [{"file": f"{part.folder}/{name}"} for name in names if name in part.names]
            listed.append(given | {"caption": part.caption, "chapters": own})
        if not names[0]:
            listed.append(given | {"chapters": pages})
    return contents | {"parts": listed}
