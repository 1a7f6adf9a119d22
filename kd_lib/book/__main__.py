"""From notebooks to a report: resolve their parameters, execute them with papermill, render the book.

Run by the Makefile, a step a call: ``python -m kd_lib.book parameters|execute|book …``. A step imports what it needs
when it runs: Make asks for the parameters at every call, and pandas, Jupyter or torch take seconds to load.
"""

import argparse
import base64
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from kd_lib import _files
from kd_lib.book import inputs
from kd_lib.study import parameters

PROJECT = Path(__file__).resolve().parents[2]


def write_parameters(profile: str, folder: Path, overrides: list[str], more: str = "") -> None:
    """Write what a profile and the command line change in each notebook's parameters as ``folder/NAME.yaml``.

    So with ``folder/inputs.yaml``, which says in which state the files are that the study reads, see `inputs`. A file
    keeps its modification time when nothing changed, so that Make re-runs only the notebooks concerned. The
    overrides, ``name=value``, win over the profile, and `more` of them, as a shell would read them, over both.

    Raises
    ------
    ValueError, TypeError
        If the profile, a name, or a value is of no use. Nothing is written then.
    """
    try:
        overrides = overrides + shlex.split(more)
    except ValueError as error:
        raise ValueError(f"{more!r} cannot be read ({error}): give name=value, in quotes if it has blanks") from None
    notebooks = sorted((PROJECT / "notebooks").glob("*.py"))
    values = parameters.resolve(notebooks, parameters.read_profile(PROJECT / "profiles", profile), overrides)
    own = {notebook.stem: parameters.of_notebook(notebook, values) for notebook in notebooks}
    texts = {
        folder / f"{name}.yaml": yaml.safe_dump(changes, sort_keys=True, allow_unicode=True)
        for name, changes in own.items()
    }
    changed = {path: text for path, text in texts.items() if _files.read_bytes(path) != text.encode()}
    if changed:  # takes seconds
        parameters.check_ranges(
            {notebook.stem: parameters.declared(notebook) | own[notebook.stem] for notebook in notebooks}
        )
    read, state = folder / "inputs.yaml", yaml.safe_dump(inputs.digests(values))
    if _files.read_bytes(read) != state.encode():
        changed[read] = state
    for path, text in changed.items():
        _files.write_text(path, text)


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
    options = {"kernel_name": "python3", "progress_bar": False, "log_output": True, "cwd": PROJECT}
    os.environ[parameters.REPLACE] = "all"  # of which the kernel has a copy
    try:
        papermill.execute_notebook(source, failed, values, **options)
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"{notebook.name}: {error.ename}: {error.evalue} (see {failed})") from None
    finally:
        source.unlink()
        del os.environ[parameters.REPLACE]
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

    from kd_lib.book import chapters

    node, done = read_source(notebook), nbformat.read(executed, as_version=4)
    if [cell.source for cell in node.cells] != [cell.source for cell in done.cells]:
        raise ValueError(f"{executed} was not executed from {notebook} with its default parameters; execute it again")
    for cell, with_outputs in zip(node.cells, done.cells, strict=True):
        if cell.cell_type == "code":
            cell.execution_count = with_outputs.execution_count
            cell.outputs = chapters.without_progress(chapters.without_widgets(with_outputs).outputs)
    node.metadata["kernelspec"] = chapters.KERNEL
    _files.write_text(notebook.with_suffix(".ipynb"), jupytext.writes(node, fmt="ipynb"))


def write_readme(readme: Path, folders: Sequence[Path]) -> None:
    """Write the README's table of results from the editions' tables, between its two marks."""
    from kd_lib.book import claims, verdicts

    start, end = "<!-- results: written by `make edition` -->", "<!-- end of results -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(start)
    table = verdicts.Verdicts(claims.read_claims(), [claims.read_edition(folder) for folder in folders]).readme()
    _files.write_text(readme, "\n".join([before + start, table, end]) + rest.partition(end)[2])


def keep_edition(run: Path, name: str | None) -> None:
    """Keep a run as an edition of the published book; the README's table and, of the first, its picture follow."""
    from kd_lib.book import build, editions, printing

    name = name or editions.name_of(run)
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"edition {name!r}: expected a name of letters, digits, - and _")
    editions.keep(run, build.EDITIONS / name)
    _, published = build.published()
    write_readme(PROJECT / "README.md", published)
    if published[0].name == name:
        printing.picture(run / "report", PROJECT / "book" / "explorer.png")


def verify(name: str, root: str | None) -> int:
    """Make a slice of an edition again and print the comparison; exit status 1 if it differs."""
    from kd_lib.book import build, editions

    frame = editions.verify(build.EDITIONS / name, root=root or None)
    print(frame.to_string(index=False, float_format="{:.1e}".format))
    print(editions.summary(name, list(frame["verdict"])))
    return int(editions.DIFFERS in set(frame["verdict"]))


def keep_picture(executed: Path) -> None:
    """Write the picture of the annotation guide, which an executed notebook shows, as a PNG file."""
    import nbformat

    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == "fig-judging":
            data = re.search(r"base64,([^\"]+)", cell.outputs[-1].data["text/html"])[1]
            _files.write_bytes(PROJECT / "book" / "judging.png", base64.b64decode(data))


def _alone(run: Path, command: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, lambda *_: None)  # it is the command that ends then
    with _files.alone(run):
        return subprocess.call(command, close_fds=False)  # Make's own files are open in a Make that it starts


def _execute(notebook: Path, output: Path, parameters: Path) -> None:
    execute(notebook, output, yaml.safe_load(parameters.read_text(encoding="utf-8")))


def _book(notebooks: Path, output: Path, run: Path) -> None:
    from kd_lib.book import build

    build.build(notebooks, output, [run])


def _site(output: Path) -> None:
    from kd_lib.book import build

    build.publish(output)


def _pdf(output: Path) -> None:
    from kd_lib.book import printing

    printing.write_pdf(output)


PATH, NAME = {"type": Path}, {"nargs": "?", "help": "of the edition; by default that of its kind of images"}
ROOT, OVERRIDES = {"nargs": "?", "help": "folder of its images"}, {"nargs": "*", "metavar": "name=value"}
MORE = {"default": "", "metavar": "'name=value …'"}
# Step: what does it, what it is for, and its arguments, which the function has under the same names.
STEPS: dict[str, tuple[Callable[..., int | None], str, dict[str, dict]]] = {
    "parameters": (
        write_parameters,
        "write the notebooks' parameters as YAML, where they changed",
        {"profile": {}, "folder": PATH, "overrides": OVERRIDES, "--more": MORE},
    ),
    "alone": (
        _alone,
        "do a command while nobody else makes the run's report",
        {"run": PATH, "command": {"nargs": argparse.REMAINDER}},
    ),
    "execute": (
        _execute,
        "execute a notebook",
        {"notebook": PATH, "output": PATH, "parameters": PATH | {"help": "YAML file"}},
    ),
    "keep": (
        keep_outputs,
        "keep an executed notebook's outputs in notebooks/NAME.ipynb",
        {"executed": PATH, "notebook": PATH},
    ),
    "picture": (keep_picture, "renew the picture of the annotation guide", {"executed": PATH}),
    "edition": (
        keep_edition,
        "keep what the published book needs of a run; renew the README",
        {"run": PATH, "name": NAME},
    ),
    "verify": (verify, "make a slice of an edition again and compare", {"name": {}, "root": ROOT}),
    "book": (_book, "render a run's report", {"notebooks": PATH, "output": PATH, "run": PATH}),
    "site": (_site, "render the published book", {"output": PATH}),
    "pdf": (_pdf, "print it to a PDF file", {"output": PATH}),
}


def main() -> int:
    """Run one step from the command line; a failure is one line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m kd_lib.book", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for name, (_, what, arguments) in STEPS.items():
        step = steps.add_parser(name, help=what)
        for argument, options in arguments.items():
            step.add_argument(argument, **options)
    given = vars(parser.parse_args())
    function, *_ = STEPS[given.pop("step")]
    try:
        return function(**given) or 0
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
