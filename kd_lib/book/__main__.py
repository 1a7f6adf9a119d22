"""From notebooks to a report: resolve their parameters, execute them with papermill, render the book.

Run by the Makefile, a step a call: ``python -m kd_lib.report parameters|execute|book …``.
"""

import argparse
import base64
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kd_lib import _files
from kd_lib.book import build, chapters, printing
from kd_lib.study import parameters

PROJECT = chapters.PROJECT


def write_parameters(profile: str, folder: Path, overrides: list[str]) -> None:
    """Write what a profile and the command line change in each notebook's parameters as ``folder/NAME.yaml``.

    A file keeps its modification time when nothing changed, so that Make re-runs only the notebooks concerned.

    Parameters
    ----------
    profile : str
        Name of a file in ``profiles/``.
    folder : Path
        Receives one file a notebook.
    overrides : list of str
        ``name=value`` pairs that win over the profile; values are read as YAML.

    Raises
    ------
    ValueError
        If the profile, or a name in it or in the overrides, is unknown. Nothing is written then.
    """
    values = parameters.read_profile(PROJECT / "profiles", profile)
    for pair in overrides:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"'{pair}' must have the form name=value")
        values[name] = yaml.safe_load(value)
    for notebook in sorted((PROJECT / "notebooks").glob("*.py")):
        output = folder / f"{notebook.stem}.yaml"
        text = yaml.safe_dump(parameters.of_notebook(notebook, values), sort_keys=True, allow_unicode=True)
        if not output.is_file() or output.read_text(encoding="utf-8") != text:
            _files.write_text(output, text)


def execute(notebook: Path, output: Path, values: dict[str, Any]) -> None:
    """Execute one notebook from its py:percent source and keep the result, outputs included.

    A notebook that fails is kept beside the place of the result as ``NAME.failed.ipynb``, to be looked at; the last
    good result stays untouched.

    Raises
    ------
    RuntimeError
        If a cell raises: the notebook's name and the cell's own error, in one line.
    """
    import jupytext
    import papermill

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("papermill").handlers = []
    source, failed = output.with_suffix(".source.ipynb"), output.with_suffix(".failed.ipynb")
    _files.write_text(source, jupytext.writes(read_source(notebook), fmt="ipynb"))
    try:
        papermill.execute_notebook(
            source, failed, values, kernel_name="python3", progress_bar=False, log_output=True, cwd=PROJECT
        )
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"{notebook.name}: {error.ename}: {error.evalue} (see {failed})") from None
    finally:
        source.unlink()
    os.replace(failed, output)


def read_source(notebook: Path) -> Any:
    """Read a py:percent notebook; cells are numbered, so that the same source gives the same bytes."""
    import jupytext

    node = jupytext.read(notebook)
    for position, cell in enumerate(node.cells):
        cell["id"] = f"{notebook.stem.replace('_', '-')}-{position}"
    return node


def keep_outputs(executed: Path, notebook: Path) -> None:
    """Write ``notebooks/NAME.ipynb``: the source's cells with the outputs of an executed copy of it.

    Progress bars (stderr) and times of execution are left out: they differ from run to run and say nothing.

    Raises
    ------
    ValueError
        If the executed notebook was made from another source, or with other parameters than the defaults.
    """
    import jupytext
    import nbformat

    node, done = read_source(notebook), nbformat.read(executed, as_version=4)
    if [cell.source for cell in node.cells] != [cell.source for cell in done.cells]:
        raise ValueError(f"{executed} was not executed from {notebook} with its default parameters; execute it again")
    for cell, with_outputs in zip(node.cells, done.cells, strict=True):
        if cell.cell_type == "code":
            cell.execution_count = with_outputs.execution_count
            cell.outputs = chapters.without_progress(chapters.without_widgets(with_outputs).outputs)
    node.metadata["kernelspec"] = chapters.KERNEL
    _files.write_text(notebook.with_suffix(".ipynb"), jupytext.writes(node, fmt="ipynb"))


def write_readme(readme: Path, editions: Sequence[Path]) -> None:
    """Write the README's table of results from the editions' tables, between its two marks."""
    from kd_lib.book import claims, scorecard

    start, end = "<!-- results: written by `make edition` -->", "<!-- end of results -->"
    text = readme.read_text(encoding="utf-8")
    before, after = text.split(start)[0], text.split(end)[1]
    table = scorecard.readme_table(claims.read_claims(), [claims.read_edition(edition) for edition in editions])
    _files.write_text(readme, "\n".join([before + start, table, end]) + after)


def keep_edition(run: Path, name: str | None) -> None:
    """Keep a run as an edition of the published book; the README's table and, of the first, its picture follow."""
    from kd_lib.book import editions, explorer

    name = name or editions.name_of(run)
    editions.keep(run, build.EDITIONS / name)
    _, published = build.published()
    write_readme(PROJECT / "README.md", published)
    if published[0].name == name:
        explorer.picture(run / "report", PROJECT / "book" / "explorer.png")


def verify(name: str, root: str | None) -> int:
    """Make a slice of an edition again and print the comparison; exit status 1 if it differs."""
    from kd_lib.book import editions

    frame = editions.verify(build.EDITIONS / name, root=root)
    print(frame.to_string(index=False, float_format="{:.1e}".format))
    print(editions.summary(name, list(frame["verdict"])))
    return int(editions.DIFFERS in set(frame["verdict"]))


def extract_picture(executed: Path, caption: str, output: Path) -> None:
    """Write the picture of an executed notebook's cell whose figure has the given name as a PNG file."""
    import nbformat

    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == caption:
            data = re.search(r"base64,([^\"]+)", cell.outputs[-1].data["text/html"])[1]
            _files.write_bytes(output, base64.b64decode(data))


def main() -> int:
    """Run one step from the command line; a failure is one line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m kd_lib.report", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("parameters", help="write the notebooks' parameters as YAML, where they changed")
    step.add_argument("profile")
    step.add_argument("folder", type=Path)
    step.add_argument("overrides", nargs="*", metavar="name=value")
    step = steps.add_parser("execute", help="execute a notebook")
    step.add_argument("notebook", type=Path)
    step.add_argument("output", type=Path)
    step.add_argument("parameters", type=Path, help="YAML file")
    step = steps.add_parser("keep", help="keep an executed notebook's outputs in notebooks/NAME.ipynb")
    step.add_argument("executed", type=Path)
    step.add_argument("notebook", type=Path)
    step = steps.add_parser("picture", help="renew the picture of the annotation guide")
    step.add_argument("executed", type=Path)
    step = steps.add_parser("edition", help="keep what the published book needs of a run; renew the README")
    step.add_argument("run", type=Path)
    step.add_argument("name", nargs="?", help="of the edition; by default that of its kind of images")
    step = steps.add_parser("verify", help="make a slice of an edition again and compare")
    step.add_argument("name")
    step.add_argument("root", nargs="?", help="folder of its images")
    step = steps.add_parser("book", help="render a run's report")
    step.add_argument("notebooks", type=Path)
    step.add_argument("output", type=Path)
    step.add_argument("run", type=Path)
    for name, what in (("site", "render the published book"), ("pdf", "print it to a PDF file")):
        step = steps.add_parser(name, help=what)
        step.add_argument("output", type=Path)
    given = parser.parse_args()
    try:
        if given.step == "parameters":
            write_parameters(given.profile, given.folder, given.overrides)
        elif given.step == "execute":
            execute(given.notebook, given.output, yaml.safe_load(given.parameters.read_text(encoding="utf-8")))
        elif given.step == "keep":
            keep_outputs(given.executed, given.notebook)
        elif given.step == "picture":
            extract_picture(given.executed, "fig-judging", PROJECT / "book" / "judging.png")
        elif given.step == "edition":
            keep_edition(given.run, given.name)
        elif given.step == "verify":
            return verify(given.name, given.root)
        elif given.step == "book":
            build.build(given.notebooks, given.output, [given.run])
        elif given.step == "site":
            build.publish(given.output)
        else:
            printing.write_pdf(given.output)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
