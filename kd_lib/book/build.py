"""The book: its sources put together in a folder and rendered by Jupyter Book.

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
from typing import Any

import yaml

from kd_lib import _files
from kd_lib.book import assets, chapters
from kd_lib.book.chapters import PROJECT, Part

EDITIONS = PROJECT / "book" / "editions"  # what is published
UNFINISHED = PROJECT / "book" / "unfinished" / "photographs"  # a run of which some tables were kept
STUDY, KINDS, OTHERS = "The study", {"multiview": "Controlled images"}, "Photographs"  # of parts, by data set
REFERENCE, FULL_SIZE = "book/reference", "book/full_size"  # pages of the published book alone


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
    from kd_lib.book import claims, diagrams, explorer, prose, scorecard

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
            _files.write_text(template, prose.unfinished(template.read_text(encoding="utf-8"), all_claims, UNFINISHED))
        else:
            contents = _of_a_run(contents)
        _files.write_text(source / "_toc.yml", yaml.safe_dump(contents, sort_keys=False))
        template = source / "book" / "scorecard.md"
        _files.write_text(template, scorecard.page(template.read_text(encoding="utf-8"), all_claims, judged))
        prose.write_pages(source / "book", all_claims, judged)
        diagrams.write_all(source / "book" / "_figures")
        explorer.place(source / "book", editions)
        lacking = {}
        for part in parts:
            lacking |= chapters.copy_notebooks(part, source)
        if lacking:
            first = source / f"{contents['root']}.md"
            _files.write_text(first, chapters.after_title(first.read_text(encoding="utf-8"), chapters.notice(lacking)))
        _render(source, builder, strict=not lacking)
        pages = source / "_build" / builder
        assets.complete(pages)
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
    listed = []
    for given in contents["parts"]:
        of_study = [c["file"].split("/", 1)[1] for c in given["chapters"] if c.get("file", "").startswith("notebooks/")]
        for part in parts if of_study else ():
            pages = [{"file": f"{part.folder}/{name}"} for name in of_study]
            listed.append(given | {"caption": part.caption, "chapters": pages})
        if not of_study:
            listed.append(given)
    return contents | {"parts": listed}


def _of_a_run(contents: dict[str, Any]) -> dict[str, Any]:
    """Table of contents without the pages that the published book alone has."""
    alone, parts = (REFERENCE, FULL_SIZE), contents["parts"]
    kept = [part | {"chapters": [c for c in part["chapters"] if c.get("file") not in alone]} for part in parts]
    return contents | {"parts": kept}
